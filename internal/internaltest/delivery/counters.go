package delivery

import "github.com/ikornaselur/notiflux/internal/pubsub"

// checkCounters compares the counters of a server with what was seen. It accepts both values
// where the outcome is unknown: a publish without an answer, or frames in flight when a
// connection ended.
func checkCounters(log *Log, o *orders, f *faults) {
	c := log.Counters
	if c == nil {
		return
	}
	between := func(what string, got uint64, least, most int) {
		if got < uint64(least) || got > uint64(most) {
			f.add("the server counted %d %s, and there were %d to %d", got, what, least, most)
		}
	}
	answered, unknown := 0, 0
	for _, p := range log.Publishes {
		switch p.Outcome {
		case Acknowledged:
			answered++
		case Unknown:
			unknown++
		}
	}
	between("broadcasts", c.Broadcasts, answered, answered+unknown)
	ordered := make(map[pubsub.Position]bool)
	for n, at := range o.at {
		for offset := range at {
			ordered[pubsub.Position{Epoch: n.epoch, Offset: offset}] = true
		}
	}
	between("messages", c.Messages, len(ordered), len(ordered)+unknown)

	received, cut, slow := 0, 0, 0
	for _, client := range log.Clients {
		for _, e := range client.Events {
			switch e.Kind {
			case Message, Joined, Left, CountOnly, Snapshot:
				received++
			case Cut:
				if cut++; e.Code == CloseTooSlow {
					slow++
				}
			}
		}
	}
	most := received
	if cut > 0 {
		most = int(max(c.Deliveries, uint64(received))) // Frames in flight are lost.
	}
	between("deliveries", c.Deliveries, received, most)
	between("clients that were too slow", c.TooSlow, slow, cut)
}
