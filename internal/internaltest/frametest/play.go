package frametest

import (
	"bufio"
	"cmp"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a server may take for a whole case.
const patience = 20 * time.Second

// A Server is one that runs, with the default limits.
type Server struct {
	Address string // host:port
	Path    string
	Echoes  bool // it sends each message back; else it says nothing
	Deflate bool // negotiate permessage-deflate
}

// outcome is what a client sees of a Case.
type outcome struct {
	messages []string
	pongs    []string
	end      string // the close frame; empty if the connection stays open
}

// want returns the expected output of c.
func (s Server) want(c Case) (o outcome) {
	for event := range strings.SplitSeq(c.Want, " | ") {
		switch {
		case strings.HasPrefix(event, "> close"):
			o.end = event
		case strings.HasPrefix(event, "> pong"):
			o.pongs = append(o.pongs, event)
		case event != "" && event != "end" && s.Echoes:
			o.messages = append(o.messages, "> "+event)
		}
	}
	return o
}

// Play sends a case to the server over a new connection and checks the result. If the server
// keeps the connection open, Play closes it normally.
func (s Server) Play(t testing.TB, c Case) {
	t.Helper()
	conn, r := s.open(t)
	defer conn.Close()
	_, _ = conn.Write(c.In) // A server that closes need not take all of it.

	want := s.want(c)
	var got outcome
	for asked := false; got.end == ""; {
		if !asked && want.end == "" && len(got.messages) == len(want.messages) && len(got.pongs) == len(want.pongs) {
			asked = true
			_, _ = conn.Write(Closing(1000, ""))
		}
		frame, err := readFrame(r, s.Deflate)
		switch {
		case err != nil:
			t.Fatalf("after %+v: %v", got, err)
		case strings.HasPrefix(frame, "> close"):
			got.end = frame
		case strings.HasPrefix(frame, "> pong"):
			got.pongs = append(got.pongs, frame)
		default:
			got.messages = append(got.messages, frame)
		}
	}
	s.compare(t, got, want)
	_ = conn.CloseWrite()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the close frame: %v, want %v", err, io.EOF)
	}
}

// compare compares what was seen.
func (s Server) compare(t testing.TB, got, want outcome) {
	t.Helper()
	want.end = cmp.Or(want.end, "> close 1000")
	if !slices.Equal(got.messages, want.messages) || !slices.Equal(got.pongs, want.pongs) || got.end != want.end {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// open connects and shakes hands.
func (s Server) open(t testing.TB) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience)) // fails for closed connections only, which tell
	request := "GET " + s.Path + " HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
	if s.Deflate {
		request += "Sec-WebSocket-Extensions: permessage-deflate\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("handshake: %+v, %v", answer, err)
	}
	if agreed := answer.Header.Get("Sec-WebSocket-Extensions") != ""; agreed != s.Deflate {
		t.Fatalf("compression was agreed on: %v, want %v", agreed, s.Deflate)
	}
	return conn.(*net.TCPConn), r
}
