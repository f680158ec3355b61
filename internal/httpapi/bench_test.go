package httpapi_test

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
)

// A loader repeats one broadcast request without allocating, so that only the handler's
// allocations count.
type loader struct {
	handler http.Handler
	request *http.Request
	body    *bytes.Reader
	text    []byte
	writer  nullWriter
}

// newLoader makes requests with the token in the header or in the body.
func newLoader(tb testing.TB, size int, tokenInBody bool) *loader {
	tb.Helper()
	signer, verifier := newIssuer(tb)
	bearer := token(tb, signer, auth.Broadcast, "topic-0001")
	claims, err := verifier.Verify(auth.Token(bearer))
	if err != nil {
		tb.Fatal(err)
	}
	a := httpapi.New(httpapi.Config{Verifier: fixedVerifier{claims}, Broker: fixedPublisher{}})
	l := &loader{
		handler: router.New(origin.List{}, nil, router.Route{Method: "POST", Path: "/broadcast", Handle: a.Broadcast}),
		writer:  nullWriter{header: make(http.Header)},
	}
	text := `{"topic":"topic-0001","message":"` + strings.Repeat("x", size) + `"`
	if tokenInBody {
		text += `,"token":"` + bearer + `"`
	}
	l.text = []byte(text + "}")
	l.body = bytes.NewReader(l.text)
	l.request, err = http.NewRequest("POST", "/broadcast", io.NopCloser(l.body))
	if err != nil {
		tb.Fatal(err)
	}
	l.request.ContentLength = int64(len(l.text))
	l.request.Header.Set("Content-Type", "application/json")
	if !tokenInBody {
		l.request.Header.Set("Authorization", "Bearer "+bearer)
	}
	return l
}

func (l *loader) broadcast(tb testing.TB) {
	l.body.Reset(l.text)
	clear(l.writer.header)
	l.writer.status = 0
	l.handler.ServeHTTP(&l.writer, l.request)
	if l.writer.status != 0 {
		tb.Fatalf("answer = %d, want 200", l.writer.status)
	}
}

// The handler allocates the topic and the data, which outlive it, and the token if it is in
// the body.
func TestBroadcastAllocates(t *testing.T) {
	for tokenInBody, most := range map[bool]float64{false: 2, true: 3} {
		l := newLoader(t, 100, tokenInBody)
		// Take the minimum of many runs, because under the race detector a sync.Pool drops
		// at random.
		got := math.Inf(1)
		for range 100 {
			got = min(got, testing.AllocsPerRun(1, func() { l.broadcast(t) }))
		}
		if got > most {
			t.Errorf("token in body %v: %v allocations per broadcast, want at most %v", tokenInBody, got, most)
		}
	}
}

func BenchmarkBroadcast(b *testing.B) {
	for _, place := range []string{"header", "body"} {
		for _, size := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprintf("token=%s/size=%d", place, size), func(b *testing.B) {
				l := newLoader(b, size, place == "body")
				b.ReportAllocs()
				for b.Loop() {
					l.broadcast(b)
				}
			})
		}
	}
}

type fixedVerifier struct{ claims *auth.Claims }

func (fixedVerifier) Anonymous() *auth.Claims { return nil }

func (v fixedVerifier) Verify(auth.Token, string) (*auth.Claims, error) { return v.claims, nil }

func (v fixedVerifier) Recall(auth.Token, string) (*auth.Claims, bool, error) {
	return v.claims, true, nil
}

type fixedPublisher struct{ httpapi.Broker }

func (fixedPublisher) Publish(ps []pubsub.Publication, _ func()) (finished bool) {
	for i := range ps {
		ps[i].Position = pubsub.Position{Epoch: "0123456789abcdef", Offset: 123456}
	}
	return true
}

// A nullWriter discards writes, and accepts deadlines like a connection. Its status is 0
// until WriteHeader.
type nullWriter struct {
	header http.Header
	status int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(status int)      { w.status = status }

func (w *nullWriter) SetReadDeadline(time.Time) error { return nil }
