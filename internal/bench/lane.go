package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/ikornaselur/notiflux/internal/wsframe"
)

const (
	// portableBuffer is the read buffer of a connection without a poller.
	portableBuffer = 4 << 10
	// controlTimeout is how long writing the answer to a ping may take.
	controlTimeout = 100 * time.Millisecond
	// closeNormal is the close code of a client that has finished (RFC 6455 section 7.4.1).
	closeNormal = 1000
	// longestLatency is the highest latency that the histogram distinguishes.
	longestLatency = 10 * time.Minute
)

// newHistogram returns a histogram of microseconds with three significant digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longestLatency.Microseconds(), 3)
}

// A subscriber is one connection with one subscription.
type subscriber struct {
	conn  socket
	topic int

	// Guarded by the lane's mu.
	scanner
	next []uint32 // sequence to come, of each publisher
	gone bool
}

// A socket is the connection without its reading side, which the lane owns. A write returns
// quickly, and may fail.
type socket interface {
	Write([]byte) (int, error)
	Close() error
}

// settled is the number of messages that the subscriber received or missed.
func (s *subscriber) settled() (n int) {
	for _, next := range s.next {
		n += int(next)
	}
	return n
}

// tally holds the counts of a lane.
type tally struct {
	got        uint64 // deliveries
	disordered uint64 // that came again, or after a later message of their publisher
	foreign    uint64 // that are no messages of this run
	lost       int    // connections
	first      error  // why the first connection was lost
}

// A lane reads a share of the connections and counts what they receive. It reads with a
// poller, or with a goroutine per connection where there is none.
type lane struct {
	// Immutable.
	flow   *flow
	poller *poller // nil: there is none
	length int     // of a message

	mu sync.Mutex
	// Guarded by mu.
	tally
	latency *hdrhistogram.Histogram
	closing bool // connections end because we end them
	all     []*subscriber
	readers sync.WaitGroup
}

func newLane(f *flow, length int, portable bool) *lane {
	l := &lane{flow: f, length: length, latency: newHistogram()}
	if portable {
		return l
	}
	p, err := newPoller(l)
	if err != nil {
		return l // a poller is faster, and nothing else
	}
	l.poller = p
	l.readers.Go(p.run)
	return l
}

// add makes conn a subscriber, and owns it from then on. early holds what was already read
// from it.
func (l *lane) add(conn net.Conn, topic, publishers int, early []byte) {
	s := &subscriber{conn: conn, topic: topic, next: make([]uint32, publishers)}
	l.flow.join(topic)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, s)
	l.flow.settle(l.take(s, early))
	if l.poller != nil && !s.gone && l.poller.watch(s, conn, len(l.all)-1) {
		return
	}
	l.readers.Go(func() { l.read(s, conn) })
}

// read runs as the goroutine of a connection without a poller.
func (l *lane) read(s *subscriber, conn net.Conn) {
	buf := make([]byte, portableBuffer)
	for {
		n, err := conn.Read(buf)
		l.mu.Lock()
		settled := l.take(s, buf[:n])
		if err != nil {
			l.drop(s, fmt.Errorf("the connection broke: %w", err))
		}
		gone := s.gone
		l.mu.Unlock()
		l.flow.settle(settled)
		if gone {
			return
		}
	}
}

// take counts the messages in b, and returns how many deliveries it settled. The caller holds
// l.mu.
func (l *lane) take(s *subscriber, b []byte) (settled int) {
	now := l.flow.now()
	for len(b) > 0 && !s.gone {
		var e event
		var payload []byte
		e, payload, b = s.scanner.next(b)
		switch e {
		case needMore, gotPong:
		case gotText:
			settled += l.count(s, now)
		case gotPing:
			s.answer(wsframe.Pong, payload)
		case gotBinary:
			l.foreign++
		case gotClose:
			code, reason := wsframe.ParseClose(payload)
			l.drop(s, fmt.Errorf("the server closed the connection: %d %s", code, reason))
		case malformed:
			l.drop(s, errors.New("the server sent what is no WebSocket frame"))
		}
	}
	return settled
}

// count counts the message that just ended, and returns how many deliveries it settles: a
// message is lost if a later one of its publisher arrives first.
func (l *lane) count(s *subscriber, now time.Duration) (settled int) {
	m, ok := parseMark(s.head[:s.headLen])
	if !ok || s.length != l.length || int(m.publisher) >= len(s.next) {
		l.foreign++
		return 0
	}
	next := s.next[m.publisher]
	if m.sequence < next {
		l.disordered++
		return 0
	}
	s.next[m.publisher] = m.sequence + 1
	l.got++
	latency := now - time.Duration(m.sent)
	_ = l.latency.RecordValue(int64(min(max(latency, 0), longestLatency) / time.Microsecond))
	return int(m.sequence + 1 - next)
}

// answer writes a control frame. If that fails, the next read fails too.
func (s *subscriber) answer(op wsframe.Opcode, payload []byte) {
	if c, ok := s.conn.(net.Conn); ok {
		_ = c.SetWriteDeadline(time.Now().Add(controlTimeout))
	}
	_, _ = s.conn.Write(appendMasked(nil, op, payload))
}

// appendMasked appends a masked frame, as clients send it.
func appendMasked(dst []byte, op wsframe.Opcode, payload []byte) []byte {
	return wsframe.Header{First: wsframe.Fin | byte(op), Masked: true, Key: rand.Uint32()}.AppendFrame(dst, payload)
}

// drop ends a connection. err is the reason, or nil if the run ends it. The caller holds l.mu.
func (l *lane) drop(s *subscriber, err error) {
	if s.gone {
		return
	}
	s.gone = true
	s.conn.Close()
	l.flow.leave(s.topic, s.settled())
	if l.closing {
		return
	}
	l.lost++
	if l.first == nil {
		l.first = err
	}
}

// reset starts a new tally.
func (l *lane) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally = tally{lost: l.lost, first: l.first}
	l.latency.Reset()
}

// counted returns the tally so far, and adds its latencies to all unless all is nil.
func (l *lane) counted(all *hdrhistogram.Histogram) tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	if all != nil {
		all.Merge(l.latency)
	}
	return l.tally
}

// close closes all connections and waits for the goroutines that read them.
func (l *lane) close() {
	l.mu.Lock()
	l.closing = true
	for _, s := range l.all {
		if !s.gone {
			s.answer(wsframe.Close, wsframe.AppendClosePayload(nil, closeNormal, ""))
			l.drop(s, nil)
		}
	}
	l.mu.Unlock()
	if l.poller != nil {
		l.poller.close()
	}
	l.readers.Wait()
}
