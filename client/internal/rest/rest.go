// Package rest makes HTTP requests to a server. It adds the token and the content type.
// [Server.Ask] turns an answer that reports a failure into an error of package wire;
// [Server.Send] returns the response as it is.
//
// Each request is made once: retries, tokens and keys are up to the caller, because only it
// knows whether a request may be repeated. An error never contains the token, and does not
// contain the URL unless the caller adds it.
package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// maxAnswerBytes is above the size of every answer: 1 MiB of messages and one more of
	// up to 8 MiB, which JSON can make six times as long.
	maxAnswerBytes = 64 << 20
	// keptConnections is how many idle connections wait for the next request.
	keptConnections = 16
)

// A Server is a server to make requests to. It is safe for concurrent use, and its fields
// must not change.
type Server struct {
	Base *url.URL     // paths are relative to it
	HTTP *http.Client // makes the requests

	own bool // New made HTTP
}

// New returns the server at an address like https://host. It makes requests with a copy of
// client that has no Timeout, because a Timeout would end event streams. If client is nil, New
// makes one that follows no redirects, so that the token goes to this server only. New does
// no I/O.
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

// Close closes the idle connections, unless they belong to the client that New was given.
// Further requests may follow.
func (s *Server) Close() {
	if s.own {
		s.HTTP.CloseIdleConnections()
	}
}

// A Request is an HTTP request without its token.
type Request struct {
	Method, Path string
	Query        url.Values
	Body         []byte        // JSON; nil: none
	Timeout      time.Duration // for how long Ask waits for the answer or for more of it; 0: until its context ends
}

// Send makes a request, with a token unless it is empty. It returns the response whatever its
// status; the caller closes the body. Every error is a network error.
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

// errSilent ends a request that waits for longer than its timeout.
var errSilent = errors.New("the server did not answer in time")

// Ask makes a request and returns the body of the answer. An answer without success is a
// [*wire.Status]; any other error is one of the network.
func (s *Server) Ask(ctx context.Context, r Request, token string) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	heard := func() {}
	if r.Timeout > 0 {
		timer := time.AfterFunc(r.Timeout, func() { cancel(errSilent) })
		defer timer.Stop()
		heard = func() { timer.Reset(r.Timeout) }
	}
	body, err := s.ask(ctx, r, token, heard)
	if cause := context.Cause(ctx); err != nil && cause == errSilent {
		return nil, cause
	}
	return body, err
}

func (s *Server) ask(ctx context.Context, r Request, token string, heard func()) ([]byte, error) {
	response, err := s.Send(ctx, r, token)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusMultiStatus {
		err := wire.StatusOf(response)
		if e, ok := err.(*wire.Status); ok && token != "" {
			e.Message = strings.ReplaceAll(e.Message, token, "REDACTED") // a proxy may quote the request
		}
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(wire.Pieces{Reader: response.Body, Heard: heard}, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("read the response: %w", err)
	}
	return body, nil
}
