package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// requestTimeout is longer than a healthy server takes to answer.
	requestTimeout = 10 * time.Second
	// maxIdle is shorter than the idle timeouts of servers and proxies, so that no request is
	// sent on a connection that is being closed.
	maxIdle = 20 * time.Second
	// maxAnswerBytes limits how much of an answer is read: about a screen of text.
	maxAnswerBytes = 4 << 10
)

// requests holds the requests of publishers: for each topic, the part before the mark of a
// message and the part after it. It is shared and immutable.
type requests struct {
	before [][]byte
	after  []byte
}

// A publisher publishes over one connection, one message at a time.
type publisher struct {
	index    int
	flow     *flow
	requests *requests
	dial     func(context.Context) (net.Conn, error)

	next   []uint32 // sequence of the next message, of each topic
	conn   net.Conn // nil: none is open
	answer *bufio.Reader
	used   time.Time // when conn was last
	buf    []byte
	first  error // why the first message was not taken
}

// run publishes until the phase is over. It ends early only when the server cannot be
// reached.
func (p *publisher) run(ctx context.Context) {
	for {
		t, ok := p.flow.next()
		if !ok {
			return
		}
		if err := p.connect(ctx); err != nil {
			p.note(err)
			p.flow.refuse(t)
			return
		}
		refusal, err := p.publish(t)
		switch {
		case err != nil:
			p.note(fmt.Errorf("no answer to a broadcast: %w", err))
			p.close()
			p.flow.doubt()
			p.next[t.topic]++
		case refusal != nil:
			p.note(refusal)
			p.flow.refuse(t)
		default:
			p.next[t.topic]++
		}
	}
}

// connect makes sure that a connection is open.
func (p *publisher) connect(ctx context.Context) (err error) {
	if p.conn != nil && time.Since(p.used) > maxIdle {
		p.close()
	}
	if p.conn == nil {
		if p.conn, err = p.dial(ctx); err != nil {
			return err
		}
		p.used = time.Now()
		p.answer = bufio.NewReader(p.conn)
	}
	return nil
}

// publish sends a message and reads the answer. It returns the server's refusal, or an empty
// refusal if the server accepted the message. After an error the outcome is unknown.
func (p *publisher) publish(t ticket) (refusal, err error) {
	p.buf = append(p.buf[:0], p.requests.before[t.topic]...)
	at := len(p.buf)
	p.buf = append(p.buf, make([]byte, markBytes)...)
	mark{uint8(p.index), p.next[t.topic], uint64(t.sent)}.put(p.buf[at:])
	p.buf = append(p.buf, p.requests.after...)

	p.used = time.Now()
	if err := p.conn.SetDeadline(p.used.Add(requestTimeout)); err != nil {
		return nil, err
	}
	if _, err := p.conn.Write(p.buf); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(p.answer, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		refusal = fmt.Errorf("the server refused a broadcast: %w", statusError(response))
	}
	n, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil || n == maxAnswerBytes || response.Close {
		p.close() // the answer counts, but no other can follow it
	}
	return refusal, nil
}

func (p *publisher) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

func (p *publisher) note(err error) {
	if p.first == nil {
		p.first = err
	}
}

// newRequests makes the requests for topics. Names and tokens are sent as they are and must
// need no escaping.
func newRequests(host, path string, topics, tokens []string, length int) *requests {
	const middle, end = `","message":"`, `"}`
	r := &requests{after: []byte(strings.Repeat("x", length-markBytes) + end)}
	for i, topic := range topics {
		body := `{"topic":"` + topic + middle
		r.before = append(r.before, fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: notiflux-bench\r\n"+
			"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			path, host, tokens[i], len(body)+markBytes+len(r.after), body))
	}
	return r
}
