// Package servertest starts whole servers for tests, and talks to them as a back end and as a
// client.
package servertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/logtest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/server"
)

// patience is how long a test waits for something that must happen.
const patience = 20 * time.Second

// A Server is a running server on a free port of 127.0.0.1.
type Server struct {
	URL      string // http://127.0.0.1:port
	AdminURL string
	HTTP     *http.Client // for its URLs; no connection outlives the test
	Server   *server.Server

	t      testing.TB
	signer *auth.Signer
	stop   func() error
	log    logtest.Buffer
}

// Start runs a server until the test ends. change may alter the default
// settings; nil does not. When the server has stopped, the test fails if a
// goroutine of it is left, or if it logged a token.
func Start(t testing.TB, change func(*config.Serve)) *Server {
	t.Helper()
	return StartIn(t, server.Environment{}, change)
}

// StartIn is Start in an environment.
func StartIn(t testing.TB, env server.Environment, change func(*config.Serve)) *Server {
	t.Helper()
	private, public, err := auth.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, HTTP: &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	if s.signer, err = auth.ParsePrivateKey(private); err != nil {
		t.Fatal(err)
	}
	c := config.Default()
	c.Port = 0
	c.AdminAddr = new("127.0.0.1:0")
	c.ShutdownTimeout = patience
	c.JWTPublicKeyFile = filepath.Join(t.TempDir(), "es256_public.pem")
	if err := os.WriteFile(c.JWTPublicKeyFile, public, 0o600); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&c)
	}
	env, await := WithBroker(t, env, &c)
	srv, err := server.Open(c, env, slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	s.Server, s.URL, s.AdminURL = srv, srv.URL(), srv.AdminURL()

	ctx, cancel := context.WithCancel(context.Background())
	name := s.URL // As a label of its goroutines: no other server of the process has it now.
	var ended error
	end := make(chan struct{})
	go pprof.Do(ctx, pprof.Labels("servertest", name), func(ctx context.Context) {
		defer close(end)
		ended = srv.Run(ctx)
	})
	// Both callers wait for the channel. A sync.Once would let the second wait for a mutex,
	// and while a goroutine does that, the time of a synctest bubble stands still.
	s.stop = func() error {
		s.HTTP.CloseIdleConnections()
		cancel()
		<-end
		return ended
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		s.checkLeft(name)
	})
	await()
	return s
}

// Stop shuts the server down and returns the error of its Run. Otherwise the end of the test does
// it.
func (s *Server) Stop() error { return s.stop() }

// Log returns what the server logged so far.
func (s *Server) Log() string { return s.log.String() }

// checkLeft fails the test if the server left a goroutine or logged a token.
func (s *Server) checkLeft(name string) {
	deadline := time.Now().Add(patience)
	for {
		var profile bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
			s.t.Error(err)
			return
		}
		if !strings.Contains(profile.String(), fmt.Sprintf("%q", name)) {
			break
		}
		if time.Now().After(deadline) {
			s.t.Errorf("goroutines of the server are left:\n%s", &profile)
			return
		}
		<-time.After(time.Millisecond) // In a bubble, this lets the time pass.
	}
	if log := s.Log(); strings.Contains(log, "eyJ") {
		s.t.Errorf("the server logged a token:\n%s", log)
	}
}

// Token returns a token for topics that is valid for an hour.
func (s *Server) Token(scope auth.Scope, topics ...pubsub.Topic) string {
	s.t.Helper()
	return s.TokenUntil(time.Now().Add(time.Hour), scope, topics...)
}

// TokenUntil returns a token that expires at a time.
func (s *Server) TokenUntil(expires time.Time, scope auth.Scope, topics ...pubsub.Topic) string {
	s.t.Helper()
	return s.Sign(auth.Grant{Subject: "test", Scopes: []auth.Scope{scope}, Topics: topics, Expires: expires})
}

// Sign returns a token that grants g; an Expires that is zero is in an hour.
func (s *Server) Sign(g auth.Grant) string {
	s.t.Helper()
	if g.Expires.IsZero() {
		g.Expires = time.Now().Add(time.Hour)
	}
	token, err := s.signer.Sign(g)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(token)
}

// Broadcast publishes a message and returns its position.
func (s *Server) Broadcast(topic pubsub.Topic, message any) string {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"topic": topic, "message": message, "token": s.Token(auth.Broadcast, topic)})
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := s.HTTP.Post(s.URL+"/broadcast", "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	answer, _ := io.ReadAll(r.Body)
	var ok struct{ Topic, Position string }
	if err := json.Unmarshal(answer, &ok); err != nil || r.StatusCode != http.StatusOK || ok.Topic != string(topic) {
		s.t.Fatalf("broadcast to %q: %s %s", topic, r.Status, answer)
	}
	return ok.Position
}

// Head returns the position of the last message of a topic, or where the topic begins.
func (s *Server) Head(topic pubsub.Topic) pubsub.Position {
	s.t.Helper()
	r, err := s.HTTP.Get(s.URL + "/history?limit=0&topic=" + url.QueryEscape(string(topic)) + "&token=" + s.Token(auth.Subscribe, topic))
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	answer, _ := io.ReadAll(r.Body)
	var history struct{ Position string }
	if err := json.Unmarshal(answer, &history); err != nil || r.StatusCode != http.StatusOK {
		s.t.Fatalf("head of %q: %s %s", topic, r.Status, answer)
	}
	position, err := pubsub.ParsePosition(history.Position)
	if err != nil {
		s.t.Fatal(err)
	}
	return position
}

// A Client is a WebSocket that speaks the text protocol.
type Client struct {
	*websocket.Conn
	t testing.TB
}

// Connect opens a WebSocket. The end of the test closes it.
func (s *Server) Connect() *Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, _, err := websocket.Dial(ctx, s.URL+"/ws", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.CloseNow() })
	return &Client{c, s.t}
}

// Client returns the client of a WebSocket that the test opened itself.
func (s *Server) Client(c *websocket.Conn) *Client { return &Client{c, s.t} }

// Subscribe opens a WebSocket and subscribes it to topics. The subscriptions are active when it
// returns.
func (s *Server) Subscribe(topics ...pubsub.Topic) *Client {
	s.t.Helper()
	c := s.Connect()
	for _, topic := range topics {
		c.Say("/subscribe " + string(topic) + " " + s.Token(auth.Subscribe, topics...))
	}
	c.Sync()
	return c
}

// Say sends a message.
func (c *Client) Say(line string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Write(ctx, websocket.MessageText, []byte(line)); err != nil {
		c.t.Fatalf("say %.20q: %v", line, err)
	}
}

// Sync waits until the server has executed all commands. Commands take effect in order, so the
// answer to one more command shows it.
func (c *Client) Sync() {
	c.t.Helper()
	c.Say("/")
	c.Expect("Unknown command")
}

// Next returns the next message.
func (c *Client) Next() string {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, data, err := c.Read(ctx)
	if err != nil || kind != websocket.MessageText {
		c.t.Fatalf("next message: %v, %v", kind, err)
	}
	return string(data)
}

// Expect fails the test unless the next messages are these.
func (c *Client) Expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.Next(); got != w {
			c.t.Fatalf("got %.100q, want %.100q", got, w)
		}
	}
}

// ExpectClose fails the test unless the server closes with code next.
func (c *Client) ExpectClose(code websocket.StatusCode) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, data, err := c.Read(ctx)
	if got := websocket.CloseStatus(err); got != code {
		c.t.Fatalf("got %q, %v; want close code %d", data, err, code)
	}
}
