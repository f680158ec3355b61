package server

import (
	"context"
	"net/http"

	"github.com/ikornaselur/notiflux/internal/control"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Routes returns the routes of the public listener.
func Routes(s *Server) []router.Route { return s.api.Routes() }

// Drained returns the handler of a server that never ran, in the state that it has during
// shutdown.
func Drained(s *Server) http.Handler {
	s.public.Close()
	close(s.draining)
	_ = s.broker.Close(context.Background())
	return router.New(s.origins, s.log, s.api.Routes()...)
}

// PublishPresence passes a presence event to a server, like its registry, and returns the
// events that the server makes of it.
func PublishPresence(s *Server, e presence.Event) (events []*pubsub.Message, err error) {
	pin, err := s.topics.Open(topic.PresenceTopic(e.Topic), pubsub.Position{}, topic.ResumePoint{})
	if err != nil {
		return nil, err
	}
	_, resumed := pin.Join(deaf{})
	s.emitPresence(e)
	for c := resumed.Cursor; ; {
		entry, next, ok := c.Next()
		if !ok {
			return events, nil
		}
		events, c = append(events, entry.Message()), next
	}
}

// deaf is a listener that ignores wake-ups.
type deaf struct{}

func (deaf) Wake() {}

// Control returns what an operator of a server can do to its clients.
func Control(s *Server) *control.Control { return s.control }

// Gap reports a gap in a topic to a server, like a broker.
func Gap(s *Server, name pubsub.Topic, to pubsub.Position) { s.topics.Gap(name, to) }

// Clients returns the number of WebSockets, streams and waiting polls.
func Clients(s *Server) int { return s.clients.Count() }
