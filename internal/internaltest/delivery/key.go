package delivery

import "github.com/ikornaselur/notiflux/internal/pubsub"

// keyed names a message.
type keyed struct {
	topic pubsub.Topic
	key   string
}

// keyed handles a publish with a key: the first one of its message, or a repetition, which it
// adds to the first. It returns the message, or nil if p does not count. It assumes that keys
// are remembered for longer than the log lasts.
func (o *orders) keyed(p *Publish) *Publish {
	name := keyed{p.Topic, p.Key}
	first := o.keys[name]
	switch {
	case first == nil:
		o.keys[name] = p
		return p
	case first.Outcome == Refused: // It does not count.
		o.keys[name] = p
		if first.Data == p.Data {
			p.Called = min(p.Called, first.Called)
		}
		return p
	case first.Data != p.Data && p.Outcome == Acknowledged && first.Outcome == Acknowledged:
		o.faults.add("%q: the key %q stands for %q, and %q was acknowledged with it at %v", p.Topic, p.Key, first.Data, p.Data, p.Position)
		return nil
	case first.Data != p.Data:
		return p // One of them was refused, as it should be, or nobody knows.
	case p.Outcome != Acknowledged:
		return nil
	case first.Outcome == Acknowledged && first.Position != p.Position:
		o.faults.add("%q: the key %q gave %v, and then %v", p.Topic, p.Key, first.Position, p.Position)
		return nil
	case first.Outcome == Acknowledged:
		first.Answered = min(first.Answered, p.Answered)
	default:
		first.Outcome, first.Position, first.Answered = Acknowledged, p.Position, p.Answered
	}
	return first
}
