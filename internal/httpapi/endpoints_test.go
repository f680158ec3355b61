package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/dialect/httpstream"
	"github.com/ikornaselur/notiflux/internal/dialect/v1json"
	"github.com/ikornaselur/notiflux/internal/dialect/v1text"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/session"
)

// Endpoints that would break clients are refused when the server starts.
func TestBadEndpoints(t *testing.T) {
	changed := func(e *session.Endpoint, change func(*session.Endpoint)) *session.Endpoint {
		change(e)
		return e
	}
	for want, all := range map[string][]*session.Endpoint{
		"<nil>": {httpstream.Events()}, // streams alone need no default
		`endpoint "/events": frames of a stream are chunks of HTTP/1.1`: {
			changed(httpstream.Events(), func(e *session.Endpoint) { e.Encoding.Chunked = false }),
		},
		`endpoint "/stream": frames of a stream are chunks of HTTP/1.1`: {
			changed(httpstream.NDJSON(), func(e *session.Endpoint) { e.Encoding.Deflatable = true }),
		},
		"frames of a WebSocket are not chunks": {
			changed(v1text.Endpoint(), func(e *session.Endpoint) { e.Encoding.Chunked = true }),
		},
		`endpoint "notiflux.v1.text": it has a subprotocol or is the default of WebSockets, and has the path /app`: {
			changed(v1text.Endpoint(), func(e *session.Endpoint) { e.Path = "/app" }),
		},
		"it has no subprotocol and no path": {
			changed(httpstream.Events(), func(e *session.Endpoint) { e.Path = "" }),
		},
		`another endpoint has the encoding "text" with other options`: {
			v1text.Endpoint(),
			changed(v1json.Endpoint(""), func(e *session.Endpoint) {
				e.Encoding = session.Encoding{Name: "text", New: e.Encoding.New}
			}),
		},
		"0 endpoints are the default of WebSockets": {v1json.Endpoint("")},
		"2 endpoints are the default of WebSockets": {
			v1text.Endpoint(),
			changed(v1json.Endpoint(""), func(e *session.Endpoint) { e.Default = true }),
		},
		`endpoint "/events": it is there twice`: {httpstream.Events(), httpstream.Events()},
	} {
		if got := refusal(all); !strings.Contains(got, want) {
			t.Errorf("New = %q, want %q", got, want)
		}
	}
}

// refusal returns the value with which New panics because of endpoints, or "<nil>".
func refusal(all []*session.Endpoint) (got string) {
	defer func() { got = fmt.Sprint(recover()) }()
	httpapi.New(httpapi.Config{Endpoints: all})
	return ""
}

// A stream does not need a heartbeat.
func TestAStreamWithoutHeartbeat(t *testing.T) {
	e := httpstream.Events()
	e.Heartbeat = nil
	if got := refusal([]*session.Endpoint{e}); got != "<nil>" {
		t.Errorf("New = %q, want no panic", got)
	}
}
