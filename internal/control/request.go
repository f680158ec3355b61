package control

import (
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
)

// A Request waits for messages of topics without a session, as a poll does.
type Request struct {
	// Immutable after Begin.
	claims *auth.Claims
	topics []pubsub.Topic
	ended  chan error
}

// Begin registers a request, so that the operator can end it. It fails with TokenRevoked if
// the token with claims is revoked for one of the topics. The caller calls [Control.End], and
// does not change topics before.
func (c *Control) Begin(claims *auth.Claims, topics []pubsub.Topic) (*Request, error) {
	r := &Request{claims: claims, topics: topics, ended: make(chan error, 1)}
	c.mu.Lock()
	c.requests[r] = struct{}{}
	c.mu.Unlock()
	if err := check(c.revoked, claims, topics); err != nil { // after it can be found, so that no revocation is missed
		c.End(r)
		return nil, err
	}
	return r, nil
}

// Ended returns a channel with the error that the client gets, once the operator ends the
// request.
func (r *Request) Ended() <-chan error { return r.ended }

// End forgets a request.
func (c *Control) End(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.requests, r)
}

// endRequests ends the requests for which why returns an error, and returns how many.
func (c *Control) endRequests(why func(*Request) error) (n int) {
	c.mu.Lock()
	all := make([]*Request, 0, len(c.requests))
	for r := range c.requests {
		all = append(all, r)
	}
	c.mu.Unlock()
	for _, r := range all {
		if !isUser(r.claims) {
			continue
		}
		if err := why(r); err != nil {
			select {
			case r.ended <- err:
				n++
			default: // It has ended already.
			}
		}
	}
	return n
}

// check returns the error of revoked for the first topic for which there is one.
func check(revoked session.Revoked, claims *auth.Claims, topics []pubsub.Topic) error {
	if revoked == nil || !isUser(claims) {
		return nil
	}
	for _, name := range topics {
		if err := revoked(claims, name); err != nil {
			return err
		}
	}
	return nil
}

func errorIf(condition bool, err error) error {
	if condition {
		return err
	}
	return nil
}
