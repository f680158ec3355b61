package httpapi

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// pieceBytes is how much of an answer is encoded at once, so it is also the most that a
	// client that does not read takes.
	pieceBytes = 16 << 10

	// freeBytes is the length up to which an answer does not count towards Config.Unread.
	freeBytes = 4 << 10
)

// pieces are buffers for one piece each.
var pieces = sync.Pool{New: func() any { return new([pieceBytes]byte) }}

// serveAnswer sends the answer that find returns, piece by piece, as fast as the client
// reads. It stops when the client has disconnected.
func (a *API) serveAnswer(w http.ResponseWriter, r *http.Request, find func(context.Context) *answer.Answer) error {
	ctx := r.Context()
	if r.ProtoMajor < 2 {
		// A client that closes its side of the connection may still read. If it is gone,
		// the next write fails.
		ctx = context.WithoutCancel(ctx)
	}
	g := &answerWriter{answer: find(ctx), maxLag: a.config.MaxLagBytes}
	if ctx.Err() != nil {
		return nil // the answer may be incomplete, and there is no client to send it to
	}
	if g.answer.Len() > freeBytes && r.Method != http.MethodHead {
		charged := pieceBytes + g.answer.Owned()
		defer a.config.Unread.Release(charged)
		if !a.config.Unread.Charge(charged) {
			return errUnread
		}
	}
	setJSON(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(g.answer.Len()))
	g.reader = reader{control: http.NewResponseController(w), draining: a.config.Draining, lags: g.lags}
	g.start()
	defer g.end()
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		g.run(ctx, w)
	}
	return nil
}

var errUnread = pubsub.Errorf(pubsub.OverCapacity, "too many answers to other clients are still unread: try again later")

// An answerWriter is an answer that is being sent to its client.
type answerWriter struct {
	reader
	maxLag uint64         // immutable
	answer *answer.Answer // guarded by mu after start
}

// lags reports whether the answer keeps too many messages that the logs have dropped.
func (g *answerWriter) lags() bool { return g.answer.Lag() > g.maxLag }

// run writes the answer. If the client does not get all of it, run breaks its connection,
// or its stream of an HTTP/2 connection.
func (g *answerWriter) run(ctx context.Context, w io.Writer) {
	buffer := pieces.Get().(*[pieceBytes]byte)
	for {
		piece, more := g.next(buffer[:0])
		if _, err := w.Write(piece); err != nil {
			return // HTTP/2 may still use the buffer, so it does not go back into the pool
		}
		if !more || ctx.Err() != nil {
			break
		}
		g.extend()
	}
	pieces.Put(buffer)
}

// next encodes the next piece, and reports whether another one follows.
func (g *answerWriter) next(dst []byte) (piece []byte, more bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lags() {
		panic(http.ErrAbortHandler)
	}
	piece = g.answer.Append(dst, pieceBytes)
	return piece, g.answer.Len() > 0
}
