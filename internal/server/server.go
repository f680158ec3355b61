// Package server assembles the parts of a notiflux server, starts them and shuts them down.
// It is only wiring. [Open] builds the parts from the settings and opens the listeners;
// [Server.Run] starts them.
//
// Messages do not pass through this package. internal/listen accepts and counts
// connections. The routes of publishers and clients are in internal/httpapi, those of
// operators in internal/admin. dialects.go lists the dialects (the protocols that clients
// speak), and an [Environment] lets tests replace the clock, randomness, the broker and the
// listeners.
//
// Invariants:
//   - A server whose Open succeeds has valid settings and an open public listener.
//   - A shutdown delivers every message accepted before it, if time allows. Its steps are numbered in [Server.shutdown].
//   - Run returns only after all goroutines that it started have ended.
//
// The package does not parse flags; internal/config does.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/admin"
	"github.com/ikornaselur/notiflux/internal/adminapi"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/clients"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/forwarded"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/jwks"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/origin"
	"github.com/ikornaselur/notiflux/internal/posts"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/revoke"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/worker"
)

// Limits of HTTP connections: docs/protocol.md, section 6.
const (
	handshakeTimeout = 5 * time.Second  // to send the headers of a request
	requestTimeout   = 2 * time.Minute  // from a request until the client has read the answer, of which a poll waits up to 60 s
	headerBytes      = 16 << 10         // net/http allows 4 KiB more before it refuses
	drainSpread      = 3 * time.Second  // a shutdown spreads reconnects over this time
	commandSlack     = 16 << 10         // maximum length of a command beyond its message
	waitingWorkers   = 64               // concurrent broadcasts and histories of WebSocket clients
	operatingWorkers = 2                // concurrent actions that other servers ask for
	pprofTimeout     = 90 * time.Second // to answer on the admin listener: a profile takes 30 s
)

// The descriptors that config reserves are shared between the listeners. One more
// connection of each may wait to be accepted.
const (
	spareConnections = config.SpareDescriptors/2 - 1 // of the public listener, above its limit
	adminConnections = config.SpareDescriptors/2 - 1 // of the admin listener
)

// A Server is a complete notiflux server.
type Server struct {
	// Immutable after Open.
	config  config.Serve
	env     Environment
	log     *slog.Logger
	origins origin.List
	proxies forwarded.Proxies
	public  *listen.Limiter     // the public listener
	admin   *listen.Limiter     // nil: off
	tls     *listen.Certificate // nil: off

	topics    *topic.Topics
	broker    broker.Broker
	limited   broker.Broker // for clients: broker with the limits on subjects
	attacher  *broker.Attacher
	keyBytes  func() int64 // of the broker's idempotency keys
	presence  *presence.Registry
	verifier  *auth.Verifier
	verifying *worker.Pool // checks signatures
	jwks      *jwks.Source // nil: no identity provider
	requests  *auth.Pooled // verifies tokens of requests on verifying
	waiting   *worker.Pool // waits for the broker on behalf of loops
	api       *httpapi.API
	unread    *transport.Unread // of answers that clients have not read
	sockets   transport.Config
	sessions  session.Stats
	limits    *limits
	clients   *listen.Slots
	scavenger *listen.Scavenger
	endpoints []*session.Endpoint
	loops     []clients.Loop
	control   *control.Control

	perTopic *config.Topics // the settings of topics

	revocations     *revoke.List
	revocationsFile *revoke.File   // of revocations; nil: they are in memory, or the broker has them
	revocationsRead []revoke.Entry // from the file, until there is the list
	operator        *adminapi.API
	operating       *worker.Pool // acts for other servers
	sweeping        atomic.Bool  // sweepRevoked waits in operating

	draining chan struct{} // closed when shutdown begins

	// Owned by watchKeys.
	keyFile config.FileVersion // of the file with the public keys
}

// Open creates a server from its settings and an environment, and opens its listeners.
// Errors name the setting that is wrong. A nil logger discards.
func Open(c config.Serve, env Environment, logger *slog.Logger) (*Server, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	env = env.withDefaults()
	p, err := parseSettings(&c, env.Now, logger)
	if err != nil {
		return nil, err
	}
	if err := env.useRedis(p.redis); err != nil {
		return nil, err
	}
	s := &Server{config: c, env: env, log: logger, origins: p.origins, proxies: p.proxies, tls: p.tls, keyFile: p.keyFile, perTopic: c.Topics(), draining: make(chan struct{})}
	s.clients = listen.NewSlots(c.Connections().Clients, config.Name("max-connections"), logger)
	if err := s.openRevocations(); err != nil {
		return nil, err
	}
	if err := s.listen(); err != nil {
		s.closeRevocations()
		return nil, err
	}
	s.build(p)
	return s, nil
}

// build creates the parts, from the log to the routes.
func (s *Server) build(p parsed) {
	c := &s.config
	s.limits = newLimits(c)
	s.openBroker()
	s.listRevocations()
	s.limited = limited(s.publisher(), s.limits.broadcastsOfAddress, s.limits.broadcastsOfUser)
	s.attacher = broker.NewAttacher(s.broker, broker.AttacherConfig{})
	s.openPresence()
	s.openVerifier(p)
	s.verifying = worker.NewPool(0, 0, s.log)
	s.requests = auth.NewPooled(s.verifier, s.verifying)
	s.waiting = worker.NewPool(waitingWorkers, 0, s.log)
	s.operating = worker.NewPool(operatingWorkers, 0, s.log)
	s.scavenger = listen.NewScavenger(s.verifying.Len)
	s.unread = transport.NewUnread(int64(c.MaxUnreadBytes))
	s.sockets = transport.Config{
		MaxMessageBytes: int(c.MaxMessageBytes) + commandSlack,
		Budget:          transport.NewBudget(0),
		Unread:          s.unread.Unauthenticated,
		Stats:           new(transport.Stats),
		Log:             s.log,
	}
	s.endpoints = append(endpoints(), s.env.Endpoints...)
	ofAddress := addressCommand(s.limits.commandsOfAddress)
	users := clients.NewUsers(s.limits.openOfUser)
	ofUser := userCommand(users, s.limits.commandsOfUser)
	for range s.env.Loops {
		s.loops = append(s.loops, s.newLoop(ofAddress, ofUser))
	}
	groups := make([]*session.Group, len(s.loops))
	for i, l := range s.loops {
		groups[i] = l.Group
	}
	s.control = control.New(groups, s.revoked())
	s.openAdminAPI()
	s.api = httpapi.New(httpapi.Config{
		Broker:          s.limited,
		Attacher:        s.attacher,
		Verifier:        s.requests,
		Topics:          s.topics,
		Presence:        s.presence,
		MaxMessageBytes: int(c.MaxMessageBytes),
		MaxBodyBytes:    int64(c.MaxBodyBytes),
		Ready:           s.ready,
		KeysReady:       s.keysReady,
		Log:             s.log,
		Now:             s.env.Now,
		Origins:         s.origins,
		NoQueryTokens:   !c.QueryTokens,
		MaxLagBytes:     uint64(c.MaxLagBytes),
		Unread:          s.unread.Answers,
		Draining:        s.draining,
		Connections:     s.limits.connections,
		Requests:        s.limits.requests,
		Clients:         s.clients,
		PerAddress:      s.limits.openOfAddress,
		Users:           users,
		Control:         s.control,
		Revoked:         s.revoked(),
		Limiter:         s.public,
		Scavenger:       s.scavenger,
		Endpoints:       s.endpoints,
		Loops:           s.loops,
		WebSockets:      s.sockets,
		Compression:     c.Compression,
	})
}

// openBroker creates the broker and the topics that it writes to.
func (s *Server) openBroker() {
	c := &s.config
	topics := topic.Config{
		PerTopic:   topic.Limits{Count: c.HistoryMessages, Bytes: uint64(c.HistoryBytes), Age: c.HistoryAge},
		Limits:     TopicLimits(s.perTopic),
		TotalBytes: uint64(c.HistoryTotalBytes),
		MaxTopics:  c.MaxTopics,
		Now:        s.env.Now,
	}
	if s.env.Broker == nil {
		b, t := memory.New(memory.Config{Epoch: memory.NewEpoch(s.env.random()), MaxKeyBytes: int64(c.MaxKeyBytes)}, topics)
		s.broker, s.topics, s.keyBytes = b, t, b.KeyBytes
		return
	}
	topics.Detach = func(name pubsub.Topic) { s.broker.Detach(name) }
	topics.Counted = func(name pubsub.Topic) {
		if shared, ok := s.broker.(broker.Shared); ok {
			shared.Counted(name)
		}
	}
	s.topics = topic.New(topics)
	s.broker, s.keyBytes = s.env.Broker(s.topics), func() int64 { return 0 }
}

// openPresence creates the registry of members, which a broker of several nodes shares.
func (s *Server) openPresence() {
	p := presence.Config{Emit: s.emitPresence, Off: noPresence(s.perTopic), GracePeriod: s.config.PresenceGrace}
	shared, ok := s.broker.(broker.Shared)
	if ok {
		p.OwnChanged = shared.OwnChanged
	}
	s.presence = presence.New(p)
	if ok {
		shared.Share(s.presence, s.topics.Subscribers)
	}
}

// members returns the number of members that are present.
func (s *Server) members() int { return s.presence.Stats().Members }

// emitPresence publishes a presence event to the members of its topic.
func (s *Server) emitPresence(e presence.Event) {
	roster := broker.Roster{Topics: s.topics, Presence: s.presence}
	s.topics.AppendPresence(e.Topic, e.Messages(roster.Subscribers(e.Topic))...)
}

// newLoop creates an event loop and the group of its sessions. When the loop closes a
// connection, it releases what httpapi acquired for it.
func (s *Server) newLoop(ofAddress func(session.Conn) error, ofUser func(session.Conn, *auth.Claims) (session.End, error)) clients.Loop {
	var group *session.Group
	l := loop.New(loop.Config{
		Portable: s.config.Loops == "portable",
		Collect:  func() bool { return group.Collect() },
		Closed: func() {
			s.clients.Release()
			s.public.Release()
		},
		Log: s.log,
	})
	group = session.NewGroup(session.Config{
		Topics:        s.topics,
		Broker:        s.limited,
		Attacher:      s.attacher,
		Members:       broker.Roster{Topics: s.topics, Presence: s.presence, Attacher: s.attacher},
		Verifier:      s.verifier,
		Revoked:       s.revoked(),
		VerifyWorkers: s.verifying,
		WaitWorkers:   s.waiting,
		Endpoints:     s.endpoints,
		Limits: session.Limits{
			MaxMessageBytes: int(s.config.MaxMessageBytes),
			MaxCommandBytes: s.sockets.MaxMessageBytes,
			MaxTopics:       s.config.MaxTopicsPerConnection,
			MaxLagBytes:     uint64(s.config.MaxLagBytes),
		},
		AddressCommand:        ofAddress,
		UserCommand:           ofUser,
		Unread:                s.unread.Sessions,
		UnauthenticatedUnread: s.unread.Unauthenticated,
		Stats:                 &s.sessions,
		Log:                   s.log,
		Now:                   s.env.Now,
		Random:                s.env.random(),
	}, l)
	return clients.Loop{Loop: l, Group: group}
}

func (s *Server) listen() error {
	l, passed, err := s.listener()
	if err != nil {
		return err
	}
	var proxies forwarded.Proxies
	if s.config.ProxyProtocol {
		proxies = s.proxies
	}
	s.public = listen.New(l, listen.Config{
		Max:     s.config.Connections().All,
		Spare:   spareConnections,
		Passed:  passed,
		Log:     s.log,
		Setting: config.Name("max-connections"),
		Proxies: proxies, ProxySetting: config.Name("proxy-protocol"),
	})
	admin, chosen, err := s.adminListener()
	switch {
	case err == nil && admin != nil:
		s.admin = listen.New(admin, listen.Config{Max: adminConnections, Log: s.log, Setting: config.Name("admin-addr")})
	case err == nil:
	case chosen:
		s.public.Close()
		return fmt.Errorf("%s: %w", config.Name("admin-addr"), err)
	default:
		s.log.Warn("no admin listener; its default address is in use", "setting", config.Name("admin-addr"), "err", err)
	}
	return nil
}

// listener returns the public listener: the environment's, the one that was passed to the
// process, or a new one. passed reports whether it was passed.
func (s *Server) listener() (l listen.Listener, passed bool, err error) {
	if s.env.Public != nil {
		return s.env.Public, false, nil
	}
	if l, err := listen.Activated(); l != nil || err != nil {
		return l, true, err
	}
	opened, err := net.Listen("tcp", s.config.Address())
	if err != nil {
		return nil, false, fmt.Errorf("%s, %s: %w", config.Name("host"), config.Name("port"), err)
	}
	return opened.(listen.Listener), false, nil
}

// adminListener returns the admin listener: the environment's, or a new one at the address
// in the settings. It returns nil if there is none. chosen reports whether the operator
// chose the address.
func (s *Server) adminListener() (l listen.Listener, chosen bool, err error) {
	if s.env.Public != nil || s.env.Admin != nil {
		return s.env.Admin, true, nil
	}
	addr, chosen := s.config.Admin()
	if addr == "" {
		return nil, chosen, nil
	}
	if path, ok := strings.CutPrefix(addr, config.UnixPrefix); ok {
		l, err = listen.Unix(path)
		return l, chosen, err
	}
	opened, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, chosen, err
	}
	return opened.(listen.Listener), chosen, nil
}

// ready returns nil, or the reason why the server cannot take work now.
func (s *Server) ready() error {
	select {
	case <-s.draining:
		return pubsub.Errorf(pubsub.Draining, "this server is shutting down: connect again to reach another one")
	default:
		return nil
	}
}

// URL returns the base address of the server for clients on this machine.
func (s *Server) URL() string { return s.url(s.public, s.tls != nil) }

// AdminURL is like URL for the admin listener. It is empty if that is off, and unix:path if it
// is a Unix socket.
func (s *Server) AdminURL() string {
	if s.admin == nil {
		return ""
	}
	if s.admin.Addr().Network() == "unix" {
		return config.UnixPrefix + s.admin.Addr().String()
	}
	return s.url(s.admin, false)
}

func (s *Server) url(l net.Listener, secure bool) string {
	a := l.Addr().(*net.TCPAddr)
	u := url.URL{Scheme: "http", Host: net.JoinHostPort(a.IP.String(), strconv.Itoa(a.Port))}
	if a.IP.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
	}
	if secure {
		u.Scheme = "https"
	}
	return u.String()
}

// Run serves until ctx ends, and then shuts down within the configured time. It starts
// these goroutines: one per loop, one per listener, three worker pools, the broker, the sweep
// of the topics, presence, the watch on the file with the public keys, and the one that loads the
// keys of an identity provider. net/http and
// portable sockets start more per connection.
func (s *Server) Run(ctx context.Context) error {
	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var running sync.WaitGroup
	for _, l := range s.loops {
		running.Go(func() { l.Loop.Run(parts) })
	}
	running.Go(func() {
		if err := s.broker.Run(parts); err != nil {
			s.log.Error("broker stopped", "err", err)
		}
	})
	running.Go(func() { s.topics.Run(parts) })
	running.Go(func() { s.presence.Run(parts) })
	if s.config.JWTPublicKeyFile != "" {
		running.Go(func() { s.watchKeys(parts) })
	}
	if s.jwks != nil {
		running.Go(func() { s.jwks.Run(parts, s.verifier.SetProviderKeys) })
	}
	running.Go(func() { s.verifying.Run(parts) })
	running.Go(func() { s.waiting.Run(parts) })
	running.Go(func() { s.operating.Run(parts) })

	failed := make(chan error, 2)
	serve := func(h *http.Server, l net.Listener) {
		running.Go(func() {
			if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		})
	}
	public := s.publicServer()
	small := posts.New(public, httpapi.BroadcastPath)
	if s.tls != nil {
		serve(public, tls.NewListener(s.public, public.TLSConfig))
	} else {
		serve(public, small.Listener(s.public))
	}
	admin := &http.Server{Handler: s.adminRoutes(), ReadHeaderTimeout: handshakeTimeout, WriteTimeout: pprofTimeout, ErrorLog: s.httpLog()}
	admin.SetKeepAlivesEnabled(false) // it has few connections
	if s.admin != nil {
		serve(admin, s.admin)
	}
	s.log.Info("listening", "url", s.URL(), "admin", s.AdminURL())

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	err = errors.Join(err, s.shutdown(small))
	stop()
	admin.Close() // last, so that operators can watch the shutdown
	running.Wait()
	s.scavenger.Stop()
	s.closeRevocations()
	s.log.Info("stopped")
	return err
}

func (s *Server) publicServer() *http.Server {
	h := &http.Server{
		Handler:           s.proxies.Handler(s.api.Handler()),
		ReadHeaderTimeout: handshakeTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       s.config.IdleTimeout,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          s.httpLog(),
		ConnState:         s.public.ConnState,
		ConnContext:       s.public.ConnContext,
		Protocols:         new(http.Protocols),
	}
	h.Protocols.SetHTTP1(true)
	h.Protocols.SetHTTP2(true)            // negotiated over TLS
	h.Protocols.SetUnencryptedHTTP2(true) // with prior knowledge; `Upgrade: h2c` is ignored
	if s.tls != nil {
		h.TLSConfig = s.tls.TLSConfig()
	}
	return h
}

func (s *Server) adminRoutes() http.Handler {
	var shared *broker.Stats
	if b, ok := s.broker.(interface{ Stats() *broker.Stats }); ok {
		shared = b.Stats()
	}
	return admin.New(admin.Config{Hosts: s.config.AdminHosts, API: s.operator, Log: s.log, Sources: admin.Sources{
		Version:     config.Version(),
		Clients:     s.clients.Count,
		Connections: s.public.Count,
		Sessions:    &s.sessions,
		Topics:      s.topics.Stats,
		Attaching:   s.attacher.Waiting,
		Health:      s.broker.Health,
		Shared:      shared,
		Members:     s.members,
		KeyBytes:    s.keyBytes,
		UnreadBytes: s.unread.Used,
		Broadcasts:  s.api.Broadcasts(),
		Closes:      s.sockets.Stats.Closes,
		Provider:    s.provider(),
		Tokens:      s.verifier.Stats,
		Refused:     s.limits.refused,
		Panics: func() (n uint64) {
			for _, l := range s.loops {
				n += l.Loop.Panics()
			}
			return n
		},
	}})
}

// httpLog returns a log for net/http. It reports mistakes of clients, so at level Debug.
func (s *Server) httpLog() *log.Logger {
	return slog.NewLogLogger(s.log.With("from", "net/http").Handler(), slog.LevelDebug)
}

// shutdown ends the server step by step, without losing a message that it accepted.
func (s *Server) shutdown(public *posts.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.ShutdownTimeout)
	defer cancel()
	s.log.Info("shutting down", "timeout", s.config.ShutdownTimeout, "clients", s.clients.Count())
	// 1. Report not ready, refuse new clients, and answer waiting polls.
	close(s.draining)
	// 2. Accept the queued connections, stop accepting, and let publishers finish. They get
	// half of the time, so that a publisher that does not read its answer does not use up
	// the time of the clients. net/http also waits for streams over HTTP/2, which end in
	// step 4.
	s.public.Drain(ctx)
	closed := make(chan error, 1)
	go func() { closed <- public.Shutdown(ctx) }()
	publishing, done := context.WithTimeout(ctx, s.config.ShutdownTimeout/2)
	s.api.FinishBroadcasts(publishing)
	done()
	// 3. Stop ordering messages.
	closing, done := context.WithTimeout(context.WithoutCancel(ctx), broker.Timeout)
	err := s.broker.Close(closing)
	done()
	// 4. Deliver the accepted messages, and tell clients to reconnect.
	for _, l := range s.loops {
		l.Loop.Post(func() {
			l.Group.Drain(drainSpread)
		})
	}
	// 5. Wait until the clients have disconnected.
	if left := s.clients.Wait(ctx); left > 0 {
		s.log.Warn("clients did not receive their messages in time", "clients", left, "setting", config.Name("shutdown-timeout"))
	}
	unfinished := <-closed
	if errors.Is(unfinished, context.DeadlineExceeded) {
		s.log.Warn("requests did not finish in time", "setting", config.Name("shutdown-timeout"))
		unfinished = public.Close()
	}
	if err = errors.Join(unfinished, err); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}
