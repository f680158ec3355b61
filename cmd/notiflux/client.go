package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
)

// clientFlags is what every command needs that uses a server.
type clientFlags struct {
	Token auth.Token `env:"NOTIFLUX_TOKEN" placeholder:"TOKEN" help:"Token that allows it; the variable keeps it out of the list of processes."`
	URL   string     `name:"url" env:"NOTIFLUX_URL" default:"http://127.0.0.1:8080" help:"Base address of the server."`
}

// credentials returns the token, which must be there.
func (c *clientFlags) credentials(scope auth.Scope) (string, error) {
	token := strings.TrimSpace(string(c.Token))
	if token == "" {
		return "", usagef("%s is missing: give a token with the scope %s, as `notiflux token` makes them", config.Name("token"), scope)
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", usagef("%s has white space inside: give one token", config.Name("token"))
	}
	return token, nil
}

// parseBase reads the base address of a server.
func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usagef("%s: %q is not the base address of a server: write http://host:port or https://host", config.Name("url"), base)
	}
	return u, nil
}

// unreachable says that the server at base did not answer, and which setting
// led there.
func unreachable(base *url.URL, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // it repeats the address
	}
	return fmt.Errorf("%s: %s: %w", config.Name("url"), base, err)
}

// maxProblemBytes is what is read of an answer that is an error: a screen of text.
const maxProblemBytes = 4 << 10

// refusal returns an answer that is no success as an error: the code and the
// sentence if it is a problem (RFC 9457) of the server's, else its status.
func refusal(response *http.Response) error {
	var problem struct{ Code, Detail string }
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	if err != nil || json.Unmarshal(body, &problem) != nil || problem.Code == "" {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
}

// stay makes an HTTP client give back a redirect instead of following it: a
// token goes where its user sent it and nowhere else.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
