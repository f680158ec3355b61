package httpapi

import (
	"errors"
	"net/http"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/clients"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// webSockets is the route /ws.
type webSockets struct {
	// Immutable after New.
	*API
	endpoints map[string]*session.Endpoint // by subprotocol; "" is for clients without one
	upgrader  *transport.Upgrader
	plain     *transport.Config
	deflating *transport.Config // for clients that negotiated compression
}

func newWebSockets(a *API, c Config) *webSockets {
	deflating := c.WebSockets
	deflating.Inflaters = new(transport.Inflaters)
	s := &webSockets{
		API:       a,
		endpoints: make(map[string]*session.Endpoint),
		upgrader:  &transport.Upgrader{Compression: c.Compression},
		plain:     &c.WebSockets,
		deflating: &deflating,
	}
	for _, e := range c.Endpoints {
		if e.Subprotocol != "" {
			s.endpoints[e.Subprotocol] = e
			s.upgrader.Protocols = append(s.upgrader.Protocols, e.Subprotocol)
		}
		if e.Default {
			s.endpoints[""] = e
		}
	}
	return s
}

// connect starts a WebSocket for a request, on one of the loops.
func (s *webSockets) connect(w http.ResponseWriter, r *http.Request) error {
	var place *clients.Place
	upgrader := *s.upgrader
	upgrader.Over = func() (err error) {
		place, err = s.admit(r, nil)
		return err
	}
	h, err := upgrader.Upgrade(w, r)
	if _, refused := errors.AsType[*pubsub.Error](err); refused {
		return err
	}
	if err != nil {
		place.Leave()
		s.config.Log.Debug("handshake aborted", "remote", r.RemoteAddr, "err", err)
		return nil // the connection is gone, so there is no client to answer
	}
	endpoint := s.endpoints[h.Protocol]
	request := session.Request{Compressed: h.Deflate}
	if endpoint.ConnectToken {
		request.Credential = s.credential(auth.Token(h.Token), r)
	}
	config := s.plain
	if h.Deflate {
		config = s.deflating
	}
	place.Serve(h.Conn, h.Early, func(group *session.Group, c transport.Socket, now time.Duration) loop.Client {
		socket := transport.NewWebSocket(config, c, now)
		request.Now = now
		socket.Serve(group.Open(socket, endpoint, request))
		return socket
	})
	return nil
}

// admit takes a place for a client, unless the server is shutting down: shutdown waits for all
// clients with a place.
func (a *API) admit(r *http.Request, claims *auth.Claims) (*clients.Place, error) {
	place, err := a.clients.Enter(r.RemoteAddr, claims)
	if err != nil {
		return nil, err
	}
	if err := a.config.Ready(); err != nil {
		place.Leave()
		return nil, err
	}
	return place, nil
}

// credential verifies the token with which a client connects, from the subprotocol or else
// from the header. It blocks while a signature is checked.
func (s *webSockets) credential(token auth.Token, r *http.Request) (c session.Credential) {
	if token == "" {
		token, c.Err = bearer(r.Header)
		if c.Err != nil && isMissing(c.Err) && s.config.Verifier.Anonymous() != nil {
			return session.Credential{} // It may subscribe to public topics.
		}
		if c.Err != nil || token == "" {
			return c
		}
	}
	c.Claims, c.Err = s.config.Verifier.Verify(token, r.RemoteAddr)
	return c
}
