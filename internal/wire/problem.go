package wire

import (
	"net/http"
	"strconv"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// problem is the body of an HTTP error (RFC 9457), extended by the code.
type problem struct {
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Code   pubsub.Code `json:"code"`
	Detail string      `json:"detail"`
}

// WriteProblem answers a request with err as application/problem+json. The body contains
// only the code and the sentence of err's [pubsub.Error], never the rest of the chain. No
// other function writes HTTP errors. The caller must already have set the headers that
// belong to one kind of error (Allow, Sec-WebSocket-Version).
func WriteProblem(w http.ResponseWriter, err error) {
	e := pubsub.Refusal(err)
	row := ErrorResponseOf(e.Code)
	h := w.Header()
	if row.Challenge != "" {
		h.Set("WWW-Authenticate", `Bearer error="`+row.Challenge+`"`)
	}
	if row.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(row.RetryAfter))
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	body := append(AppendStruct(nil, problem{http.StatusText(row.Status), row.Status, e.Code, e.Detail}), '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(row.Status)
	_, _ = w.Write(body) // an error means that the client is gone
}
