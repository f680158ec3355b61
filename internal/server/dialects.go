package server

import (
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/dialect/httpstream"
	"github.com/ikornaselur/notiflux/internal/dialect/v1json"
	"github.com/ikornaselur/notiflux/internal/dialect/v1text"
	"github.com/ikornaselur/notiflux/internal/session"
)

// endpoints returns the endpoints of all dialects. A new dialect is a folder in
// internal/dialect that implements the contract in session/dialect.go, and one line here.
func endpoints() []*session.Endpoint {
	return []*session.Endpoint{
		v1json.Endpoint(config.Version()),
		v1text.Endpoint(),
		httpstream.Events(),
		httpstream.NDJSON(),
	}
}
