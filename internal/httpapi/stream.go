package httpapi

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/reading"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// A stream is a route whose responses do not end.
type stream struct {
	// Immutable after New.
	*API
	endpoint       *session.Endpoint
	plain, chunked *transport.Config
}

func newStream(a *API, e *session.Endpoint, stats *transport.Stats) *stream {
	s := &stream{API: a, endpoint: e, plain: &transport.Config{Heartbeat: e.Heartbeat, Stats: stats}}
	s.chunked = s.plain
	if len(e.Heartbeat) > 0 {
		s.plain = &transport.Config{Heartbeat: wire.InsideChunk(e.Heartbeat), Stats: stats}
	}
	return s
}

// connect starts a stream for a request, on one of the loops.
func (s *stream) connect(w http.ResponseWriter, r *http.Request) error {
	request, token, err := s.parse(w, r)
	if err != nil {
		return err
	}
	claims, err := s.authorizeReader(r, token, request.Topics...)
	if err != nil {
		return err
	}
	subs := subscriptions(request)
	slices.SortFunc(subs, func(a, b session.Subscription) int { return cmp.Compare(a.Topic, b.Topic) })
	if r.Method == http.MethodHead {
		return s.head(w, r, claims, subs)
	}
	place, err := s.admit(r, claims)
	if err != nil {
		return router.WithDetail(err, "subject", claims.Subject)
	}
	pins, err := s.attach(r.Context(), claims, subs)
	if err != nil {
		place.Leave()
		return err
	}
	transport.SetStreamHeader(w.Header(), s.endpoint.MediaType)
	taken, err := transport.TakeOver(w, r)
	if err != nil {
		pins.release()
		place.Leave()
		s.config.Log.Debug("stream aborted", "remote", r.RemoteAddr, "err", err)
		return nil // the connection is gone, so there is no client to answer
	}
	config := s.plain
	if taken.Chunked {
		config = s.chunked
	}
	begin := session.Request{Chunked: taken.Chunked, Claims: claims, Subscriptions: subs, Pins: pins}
	served := place.Serve(taken.Conn, taken.Early, func(group *session.Group, c transport.Socket, now time.Duration) loop.Client {
		stream := transport.NewStream(config, c, taken.Head, now)
		begin.Now = now
		stream.Serve(group.Open(stream, s.endpoint, begin))
		return stream
	})
	if !served {
		pins.release()
	}
	taken.Wait()
	return nil
}

// parse returns what a request asks for, and the token of its body, if any.
func (s *stream) parse(w http.ResponseWriter, r *http.Request) (reading.Request, auth.Token, error) {
	if r.Method == http.MethodPost {
		p, err := s.parsePosted(w, r)
		return p.Request, auth.Token(p.Token), err
	}
	request, err := s.parseStream(r)
	return request, "", err
}

// head answers like connect, but without a stream.
func (s *stream) head(w http.ResponseWriter, r *http.Request, claims *auth.Claims, subs []session.Subscription) error {
	if err := s.config.Ready(); err != nil {
		return err
	}
	pins, err := s.attach(r.Context(), claims, subs)
	if err != nil {
		return err
	}
	pins.release()
	transport.SetStreamHeader(w.Header(), s.endpoint.MediaType)
	return nil
}

// subscriptions returns the subscriptions of the request, in its order.
func subscriptions(r reading.Request) []session.Subscription {
	subs := make([]session.Subscription, len(r.Topics))
	for i, name := range r.Topics {
		subs[i] = session.Subscription{Topic: name, From: r.ResumePoints[i], Latest: r.Latest}
	}
	return subs
}
