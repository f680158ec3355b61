package server

import (
	"log/slog"
	"net"
	"net/http"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/hub"
	"github.com/ikornaselur/notiflux/internal/presence"
)

// A Gate is the listener that counts connections, without its server.
type Gate struct{ *gate }

// NewGate returns a Gate of at most most connections, and spare ones past them.
func NewGate(l Listener, most, spare int) Gate {
	return Gate{newGate(l, gateConfig{most: most, spare: spare, log: slog.New(slog.DiscardHandler)})}
}

// Hand, Leave, Count and State are what the server and net/http tell a gate and ask it.
func (g Gate) Hand(c net.Conn) (net.Conn, error)      { return g.hand(c) }
func (g Gate) Leave()                                 { g.leave() }
func (g Gate) Count() int                             { return g.count() }
func (g Gate) State(c net.Conn, state http.ConnState) { g.state(c, state) }

// Sweep closes idle connections as if descriptors had run out, and calls meanwhile
// between choosing and closing them.
func (g Gate) Sweep(meanwhile func()) {
	g.crowded(true)
	idle := g.idlest()
	meanwhile()
	for _, i := range idle {
		i.close()
	}
}

// Routes returns the routes of the public listener.
func Routes(s *Server) []httpapi.Route { return s.routes() }

// Drained returns the handler of a server that never ran, as it is while it shuts
// down.
func Drained(s *Server) http.Handler {
	s.gate.Close()
	close(s.draining)
	s.broker.Close()
	return httpapi.NewRouter(s.origins, s.log, s.routes()...)
}

// Tell tells a server of a presence event, as its registry does, and returns the
// notices that it makes of it.
func Tell(s *Server, e presence.Event) (notices []*notiflux.Message, err error) {
	_, place, err := s.hub.Join(hub.Notices(e.Topic), deaf{}, hub.Start{})
	if err != nil {
		return nil, err
	}
	s.tell(e)
	for c := place.Cursor; ; {
		entry, next, ok := c.Next()
		if !ok {
			return notices, nil
		}
		notices, c = append(notices, entry.Message()), next
	}
}

// deaf is a listener that nothing wakes.
type deaf struct{}

func (deaf) Wake() {}
