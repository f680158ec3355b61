package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/ikornaselur/notiflux"
)

const (
	// maxAnswerBytes is after how many bytes of data no further message joins an
	// answer: the answer is made in memory. The history of a topic is no larger
	// unless somebody sets it so.
	maxAnswerBytes = 1 << 20

	// answerTimeout is how long a reader may take to take its answer: 1 MiB at
	// some 35 KiB/s.
	answerTimeout = 30 * time.Second
)

// A page is the messages of an answer, as many as fit.
type page struct {
	messages []*notiflux.Message
	bytes    int
}

// full reports whether nothing more fits. One message always does.
func (p *page) full() bool { return len(p.messages) >= maxMessages || p.bytes >= maxAnswerBytes }

func (p *page) add(m *notiflux.Message) {
	p.messages = append(p.messages, m)
	p.bytes += len(m.Body.Data)
}

// size returns about how many bytes the messages take as JSON.
func (p *page) size() int {
	const perMessage = 128 // names, topic, position, time
	return p.bytes + perMessage*len(p.messages)
}

// Values of the headers of an answer, shared by all of them.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// setJSON says that an answer is JSON of this moment.
func setJSON(h http.Header) {
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
}

// writeAnswer answers with body, which is JSON, and does not wait for a reader
// without end.
func writeAnswer(w http.ResponseWriter, status int, body []byte) {
	setJSON(w.Header())
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c := http.NewResponseController(w)
	// A fake in a test knows no deadlines; a connection does. The next request
	// on it shall not meet this one.
	_ = c.SetWriteDeadline(time.Now().Add(answerTimeout))
	w.WriteHeader(status)
	// Who does not read is no fault: what was published is, what was read can be again.
	_, _ = w.Write(body)
	_ = c.Flush()
	_ = c.SetWriteDeadline(time.Time{})
}
