package server_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// Bodies that clients without a token do not finish take a limited part of the memory. What
// does not fit is refused at once, a publisher with a token in the header still has room,
// and all memory is released in the end.
func TestBodiesThatAreNotFinished(t *testing.T) {
	s := servertest.Start(t, func(c *config.Serve) { c.MaxConnections = 1000 })
	const connections, size = 120, 1 << 20
	const fit = 64 // of this size: half of 64 MiB, and room for bodies that are not charged yet
	half := bytes.Repeat([]byte(" "), size-1)
	answers := make(chan *http.Response, connections)
	var held []io.Closer
	for range connections {
		conn := dialRaw(t, s.URL)
		held = append(held, conn)
		go func() {
			fmt.Fprintf(conn, "POST /broadcast HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
			_, _ = conn.Write(half) // a refused one may be closed before this is done
			answer, err := http.ReadResponse(conn.R, nil)
			if err != nil {
				answer = nil // closed by the test
			}
			answers <- answer
		}()
	}
	for range connections - fit {
		answer := <-answers
		if answer == nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" || !answer.Close {
			t.Fatalf("answered %+v, want 503 with Retry-After and the end of the connection", answer)
		}
		body, _ := io.ReadAll(answer.Body)
		if !strings.Contains(string(body), `"over_capacity"`) {
			t.Fatalf("answered %s", body)
		}
	}
	message := `{"topic":"t","message":1` + strings.Repeat(" ", size/2) + `}`
	if status, answer := broadcast(t, s, message, "Authorization", "Bearer "+s.Token(auth.Broadcast, "t")); status != 200 {
		t.Errorf("a publisher with a token gets %d %s", status, answer)
	}
	for _, conn := range held {
		conn.Close()
	}
	token := s.Token(auth.Broadcast, "t")
	whole := `{"topic":"t","message":1,"token":"` + token + `"` + strings.Repeat(" ", size-1000) + `}`
	for deadline := time.Now().Add(20 * time.Second); ; {
		status, answer := broadcast(t, s, whole)
		if status == 200 {
			break
		}
		if status != 503 || time.Now().After(deadline) {
			t.Fatalf("once the others have gone, a publisher gets %d %s", status, answer)
		}
	}
}
