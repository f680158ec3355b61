package admin

import (
	"strconv"
	"sync/atomic"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// Sources holds the sources of the metrics. All fields but Shared and Provider are required. The
// functions are called at each scrape, possibly concurrently, and must not block.
type Sources struct {
	Version     string
	Clients     func() int     // connected now
	Connections func() int     // to the public port, now
	Sessions    *session.Stats // of all loops
	Topics      func() topic.Stats
	Attaching   func() int                       // topics that wait for the broker
	Health      func() error                     // of the broker
	Shared      *broker.Stats                    // of a broker that several servers share; nil: they do not
	Members     func() int                       // present now, in all topics
	KeyBytes    func() int64                     // of idempotency keys
	UnreadBytes func() int64                     // of answers that clients have not read
	Broadcasts  *wire.Outcomes                   // over HTTP
	Closes      func() map[wire.CloseCode]uint64 // connections that ended, by close code
	Tokens      func() auth.Stats
	Refused     map[string]func() uint64 // refusals of each limit per address or subject that is set; the key is the setting
	Provider    func() auth.SourceStats  // of the keys of an identity provider; nil: there is none
	Panics      func() uint64            // panics that ended a connection
}

// closeCodes are the close codes that have a metric.
var closeCodes = []wire.CloseCode{
	wire.CloseNormal, wire.CloseProtocol, wire.CloseUnsupported, wire.CloseAbnormal, wire.CloseInvalidUTF8, wire.ClosePolicy,
	wire.CloseTooBig, wire.CloseInternal, wire.CloseRestart, wire.CloseOverCapacity, wire.CloseRevoked, wire.CloseIdle, wire.CloseTooMany,
	wire.CloseSilent, wire.CloseTooSlow,
}

// metrics registers all metrics of the server. docs/operations.md explains them.
func metrics(s Sources) *registry {
	m := newRegistry(s.Version)
	count := func(name, help string, read func() uint64) {
		m.Counter(name, help, nil, func() float64 { return float64(read()) })
	}
	gauge := func(name, help string, read func() int64) {
		m.Gauge(name, help, nil, func() float64 { return float64(read()) })
	}

	gauge("notiflux_connections", "Clients that are connected.", func() int64 { return int64(s.Clients()) })
	gauge("notiflux_open_connections", "Open connections on the public port, including idle ones.", func() int64 { return int64(s.Connections()) })
	gauge("notiflux_sessions", "Sessions that are open.", s.Sessions.Sessions.Load)
	gauge("notiflux_subscriptions", "Subscriptions that are active.", s.Sessions.Subscriptions.Load)
	gauge("notiflux_topics", "Topics in memory.", func() int64 { return int64(s.Topics().Topics) })
	gauge("notiflux_tombstones", "Topics dropped from memory whose last offset is still known.", func() int64 { return int64(s.Topics().Tombstones) })
	gauge("notiflux_attaching", "Topics for which subscriptions and requests are waiting for the broker.", func() int64 { return int64(s.Attaching()) })
	gauge("notiflux_broker_up", "1 if the broker can serve, otherwise 0.", func() int64 {
		if s.Health() != nil {
			return 0
		}
		return 1
	})
	gauge("notiflux_members", "Members present on topics.", func() int64 { return int64(s.Members()) })
	gauge("notiflux_history_bytes", "Bytes counted against the limit for all histories.", func() int64 { return s.Topics().Bytes })
	gauge("notiflux_history_frame_bytes", "Bytes of encoded frames cached for the messages of all histories.", func() int64 { return s.Topics().FrameBytes })
	gauge("notiflux_key_bytes", "Bytes of memory for idempotency keys.", s.KeyBytes)
	gauge("notiflux_unread_bytes", "Bytes of answers that clients have not read.", s.UnreadBytes)
	count("notiflux_messages_total", "Messages published.", func() uint64 { return s.Topics().Appended })
	count("notiflux_messages_evicted_total", "Messages dropped from histories.", func() uint64 { return s.Topics().Evicted })
	count("notiflux_deliveries_total", "Messages delivered to clients.", s.Sessions.Delivered.Load)
	count("notiflux_commands_total", "Commands received from clients.", s.Sessions.Commands.Load)
	count("notiflux_subscribe_refused_total", "Subscriptions refused.", s.Sessions.Refused.Load)
	exportBroadcasts(m, s)
	for _, code := range closeCodes {
		m.Counter("notiflux_closes_total", "Connections closed, by close code; 1006 means that the connection broke.", map[string]string{"code": strconv.Itoa(int(code))},
			func() float64 { return float64(s.Closes()[code]) })
	}
	count("notiflux_tokens_verified_total", "Tokens whose signature was verified.", func() uint64 { return s.Tokens().Verified })
	count("notiflux_tokens_refused_total", "Tokens refused.", func() uint64 { return s.Tokens().Refused })
	count("notiflux_token_cache_hits_total", "Tokens found in the cache of verified tokens.", func() uint64 { return s.Tokens().Hits })
	for setting, read := range s.Refused {
		m.Counter("notiflux_limit_refusals_total", "What limits per address and per subject refused, by the setting of the limit.", map[string]string{"setting": setting},
			func() float64 { return float64(read()) })
	}
	count("notiflux_panics_total", "Connections closed because their handler panicked.", s.Panics)
	if s.Provider != nil {
		count("notiflux_jwks_loads_total", "Loads of the identity provider's keys.", func() uint64 { return s.Provider().Loads })
		count("notiflux_jwks_load_failures_total", "Loads of the identity provider's keys that failed.", func() uint64 { return s.Provider().Failures })
		gauge("notiflux_jwks_keys", "Keys of the identity provider in use.", func() int64 { return int64(s.Provider().Keys) })
		m.Gauge("notiflux_jwks_age_seconds", "Seconds since the identity provider's keys were last loaded; -1 if they never were.", nil, func() float64 { return s.Provider().Age.Seconds() })
	}
	if s.Shared != nil {
		exportBroker(m, s.Shared)
	}
	return m
}

// exportBroker exports the numbers of a broker that several servers share.
func exportBroker(m *registry, s *broker.Stats) {
	count := func(name, help string, labels map[string]string, number *atomic.Uint64) {
		m.Counter(name, help, labels, func() float64 { return float64(number.Load()) })
	}
	gauge := func(name, help string, number *atomic.Int64) {
		m.Gauge(name, help, nil, func() float64 { return float64(number.Load()) })
	}
	gauge("notiflux_broker_publishing", "Messages that wait for the answer of the broker.", &s.Publishing)
	gauge("notiflux_broker_publishing_bytes", "Bytes of the messages that wait for the answer of the broker.", &s.PublishingBytes)
	m.Histogram("notiflux_broker_call_seconds", "Durations of the calls that the broker answered.", s.Calls.Read)
	m.Histogram("notiflux_broker_call_messages", "Messages in each call that publishes.", s.Messages.Read)
	m.Histogram("notiflux_broker_lag_seconds", "Durations from the time at which the broker ordered a message until this server had it.", s.Lag.Read)
	count("notiflux_broker_catch_ups_total", "Reads of messages that this server missed, one per topic.", nil, &s.CatchUps)
	gaps := "Gaps in topics, by reason."
	count("notiflux_broker_gaps_total", gaps, map[string]string{"reason": "missing"}, &s.Missing)
	count("notiflux_broker_gaps_total", gaps, map[string]string{"reason": "epoch"}, &s.Restarts)
	count("notiflux_broker_epochs_total", "New epochs.", nil, &s.Epochs)
	reconnects := "Connections to the broker that replaced a lost one, by their use."
	count("notiflux_broker_reconnects_total", reconnects, map[string]string{"connection": "pubsub"}, &s.Resubscribed)
	count("notiflux_broker_reconnects_total", reconnects, map[string]string{"connection": "calls"}, &s.Reconnected)
	count("notiflux_broker_probes_missed_total", "Probes that did not come back before the next one.", nil, &s.ProbesMissed)
}

// exportBroadcasts exports the number of broadcasts by result, for HTTP and WebSockets
// together.
func exportBroadcasts(m *registry, s Sources) {
	result := func(name string, overHTTP, overWebSocket *atomic.Uint64) {
		m.Counter("notiflux_broadcasts_total", "Broadcasts, by result.", map[string]string{"result": name},
			func() float64 { return float64(overHTTP.Load() + overWebSocket.Load()) })
	}
	result("accepted", &s.Broadcasts.Accepted, &s.Sessions.Broadcasts.Accepted)
	result("refused", &s.Broadcasts.Refused, &s.Sessions.Broadcasts.Refused)
	result("failed", &s.Broadcasts.Failed, &s.Sessions.Broadcasts.Failed)
}
