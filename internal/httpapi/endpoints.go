package httpapi

import (
	"errors"
	"fmt"

	"github.com/ikornaselur/notiflux/internal/session"
)

// checkEndpoints returns an error with all mistakes in a list of endpoints. To a client,
// such a mistake would look like a broken connection.
func checkEndpoints(all []*session.Endpoint) error {
	var errs []error
	names := make(map[string]bool)
	encodings := make(map[string]session.Encoding)
	webSockets, defaults := 0, 0
	for _, e := range all {
		name, encoding := e.Path, e.Encoding
		refuse := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("endpoint %q: "+format, append([]any{name}, args...)...))
		}
		if webSocket := e.Subprotocol != "" || e.Default; webSocket {
			webSockets++
			name = e.Subprotocol
			if e.Path != "" {
				refuse("it has a subprotocol or is the default of WebSockets, and has the path %s; make two endpoints", e.Path)
			}
			if encoding.Chunked {
				refuse("frames of a WebSocket are not chunks; unset Encoding.Chunked")
			}
		} else if e.Path == "" {
			refuse("it has no subprotocol and no path; set one of them")
		} else if !encoding.Chunked || encoding.Deflatable {
			refuse("frames of a stream are chunks of HTTP/1.1; set Encoding.Chunked alone")
		}
		if e.Default {
			defaults++
		}
		if names[name] {
			refuse("it is there twice")
		}
		names[name] = true
		if other, known := encodings[encoding.Name]; known && (other.Chunked != encoding.Chunked || other.Deflatable != encoding.Deflatable) {
			refuse("another endpoint has the encoding %q with other options; use another name", encoding.Name)
		}
		encodings[encoding.Name] = encoding
	}
	if webSockets > 0 && defaults != 1 {
		errs = append(errs, fmt.Errorf("%d endpoints are the default of WebSockets; set Endpoint.Default of one", defaults))
	}
	return errors.Join(errs...)
}
