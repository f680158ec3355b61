package wire

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

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
// other function writes HTTP errors. If err says which quota the client has used up, so do the
// fields Retry-After, RateLimit and RateLimit-Policy. The caller must already have set the headers that
// belong to one kind of error (Allow, Sec-WebSocket-Version).
func WriteProblem(w http.ResponseWriter, err error) {
	e := pubsub.Refusal(err)
	row := ErrorResponseOf(e.Code)
	h := w.Header()
	if row.Challenge != "" {
		h.Set("WWW-Authenticate", `Bearer error="`+row.Challenge+`"`)
	}
	if row.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(retryAfter(row, e.Quota)))
	}
	if e.Quota != nil {
		setRateLimit(h, e.Quota)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	body := append(AppendStruct(nil, problem{http.StatusText(row.Status), row.Status, e.Code, e.Detail}), '\n')
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(row.Status)
	_, _ = w.Write(body) // an error means that the client is gone
}

// retryAfter returns the value of Retry-After for a code with this row.
func retryAfter(row ErrorResponse, q *pubsub.Quota) int {
	if q == nil || q.After == 0 {
		return row.RetryAfter
	}
	return seconds(q.After)
}

// setRateLimit sets the fields RateLimit and RateLimit-Policy as
// draft-ietf-httpapi-ratelimit-headers-11 has them: nothing is left of q.
func setRateLimit(h http.Header, q *pubsub.Quota) {
	policy, limit := fmt.Sprintf(`"%s";q=%d`, q.Policy, q.Limit), fmt.Sprintf(`"%s";r=0`, q.Policy)
	if q.Window > 0 {
		policy += fmt.Sprintf(";w=%d", seconds(q.Window))
	} else {
		policy += `;qu="concurrent-requests"`
	}
	if q.After > 0 {
		limit += fmt.Sprintf(";t=%d", seconds(q.After))
	}
	h.Set("RateLimit-Policy", policy)
	h.Set("RateLimit", limit)
}

// seconds returns d in seconds, rounded up.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
