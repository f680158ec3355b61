package server

import (
	"context"
	"net/http"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// Routes returns the routes of the public listener.
func Routes(s *Server) []router.Route { return s.api.Routes() }

// Drained returns the handler of a server that never ran, as it is while it shuts
// down.
func Drained(s *Server) http.Handler {
	s.public.Close()
	close(s.draining)
	_ = s.broker.Close(context.Background())
	return router.New(s.origins, s.log, s.api.Routes()...)
}

// PublishPresence tells a server of a presence event, as its registry does, and returns the
// events that it makes of it.
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

// deaf is a listener that nothing wakes.
type deaf struct{}

func (deaf) Wake() {}

// Gap tells a server of a gap in a topic, as a broker does.
func Gap(s *Server, name pubsub.Topic, to pubsub.Position) { s.topics.Gap(name, to) }
