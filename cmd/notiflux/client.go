package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
)

// clientFlags are the flags of every command that uses a server.
type clientFlags struct {
	Token auth.Token `env:"NOTIFLUX_TOKEN" placeholder:"TOKEN" help:"Token to use. Prefer the variable, because others can see flags in the process list."`
	URL   string     `name:"url" env:"NOTIFLUX_URL" default:"http://127.0.0.1:8080" help:"Base address of the server."`
	Trust trust      `embed:""`
}

// trust is the flag that says which certificate authorities to trust.
type trust struct {
	CACert string `name:"cacert" env:"NOTIFLUX_CACERT" placeholder:"FILE" help:"PEM file of the certificate authorities to trust for https, instead of the system's."`
}

// tls returns the TLS configuration for the flag, or nil for the default.
func (t *trust) tls() (*tls.Config, error) {
	if t.CACert == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(t.CACert)
	if err != nil {
		return nil, usagef("%s: %w", config.Name("cacert"), config.FileError(t.CACert, err))
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, usagef("%s: %s holds no certificate: use a PEM file with CERTIFICATE blocks", config.Name("cacert"), t.CACert)
	}
	return &tls.Config{RootCAs: roots}, nil
}

// http returns an HTTP client with that configuration. It follows no redirects, so that
// a token goes only to the server that the user named.
func (t *trust) http() (*http.Client, error) {
	config, err := t.tls()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// server returns the address of the server and the options of the Go client. It fails if
// there is no token; the error names scope as the scope it needs.
func (c *clientFlags) server(scope auth.Scope) (base *url.URL, o client.Options, err error) {
	token, err := c.credentials(scope)
	if err != nil {
		return nil, o, err
	}
	if base, err = parseBase(c.URL); err != nil {
		return nil, o, err
	}
	o.Token = token
	if c.Trust.CACert != "" {
		o.HTTPClient, err = c.Trust.http()
	}
	return base, o, err
}

// credentials returns the token, or an error if there is none.
func (c *clientFlags) credentials(scope auth.Scope) (string, error) {
	token := strings.TrimSpace(string(c.Token))
	if token == "" {
		return "", usagef("%s is missing: set a token with the scope %s; `notiflux token` makes one", config.Name("token"), scope)
	}
	if strings.ContainsAny(token, " \t\r\n") {
		return "", usagef("%s contains white space: set it to a single token, without white space", config.Name("token"))
	}
	return token, nil
}

// parseBase parses the base address of a server.
func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, usagef("%s: %q is not the base address of a server: write http://host:port or https://host", config.Name("url"), base)
	}
	return u, nil
}

// unreachable returns an error that says that the server at base did not answer, and names
// the flag with the address.
func unreachable(flag string, base *url.URL, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the address, which is already in the message
	}
	advice := ""
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return fmt.Errorf("%s: %s: this server does not use TLS: write http:// instead of https://", config.Name(flag), base)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		advice = "; to trust an authority of your own, give its certificate by " + config.Name("cacert")
	}
	return fmt.Errorf("%s: %s: %w%s", config.Name(flag), base, err, advice)
}

// maxProblemBytes limits how much of an error response is read: about a screen of text.
const maxProblemBytes = 4 << 10

// refusal turns an unsuccessful response into an error: the code and the sentence of a
// problem (RFC 9457), or else the HTTP status.
func refusal(response *http.Response) error {
	var problem struct{ Code, Detail string }
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
	if err != nil || json.Unmarshal(body, &problem) != nil || problem.Code == "" {
		return fmt.Errorf("the server answered %s", response.Status)
	}
	return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
}
