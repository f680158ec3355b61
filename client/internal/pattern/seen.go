package pattern

import (
	"container/list"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// maxSeen bounds of how many topics a Reader knows where it is. A server repeats at most 1,000
// messages, so the topics of older ones do not come again.
const maxSeen = 4096

// seen holds up to where each topic has been received. The zero value is empty.
type seen struct {
	topics map[string]*list.Element
	order  list.List // of place, the one that was received last at the end
}

type place struct {
	topic string
	at    wire.Position
}

// pass notes a message, and reports whether it has not been received before.
func (s *seen) pass(topic string, p wire.Position) bool {
	if s.topics == nil {
		s.topics = make(map[string]*list.Element)
	}
	element := s.topics[topic]
	if element == nil {
		s.topics[topic] = s.order.PushBack(&place{topic, p})
		if s.order.Len() > maxSeen {
			delete(s.topics, s.order.Remove(s.order.Front()).(*place).topic)
		}
		return true
	}
	last := element.Value.(*place)
	if last.at.Epoch == p.Epoch && p.Offset <= last.at.Offset {
		return false
	}
	last.at = p
	s.order.MoveToBack(element)
	return true
}
