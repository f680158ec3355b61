package server

import (
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// TopicLimits returns what [topic.Config] and the brokers need to know about the histories of
// topics that differ from the others. It is nil if none differs.
func TopicLimits(topics *config.Topics) func(pubsub.Topic) *topic.Limits {
	if topics.Same() {
		return nil
	}
	limits := map[*config.TopicSettings]*topic.Limits{}
	for _, t := range topics.All() {
		if t.Section != "" {
			limits[t] = &topic.Limits{Off: !t.History, Count: t.HistoryMessages, Bytes: uint64(t.HistoryBytes), Age: t.HistoryAge}
		}
	}
	return func(name pubsub.Topic) *topic.Limits { return limits[topics.ForTopic(name)] }
}

// noPresence returns for [presence.Config] which topics have no presence. It is nil if all
// have.
func noPresence(topics *config.Topics) func(pubsub.Topic) bool {
	if topics.Same() {
		return nil
	}
	return func(name pubsub.Topic) bool { return !topics.ForTopic(name).Presence }
}

// publisher returns the broker of the sessions and routes: it refuses messages that are too
// large for their topic. Those that are too large for any topic do not get this far.
func (s *Server) publisher() broker.Broker {
	if s.perTopic.Same() {
		return s.broker
	}
	return &sizedBroker{s.broker, s.perTopic}
}

// A sizedBroker is a broker whose topics limit the size of their messages.
type sizedBroker struct {
	broker.Broker
	topics *config.Topics
}

// Publish implements [broker.Broker].
func (b *sizedBroker) Publish(ps []pubsub.Publication, done func()) (finished bool) {
	for i := range ps {
		p := &ps[i]
		if p.Err != nil {
			continue
		}
		if size, most := len(p.Body.Data), int(b.topics.ForTopic(p.Topic).MaxMessageBytes); size > most {
			p.Err = pubsub.Errorf(pubsub.TooLarge, "the message has %d bytes; the limit of the topic %q is %d", size, p.Topic, most)
		}
	}
	return b.Broker.Publish(ps, done)
}
