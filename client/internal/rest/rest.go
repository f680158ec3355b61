// Package rest makes single HTTP requests to a server, each once. It knows the addresses of
// a server but not what they mean, and neither keys nor retries.
package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// maxAnswerBytes is above every answer: 1 MiB of messages and one more, of at most
	// 8 MiB, which grows up to six times as a JSON string.
	maxAnswerBytes = 64 << 20
	// keptConnections are for requests that follow each other.
	keptConnections = 16
)

// A Server is where requests go. It is safe for concurrent use.
type Server struct {
	Base *url.URL
	HTTP *http.Client

	own bool // HTTP is of nobody else
}

// New returns the server at an address, as in https://host. It makes requests with client
// but without its Timeout, which would end streams. If client is nil it makes them with
// one of its own that follows no redirects, so that a token stays with the server.
func New(address string, client *http.Client) (*Server, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the address of a server has the form http://host:port or https://host")
	}
	if client == nil {
		return &Server{Base: u, HTTP: newClient(), own: true}, nil
	}
	without := *client
	without.Timeout = 0
	return &Server{Base: u, HTTP: &without}, nil
}

func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: keptConnections,
			IdleConnTimeout:     time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close closes the connections that wait for a next request, if no one else uses them.
func (s *Server) Close() {
	if s.own {
		s.HTTP.CloseIdleConnections()
	}
}

// A Request is what a server is asked for.
type Request struct {
	Method, Path string
	Query        url.Values
	Body         []byte // JSON; nil: none
}

// Send sends a request with a token, if it is not empty, and returns the answer whatever it
// is.
func (s *Server) Send(ctx context.Context, r Request, token string) (*http.Response, error) {
	u := s.Base.JoinPath(r.Path)
	u.RawQuery = r.Query.Encode()
	request, err := http.NewRequestWithContext(ctx, r.Method, u.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	if r.Body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.HTTP.Do(request)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // it repeats the address
	}
	return response, err
}

// Ask sends a request and reads the answer. An answer without success is a [*wire.Status].
func (s *Server) Ask(ctx context.Context, r Request, token string) ([]byte, error) {
	response, err := s.Send(ctx, r, token)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusMultiStatus {
		return nil, wire.StatusOf(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return body, nil
}
