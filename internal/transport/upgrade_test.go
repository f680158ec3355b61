package transport_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// handshake is a valid one. The key and its answer are those of RFC 6455 section 1.3.
var handshake = []string{
	"GET /ws HTTP/1.1",
	"Host: example.com",
	"Upgrade: websocket",
	"Connection: Upgrade",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	"Sec-WebSocket-Version: 13",
}

const acceptedKey = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

// request returns the valid handshake with changes. A header replaces the one with its
// name, or is appended; "-Name" removes one; "+Header: value" is always appended; a request
// line replaces the first line.
func request(changes ...string) string {
	lines := append([]string{}, handshake...)
	for _, change := range changes {
		name, _, isHeader := strings.Cut(strings.TrimLeft(change, "+-"), ":")
		at := -1
		for i, line := range lines {
			if strings.HasPrefix(line, name+":") {
				at = i
			}
		}
		switch {
		case change[0] == '-':
			lines = append(lines[:at], lines[at+1:]...)
		case !isHeader:
			lines[0] = change
		case change[0] == '+' || at < 0:
			lines = append(lines, strings.TrimPrefix(change, "+"))
		default:
			lines[at] = change
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// serve starts a server with limits as in production, and returns its address and the
// connections that it upgrades.
func serve(t *testing.T, u *transport.Upgrader) (address string, conns <-chan transport.Handshake) {
	t.Helper()
	got := make(chan transport.Handshake, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, err := u.Upgrade(w, r)
		switch {
		case err == nil:
			got <- h
		case errors.As(err, new(*pubsub.Error)):
			wire.WriteProblem(w, err)
		default:
			t.Errorf("Upgrade = %v, want a refusal", err)
		}
	}))
	server.Config.ReadHeaderTimeout = 5 * time.Second
	server.Config.MaxHeaderBytes = 16 << 10
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), got
}

// exchange sends a request on a new connection. It returns the answer, the connection and a
// reader of what follows.
func exchange(t *testing.T, address, request string) (*http.Response, net.Conn, *bufio.Reader) {
	t.Helper()
	client, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if err := client.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(client)
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return answer, client, r
}

func TestHandshake(t *testing.T) {
	address, conns := serve(t, &transport.Upgrader{Protocols: []string{"notiflux.v1.text"}})
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"good", request(), 101},
		{"any path", request("GET /other?x=1 HTTP/1.1"), 101},
		{"upgrade in capitals", request("Upgrade: WebSocket"), 101},
		{"upgrade among others", request("Upgrade: h2c, websocket"), 101},
		{"connection in lower case", request("Connection: upgrade"), 101},
		{"connection among others", request("Connection: keep-alive, Upgrade"), 101},
		{"connection in two lines", request("Connection: keep-alive", "+Connection: Upgrade"), 101},
		{"any origin", request("Origin: https://example.com"), 101},
		{"null origin", request("Origin: null"), 101},
		{"unknown extension", request("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101},
		{"empty body", request("Content-Length: 0"), 101},
		{"headers of 16 KiB", request("X-Long: " + strings.Repeat("x", 16<<10-400)), 101},

		{"no upgrade", request("-Upgrade"), 426},
		{"upgrade to something else", request("Upgrade: h2c"), 426},
		{"upgrade to nearly this", request("Upgrade: websockets"), 426},
		{"no connection", request("-Connection"), 426},
		{"connection without upgrade", request("Connection: keep-alive"), 426},
		{"a browser's visit", "GET /ws HTTP/1.1\r\nHost: example.com\r\n\r\n", 426},
		{"HTTP/1.0", request("GET /ws HTTP/1.0"), 426},
		{"no version", request("-Sec-WebSocket-Version"), 426},
		{"version 8", request("Sec-WebSocket-Version: 8"), 426},
		{"version 14", request("Sec-WebSocket-Version: 14"), 426},
		{"version 013", request("Sec-WebSocket-Version: 013"), 426},
		{"two versions in a line", request("Sec-WebSocket-Version: 13, 8"), 426},
		{"version twice", request("+Sec-WebSocket-Version: 13"), 426},

		{"POST", request("POST /ws HTTP/1.1"), 405},
		{"PUT", request("PUT /ws HTTP/1.1"), 405},
		{"HEAD", request("HEAD /ws HTTP/1.1"), 405},
		{"OPTIONS", request("OPTIONS /ws HTTP/1.1"), 405},

		{"no key", request("-Sec-WebSocket-Key"), 400},
		{"empty key", request("Sec-WebSocket-Key: "), 400},
		{"key of 15 bytes", request("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAA"), 400},
		{"key of 17 bytes", request("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAA="), 400},
		{"key of 18 bytes", request("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAAAA"), 400},
		{"key without padding", request("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA"), 400},
		{"key in base64url", request("Sec-WebSocket-Key: -_AAAAAAAAAAAAAAAAAAAA=="), 400},
		{"key that is no base64", request("Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), 400},
		{"key twice", request("+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400},
		{"body", request("Content-Length: 5") + "hello", 400},
		{"chunked body", request("Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		{"body of both kinds", request("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		{"no host", request("-Host"), 400},
		{"empty host", request("Host: "), 400},
		{"two hosts", request("+Host: example.com"), 400},
		{"NUL in a header", request("X-Bad: a\x00b"), 400},
		{"bare CR in a header", request("X-Bad: a\rb"), 400},
		{"headers over 20 KiB", request("X-Long: " + strings.Repeat("x", 21<<10)), 431},
	} {
		t.Run(c.name, func(t *testing.T) {
			answer, _, _ := exchange(t, address, c.request)
			equal(t, "status", answer.StatusCode, c.status)
			if answer.StatusCode == 101 {
				got := <-conns
				defer got.Conn.Close()
				equal(t, "early", len(got.Early), 0)
			}
			checkHeaders(t, answer)
		})
	}
}

// checkHeaders checks the headers that belong to each status.
func checkHeaders(t *testing.T, answer *http.Response) {
	t.Helper()
	want := map[string]string{}
	switch answer.StatusCode {
	case 101:
		want["Upgrade"], want["Connection"] = "websocket", "Upgrade"
		want["Sec-WebSocket-Accept"] = acceptedKey
		want["Sec-WebSocket-Protocol"], want["Sec-WebSocket-Extensions"] = "", ""
	case 426:
		want["Upgrade"], want["Sec-WebSocket-Version"] = "websocket", "13"
	case 405:
		want["Allow"] = "GET"
	}
	for name, value := range want {
		equal(t, name, answer.Header.Get(name), value)
	}
}

func TestHandshakeWithABodyIsClosed(t *testing.T) {
	address, _ := serve(t, new(transport.Upgrader))
	for _, in := range []string{
		request("Content-Length: 1000000") + "hello",
		request("Transfer-Encoding: chunked") + "5\r\nhello\r\n",
	} {
		answer, _, r := exchange(t, address, in)
		equal(t, "status", answer.StatusCode, 400)
		equal(t, "closes", answer.Close, true)
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Error(err)
		}
		if _, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the connection stays open: %v", err)
		}
	}
}

func TestSubprotocol(t *testing.T) {
	address, conns := serve(t, &transport.Upgrader{Protocols: []string{"notiflux.v1.text", "notiflux.v1.json"}})
	const header = "Sec-WebSocket-Protocol: "
	for _, c := range []struct{ offer, protocol, token string }{
		{"X-None: 1", "", ""},
		{header + "notiflux.v1.text", "notiflux.v1.text", ""},
		{header + "notiflux.v1.json", "notiflux.v1.json", ""},
		{header + "chat, notiflux.v1.text", "notiflux.v1.text", ""},
		{header + "notiflux.v1.json,notiflux.v1.text", "notiflux.v1.json", ""},
		{header + "notiflux.v1.text,notiflux.v1.json", "notiflux.v1.text", ""},
		{header + "chat", "", ""},
		{header + "NOTIFLUX.V1.TEXT", "", ""},
		{header + ",,", "", ""},
		{header + `"notiflux.v1.text"`, "", ""},
		{header + "chat\r\n" + header + "\t notiflux.v1.text ", "notiflux.v1.text", ""},

		{header + "notiflux.token.aaa.bbb.ccc, notiflux.v1.text", "notiflux.v1.text", "aaa.bbb.ccc"},
		{header + "notiflux.v1.json,notiflux.token.eyJ-_.eyJ0.x-_", "notiflux.v1.json", "eyJ-_.eyJ0.x-_"},
		{header + "notiflux.v1.json\r\n" + header + " notiflux.token.a ", "notiflux.v1.json", "a"},
		{header + "chat, notiflux.v1.text, notiflux.token.a", "notiflux.v1.text", "a"},
		{header + "notiflux.v1.jsn", "", ""},
		{header + "notiflux.token., notiflux.v1.json", "notiflux.v1.json", ""},
		{header + "notiflux.token", "", ""},
		{header + "Notiflux.Token.a", "", ""},
		{header + "x.notiflux.token.a", "", ""},
	} {
		answer, _, _ := exchange(t, address, request(c.offer))
		equal(t, c.offer+": status", answer.StatusCode, 101)
		equal(t, c.offer+": header", answer.Header.Get("Sec-WebSocket-Protocol"), c.protocol)
		equal(t, c.offer+": header lines", len(answer.Header["Sec-Websocket-Protocol"]), min(len(c.protocol), 1))
		got := <-conns
		equal(t, c.offer+": protocol", got.Protocol, c.protocol)
		equal(t, c.offer+": token", got.Token, c.token)
		got.Conn.Close()
	}
	for _, offer := range []string{
		"notiflux.token.a, notiflux.token.b",
		"notiflux.token.a, notiflux.v1.json, notiflux.token.a",
		"notiflux.token.a\r\n" + header + "notiflux.token.b",
		"notiflux.token.,notiflux.token.",
		// Browsers reject the connection if none of their subprotocols is accepted.
		"notiflux.token.aaa.bbb.ccc",
		", notiflux.token.a,",
		"notiflux.token.",
		"notiflux.token.notiflux.v1.text",
		"notiflux.v1.jsn, notiflux.token.a",
		"NOTIFLUX.V1.JSON, notiflux.token.a",
		"chat, notiflux.token.notiflux.v1.text",
		"notiflux.token.a\r\n" + header + "chat",
	} {
		answer, _, _ := exchange(t, address, request(header+offer))
		equal(t, offer+": status", answer.StatusCode, 400)
		body, err := io.ReadAll(answer.Body)
		if err != nil || !strings.Contains(string(body), "Sec-WebSocket-Protocol") {
			t.Errorf("%s: the answer is %q, %v; want it to name the header", offer, body, err)
		}
	}
}

// If a handshake came through a proxy that is not configured for WebSockets, the error says
// which header is missing, and what probably dropped it.
func TestHandshakeThroughAProxy(t *testing.T) {
	address, _ := serve(t, new(transport.Upgrader))
	for _, c := range []struct{ name, request, header string }{
		{"no connection", request("-Connection"), "Connection"},
		{"connection without upgrade", request("Connection: keep-alive"), "Connection"},
		{"no upgrade", request("-Upgrade"), "Upgrade"},
		{"neither of both", request("-Upgrade", "-Connection"), "Upgrade"},
		{"HTTP/1.0", request("GET /ws HTTP/1.0"), "HTTP/1.1"},
		{"HTTP/1.0 without both", request("GET /ws HTTP/1.0", "-Upgrade", "Connection: close"), "HTTP/1.1"},
	} {
		answer, _, _ := exchange(t, address, c.request)
		equal(t, c.name+": status", answer.StatusCode, 426)
		body, err := io.ReadAll(answer.Body)
		if err != nil || !strings.Contains(string(body), c.header) || !strings.Contains(string(body), "proxy") {
			t.Errorf("%s: %s, %v; want %s and a proxy named", c.name, body, err, c.header)
		}
	}
	answer, _, _ := exchange(t, address, "GET /ws HTTP/1.1\r\nHost: example.com\r\n\r\n")
	if body, _ := io.ReadAll(answer.Body); strings.Contains(string(body), "proxy") {
		t.Errorf("a browser visit gets an error about a proxy: %s", body)
	}
}

func TestOverCapacity(t *testing.T) {
	for _, code := range []pubsub.Code{pubsub.OverCapacity, pubsub.Draining} {
		address, _ := serve(t, &transport.Upgrader{Over: func() error { return pubsub.Errorf(code, "come back later") }})
		answer, _, _ := exchange(t, address, request())
		equal(t, "status", answer.StatusCode, 503)
		equal(t, "Retry-After is there", answer.Header.Get("Retry-After") != "", true)
		answer, _, _ = exchange(t, address, request("-Sec-WebSocket-Key"))
		equal(t, "status of a bad handshake", answer.StatusCode, 400)
	}
}

func TestEarlyBytes(t *testing.T) {
	address, conns := serve(t, new(transport.Upgrader))
	early := cat(text("first"), text("second"))
	answer, client, _ := exchange(t, address, request()+string(early))
	equal(t, "status", answer.StatusCode, 101)
	got := <-conns
	defer got.Conn.Close()
	if _, err := client.Write([]byte("third")); err != nil {
		t.Fatal(err)
	}
	all := append(got.Early, make([]byte, len(early)+len("third")-len(got.Early))...)
	if _, err := io.ReadFull(got.Conn, all[len(got.Early):]); err != nil {
		t.Fatal(err)
	}
	equal(t, "early and later bytes", string(all), string(early)+"third")
}

// The deadline for the request's headers does not apply to the connection.
func TestNoDeadlineIsLeft(t *testing.T) {
	got := make(chan net.Conn, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := transport.Upgrader{Timeout: 20 * time.Millisecond}
		h, err := u.Upgrade(w, r)
		if err != nil {
			t.Errorf("Upgrade = %v", err)
		}
		got <- h.Conn
	}))
	server.Config.ReadTimeout = 20 * time.Millisecond
	server.Config.WriteTimeout = 20 * time.Millisecond
	server.Start()
	defer server.Close()
	_, client, r := exchange(t, server.Listener.Addr().String(), request())
	conn := <-got
	defer conn.Close()
	go io.Copy(conn, conn) // ends with conn

	if err := client.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a connection that is left alone: %v, want %v", err, os.ErrDeadlineExceeded)
	}
	if err := client.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	if b, err := r.ReadByte(); err != nil || b != 'x' {
		t.Errorf("echo = %q, %v", b, err)
	}
}

func TestHandshakeOverHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := new(transport.Upgrader).Upgrade(w, r)
		wire.WriteProblem(w, err)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	answer, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	equal(t, "version of HTTP", answer.ProtoMajor, 2)
	equal(t, "status", answer.StatusCode, 426)
}

// Connections that cannot be taken over, or are closed, are distinguished from refusals.
func TestNothingToAnswer(t *testing.T) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request())))
	if err != nil {
		t.Fatal(err)
	}
	_, broken := io.Pipe()
	broken.Close()
	for name, w := range map[string]http.ResponseWriter{
		"no hijacker": httptest.NewRecorder(),
		"client gone": hijackable{httptest.NewRecorder(), broken},
	} {
		h, err := new(transport.Upgrader).Upgrade(w, r)
		if h.Conn != nil || err == nil || errors.As(err, new(*pubsub.Error)) {
			t.Errorf("%s: Upgrade = %v, %v, want an error that is not a refusal", name, h.Conn, err)
		}
	}
}

// FuzzHandshake sends any bytes as a request. There is an answer or an end, and 101 only
// for something that looks like a handshake.
func FuzzHandshake(f *testing.F) {
	f.Add(request())
	f.Add(request("Upgrade: h2c,\t websocket", "Sec-WebSocket-Protocol: a,b,,\x00"))
	f.Add(request("Sec-WebSocket-Key: ====", "Content-Length: 1"))
	f.Fuzz(func(t *testing.T, in string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(in)))
		if err != nil {
			return
		}
		var sent strings.Builder
		w := hijackable{httptest.NewRecorder(), &sent}
		_, err = (&transport.Upgrader{Protocols: []string{"a"}}).Upgrade(w, r)
		took := strings.HasPrefix(sent.String(), "HTTP/1.1 101 ")
		if took != (err == nil) {
			t.Fatalf("Upgrade = %v, and sent %q", err, sent.String())
		}
		if lower := strings.ToLower(in); took && !(strings.Contains(lower, "websocket") && strings.Contains(lower, "upgrade")) {
			t.Fatalf("101 for %q", in)
		}
		if refusal := new(pubsub.Error); err != nil && !errors.As(err, &refusal) {
			t.Fatalf("Upgrade = %v, want a refusal", err)
		}
	})
}

// hijackable is a response writer whose connection writes to sent.
type hijackable struct {
	*httptest.ResponseRecorder
	sent io.Writer
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, _ := net.Pipe()
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(h.sent)), nil
}
