package clients

import (
	"sync"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/quota"
	"github.com/ikornaselur/notiflux/internal/session"
)

// Users limits how many clients each user has at the same time. A nil Users has no limit. It is
// safe for concurrent use.
type Users struct {
	limit *quota.Open // immutable

	mu sync.Mutex
	// Guarded by mu.
	of map[session.Conn]*auth.Claims // WebSockets that have used a token, with the first one
}

// NewUsers returns Users with a limit, or nil if that is nil.
func NewUsers(limit *quota.Open) *Users {
	if limit == nil {
		return nil
	}
	return &Users{limit: limit, of: make(map[session.Conn]*auth.Claims)}
}

// Use says that a WebSocket uses a token. If it is its first one and its user has too many
// clients, Use fails with TooMany.
func (u *Users) Use(conn session.Conn, claims *auth.Claims) error {
	if u == nil || claims.NeedUser() != nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of[conn] != nil {
		return nil
	}
	if err := u.begin(claims); err != nil {
		return err
	}
	u.of[conn] = claims.Identity()
	return nil
}

// forget says that a WebSocket has ended.
func (u *Users) forget(conn session.Conn) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.end(u.of[conn])
	delete(u.of, conn)
}

// begin counts a client with claims. Clients without a token, or whose token is not known yet, do
// not count.
func (u *Users) begin(claims *auth.Claims) error {
	if u == nil || claims == nil || claims.NeedUser() != nil {
		return nil
	}
	return u.limit.BeginUser(claims.Issuer(), claims.Subject)
}

// end undoes a begin that did not fail.
func (u *Users) end(claims *auth.Claims) {
	if u != nil && claims != nil && claims.NeedUser() == nil {
		u.limit.EndUser(claims.Issuer(), claims.Subject)
	}
}
