package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// stall sends n broadcast requests one after the other. Each sends a few bytes of a body of
// size bytes and then stops. end gives up those that have not been answered. For a synctest
// bubble.
func (s *service) stall(n, size, sent int, headers ...string) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	for range n {
		r, w := io.Pipe()
		request := httptest.NewRequestWithContext(ctx, "POST", "/broadcast", r)
		request.ContentLength = int64(size)
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		go func() {
			defer r.Close() // stop reading
			s.handler.ServeHTTP(httptest.NewRecorder(), request)
		}()
		go func() {
			_, _ = w.Write(bytes.Repeat([]byte(" "), sent))
			<-ctx.Done()
			w.CloseWithError(io.ErrUnexpectedEOF)
		}()
		synctest.Wait()
	}
	return func() {
		cancel()
		synctest.Wait()
	}
}

// post broadcasts a body without a socket.
func (s *service) post(t *testing.T, body string, headers ...string) *response {
	t.Helper()
	return s.serveBody(t, t.Context(), "POST", "/broadcast", body, headers...)
}

// Clients without a token cannot keep out a publisher whose token is in the body, neither
// with requests that send nothing nor with large bodies that do not finish.
func TestUnauthenticatedUploadsLeaveRoom(t *testing.T) {
	for name, c := range map[string]struct{ n, size, sent int }{
		"nothing sent":     {4000, 1 << 20, 0},
		"a byte sent":      {4000, 1 << 20, 1},
		"all but the end":  {100, 1 << 20, 1<<20 - 1},
		"half of it":       {150, 1 << 20, 1 << 19},
		"a length unknown": {100, -1, 1<<20 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newHandler(t, httpapi.Config{})
				body := fmt.Sprintf(`{"topic":"a","message":1,"token":%q}`, token(t, s.signer, auth.Broadcast, "a"))
				end, endSmall := s.stall(c.n, c.size, c.sent), s.stall(50, 100, min(c.sent, 99)) // in what the large ones leave
				s.post(t, body).want(t, 200, "")
				end()
				endSmall()
				s.post(t, body+strings.Repeat(" ", 1<<20-len(body))).want(t, 200, "")
				if got := s.api.Stats(); got.Failed != 0 {
					t.Errorf("%d broadcasts failed, want 0", got.Failed)
				}
			})
		})
	}
}

// Half of the memory is for broadcast tokens. Other tokens get none of it, and no publisher
// gets all of it.
func TestPublishersHaveReservedRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newHandler(t, httpapi.Config{})
		bearer := func(subject string, scope auth.Scope) []string {
			token, err := s.signer.Sign(auth.Grant{Subject: subject, Scopes: []auth.Scope{scope}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			return []string{"Authorization", "Bearer " + string(token)}
		}
		large := `{"topic":"a","message":1` + strings.Repeat(" ", 1<<19) + `}`
		one, two, reader := bearer("one", auth.Broadcast), bearer("two", auth.Broadcast), bearer("reader", auth.Subscribe)

		endOpen := s.stall(150, 1<<20, 1<<20-1, reader...)
		endSmall := s.stall(1200, 1<<20, 12<<10, reader...)
		s.post(t, large, reader...).want(t, 503, "over_capacity")
		s.post(t, large, one...).want(t, 200, "")
		endOne := s.stall(100, 1<<20, 1<<20-1, one...)
		s.post(t, large, one...).want(t, 503, "over_capacity")
		s.post(t, large, two...).want(t, 200, "")
		endOne()
		s.post(t, large, one...).want(t, 200, "")
		endOpen()
		endSmall()
		s.post(t, large, reader...).want(t, 403, "scope_denied")
	})
}

// A body of the maximum size fits into either half, however large the maximum is.
func TestLargestBodyFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 12 << 20
		s := newHandler(t, httpapi.Config{MaxBodyBytes: most})
		token := token(t, s.signer, auth.Broadcast, "a")
		body := fmt.Sprintf(`{"topic":"a","message":1,"token":%q}`, token)
		body += strings.Repeat(" ", most-len(body))
		s.post(t, body).want(t, 200, "")
		end := s.stall(4, most, most-1)
		s.post(t, body).want(t, 503, "over_capacity")
		s.post(t, body, "Authorization", "Bearer "+token).want(t, 200, "")
		end()
	})
}

// A request that finds no room for a pooled decoder can still wait for the broker.
func TestDecoderWithoutRoomWaits(t *testing.T) {
	s := newHandler(t, httpapi.Config{})
	if !s.api.DecoderWaitsForTest(httptest.NewRequest("POST", "/broadcast", nil)) {
		t.Error("the decoder cannot wait for the broker")
	}
}

// The answer to an array counts as unread, and contains no names longer than a topic. If
// there is no room for it, nothing is published.
func TestAnswersToArraysAreCharged(t *testing.T) {
	budget := transport.NewBudget(4 << 20)
	s := newHandler(t, httpapi.Config{Unread: budget})
	long := strings.Repeat("\u0085", 560)
	names := strings.Repeat(`"`+long+`",`, 899) + `"` + long + `"`
	foreign := `{"message":1,"topics":[` + names + `]}`
	bearer := "Bearer " + token(t, s.signer, auth.Broadcast, "a")
	own := "[" + strings.Repeat(`{"topic":"a","message":1},`, 999) + `{"topic":"a","message":1}]`

	for _, body := range []string{foreign, own} {
		w := newSlowWriter()
		written := 0
		w.write = func(p []byte) (int, error) {
			if used := budget.Used(); used < int64(len(p)) {
				t.Errorf("an answer of %d bytes is charged %d", len(p), used)
			}
			written += len(p)
			return len(p), nil
		}
		r := httptest.NewRequest("POST", "/broadcast", strings.NewReader(body))
		r.Header.Set("Authorization", bearer)
		s.handler.ServeHTTP(w, r)
		if written == 0 || written > 300<<10 {
			t.Errorf("an answer of %d bytes to a body of %d", written, len(body))
		}
		if used := budget.Used(); used != 0 {
			t.Errorf("%d bytes are charged at the end", used)
		}
	}

	const taken = 4<<20 - 10<<10
	budget.Charge(taken)
	published := len(s.publisher.all())
	for range 2 {
		s.post(t, own, "Authorization", bearer).want(t, http.StatusServiceUnavailable, "over_capacity")
	}
	if n := len(s.publisher.all()); n != published {
		t.Errorf("%d messages were published without an answer", n-published)
	}
	s.post(t, `[{"topic":"a","message":1}]`, "Authorization", bearer).want(t, 200, "")
	if got, used := s.api.Stats(), budget.Used(); got.Failed != 0 || used != taken {
		t.Errorf("%d failed and %d bytes are charged, want 0 and %d", got.Failed, used, taken)
	}
}
