package client_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/client"
)

// An alerting listener answers the first TLS handshake with an alert.
type alerting struct {
	net.Listener
	alert byte // 0: it was sent
}

func (l *alerting) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil || l.alert == 0 {
		return c, err
	}
	head := make([]byte, 5) // of a TLS record
	if _, err := io.ReadFull(c, head); err == nil {
		_, _ = io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(head[3:])))
	}
	_, _ = c.Write([]byte{21, 3, 3, 0, 2, 2, l.alert}) // A client that has gone fails the test anyway.
	c.Close()
	l.alert = 0
	return l.Listener.Accept()
}

// A proxy that reads its configuration again may send alerts for a moment. Only those
// about a certificate or a version end a call.
func TestCallsRetryAfterPassingAlerts(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"topic":"t","position":"E:1"}`) })
	for name, c := range map[string]struct {
		alert   byte
		retries int
	}{
		"handshake_failure":    {40, 1},
		"internal_error":       {80, 1},
		"unrecognized_name":    {112, 1},
		"bad_certificate":      {42, 0},
		"unknown_ca":           {48, 0},
		"protocol_version":     {70, 0},
		"certificate_required": {116, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(answer)
			s.Listener = &alerting{s.Listener, c.alert}
			s.StartTLS()
			defer s.Close()
			attempts := 0
			caller, err := client.NewForTest(s.URL, client.Options{Token: "t", HTTPClient: s.Client()}, func(int) time.Duration {
				attempts++
				return 0
			})
			if err != nil {
				t.Fatal(err)
			}
			defer caller.Close()
			_, err = caller.Publish(t.Context(), "t", []byte("m"))
			if attempts != c.retries || (err == nil) != (c.retries > 0) {
				t.Errorf("Publish = %v after %d retries, want %d", err, attempts, c.retries)
			}
		})
	}
}
