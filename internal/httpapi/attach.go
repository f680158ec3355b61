package httpapi

import (
	"context"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// pins hold the points at which the topics of a request begin. The request owns them until
// a session or a poll takes them.
type pins []topic.Pin

// release releases the pins that remain.
func (p pins) release() {
	for i := range p {
		p[i].Release()
	}
}

// attach makes the broker attach the topics of a request, and returns a pin for each of
// subs. It fails if a topic cannot be attached, if the request ends or the server shuts
// down, or if the time of the claim until has passed meanwhile.
func (a *API) attach(ctx context.Context, claims *auth.Claims, subs []session.Subscription) (_ pins, err error) {
	as := make([]broker.Attachment, len(subs))
	for i := range as {
		as[i].Topic, as[i].From = subs[i].Topic, subs[i].From
		as[i].From.User = claims.PatternUser(subs[i].Topic)
	}
	taken := make(pins, 0, len(as))
	defer func() {
		if err == nil {
			return
		}
		taken.release()
		names := make([]pubsub.Topic, len(as))
		for i := range as {
			names[i] = as[i].Topic
			as[i].Cancel()
		}
		err = router.WithDetail(err, "topic", joined(names), "subject", claims.Subject)
	}()
	if !a.config.Attacher.Attach(as) {
		if err := a.awaitAttached(ctx, as); err != nil {
			return nil, err
		}
		if err := claims.CheckUntil(a.config.Now()); err != nil {
			return nil, err
		}
	}
	for i := range as {
		pin, err := as[i].Take()
		if err != nil {
			return nil, err
		}
		taken = append(taken, pin)
	}
	return taken, nil
}

// awaitAttached waits until all of as can be taken.
func (a *API) awaitAttached(ctx context.Context, as []broker.Attachment) error {
	done := make(chan struct{})
	cancel := a.config.Attacher.Wait(as, func() { close(done) })
	select {
	case <-done:
		return nil
	case <-a.config.Draining:
		cancel()
		return errDraining
	case <-ctx.Done():
		cancel()
		return &pubsub.Error{Code: pubsub.Unavailable, Detail: "the request ended before the broker answered", Err: ctx.Err()}
	}
}

var errDraining = pubsub.Errorf(pubsub.Draining, "this server is shutting down: connect again to reach another one")
