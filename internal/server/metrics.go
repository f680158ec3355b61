package server

import (
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/metrics"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// closeCodes are the codes that connections are counted under.
var closeCodes = []wire.CloseCode{
	wire.CloseNormal, wire.CloseProtocol, wire.CloseUnsupported, transport.CloseAbnormal, wire.CloseInvalidUTF8, wire.ClosePolicy,
	wire.CloseTooBig, wire.CloseInternal, wire.CloseRestart, wire.CloseOverCapacity, wire.CloseIdle, wire.CloseTooMany,
	wire.CloseSilent, wire.CloseTooSlow,
}

// adminRoutes is the admin listener: metrics and profiles.
func (s *Server) adminRoutes() http.Handler {
	return httpapi.AdminGuard(s.config.AdminHosts, s.log, httpapi.NewAdmin(s.metrics().Handler()))
}

// metrics names every counter of the parts; docs/operations.md explains them.
func (s *Server) metrics() *metrics.Registry {
	m := metrics.New(config.Version())
	count := func(name, help string, read func() float64) { m.Counter(name, help, nil, read) }
	gauge := func(name, help string, read func() float64) { m.Gauge(name, help, nil, read) }

	gauge("notiflux_connections", "Clients connected now.", func() float64 { return float64(s.clients.Count()) })
	gauge("notiflux_open_connections", "Connections of the public port now, also idle ones.", func() float64 { return float64(s.public.Count()) })
	gauge("notiflux_sessions", "Sessions now.", func() float64 { return float64(s.sessions.Sessions.Load()) })
	gauge("notiflux_subscriptions", "Subscriptions now.", func() float64 { return float64(s.sessions.Subscriptions.Load()) })
	gauge("notiflux_topics", "Topics held now.", func() float64 { return float64(s.topics.Stats().Topics) })
	gauge("notiflux_topics_remembered", "Topics that are not held, but whose position is known.", func() float64 { return float64(s.topics.Stats().Remembered) })
	gauge("notiflux_members", "Members of topics now, who are present there.", func() float64 { return float64(s.presence.Stats().Members) })
	gauge("notiflux_history_bytes", "Bytes that the histories of all topics count for now.", func() float64 { return float64(s.topics.Stats().Bytes) })
	gauge("notiflux_history_frame_bytes", "Bytes that the messages of all histories take in the forms that clients were given.", func() float64 { return float64(s.topics.Stats().FrameBytes) })
	gauge("notiflux_key_bytes", "Memory of the idempotency keys that count now.", func() float64 { return float64(s.keyBytes()) })
	gauge("notiflux_unread_bytes", "Bytes of answers that clients have not read yet.", func() float64 { return float64(s.unread.Used()) })
	count("notiflux_messages_total", "Messages ordered.", func() float64 { return float64(s.topics.Stats().Appended) })
	count("notiflux_messages_evicted_total", "Messages dropped from the histories.", func() float64 { return float64(s.topics.Stats().Evicted) })
	count("notiflux_deliveries_total", "Messages given to clients.", func() float64 { return float64(s.sessions.Delivered.Load()) })
	count("notiflux_commands_total", "Commands of clients.", func() float64 { return float64(s.sessions.Commands.Load()) })
	count("notiflux_subscribe_refused_total", "Subscriptions refused.", func() float64 { return float64(s.sessions.Refused.Load()) })
	answers := func(class string, byHTTP func(httpapi.Stats) uint64, byWebSocket *atomic.Uint64) {
		m.Counter("notiflux_broadcasts_total", "Broadcasts, by how they were answered.", map[string]string{"result": class},
			func() float64 { return float64(byHTTP(s.api.Stats()) + byWebSocket.Load()) })
	}
	answers("accepted", func(a httpapi.Stats) uint64 { return a.Accepted }, &s.sessions.Broadcasts.Accepted)
	answers("refused", func(a httpapi.Stats) uint64 { return a.Refused }, &s.sessions.Broadcasts.Refused)
	answers("failed", func(a httpapi.Stats) uint64 { return a.Failed }, &s.sessions.Broadcasts.Failed)
	for _, code := range closeCodes {
		m.Counter("notiflux_closes_total", "Connections that ended, by close code; 1006 broke off.", map[string]string{"code": strconv.Itoa(int(code))},
			func() float64 { return float64(s.sockets.Stats.Closes()[code]) })
	}
	count("notiflux_tokens_verified_total", "Tokens whose signature was checked and held.", func() float64 { return float64(s.verifier.Stats().Verified) })
	count("notiflux_tokens_refused_total", "Tokens refused.", func() float64 { return float64(s.verifier.Stats().Refused) })
	count("notiflux_token_cache_hits_total", "Tokens found verified before.", func() float64 { return float64(s.verifier.Stats().Hits) })
	count("notiflux_panics_total", "Connections ended by a panic in their handling.", func() float64 {
		var n uint64
		for _, shard := range s.shards {
			n += shard.loop.Panics()
		}
		return float64(n)
	})
	return m
}
