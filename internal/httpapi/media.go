package httpapi

import (
	"mime"
	"net/http"
	"strings"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// checkMedia returns an error if a body cannot be JSON. The body must have no encoding. Its
// Content-Type must be JSON, absent, or the default of curl -d and forms.
func checkMedia(h http.Header) error {
	for _, encoding := range h["Content-Encoding"] {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			return pubsub.Errorf(pubsub.UnsupportedMediaType, "Content-Encoding is not supported: send the body uncompressed, without this header")
		}
	}
	types := h["Content-Type"]
	if len(types) == 0 || len(types) == 1 && isJSON(types[0]) {
		return nil
	}
	return pubsub.Errorf(pubsub.UnsupportedMediaType, "Content-Type must be application/json, in UTF-8")
}

func isJSON(contentType string) bool {
	switch contentType {
	case "", "application/json", "application/x-www-form-urlencoded": // nearly all requests, and parsing is expensive
		return true
	}
	name, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return false
	}
	return name == "application/json" || strings.HasSuffix(name, "+json") || name == "application/x-www-form-urlencoded"
}
