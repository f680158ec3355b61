package client

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// A feed is a topic on a lane: what the server has as one subscription, for one or more
// of the program's.
type feed struct {
	// Immutable.
	lane     *lane
	topic    string
	number   uint64 // the server is asked for feeds in this order
	tokens   *tokens.Cache
	last     int
	latest   bool
	presence bool

	// Guarded by hub.mu.
	members  []*member
	position wire.Position // everything up to it has been queued; zero: nothing is known
	state    feedState
	list     listState
	token    string // that it was last asked for with
	resumed  bool   // it was live before
	renewed  bool   // a new token was asked for, and the server has not accepted it yet
	extended bool   // likewise a token that allows the topic
}

// A member is a subscription as a part of a feed.
type member struct {
	*Subscription
	told bool // that the topic is subscribed to
}

type feedState uint8

const (
	feedWanted feedState = iota // in lane.todo
	feedLater                   // in lane.later: refused for now
	feedAsked                   // a command is under way
	feedLive                    // messages count
	feedOver                    // in no lane any more
)

// listState says how it stands with the question who is present.
type listState uint8

const (
	listNone   listState = iota
	listWanted           // in lane.lists
	listLater            // in lane.later
)

// joinLocked subscribes s to topics: all on one lane if there is one that can take
// them, else each where it fits.
func (h *hub) joinLocked(s *Subscription, topics []string) {
	topics = slices.DeleteFunc(slices.Clone(topics), func(topic string) bool { return s.feeds[topic] != nil })
	at := slices.IndexFunc(h.lanes, func(l *lane) bool {
		return !slices.ContainsFunc(topics, func(topic string) bool { return !l.takesLocked(s, topic) })
	})
	if at >= 0 {
		for _, topic := range topics {
			h.lanes[at].joinLocked(s, topic)
		}
		return
	}
	if len(s.feeds) == 0 {
		l := h.startLaneLocked()
		for _, topic := range topics {
			l.joinLocked(s, topic)
		}
		return
	}
	for _, topic := range topics {
		if s.feeds[topic] == nil { // else it is given twice
			h.placeLocked(s, topic).joinLocked(s, topic)
		}
	}
}

// placeLocked returns a lane for one topic.
func (h *hub) placeLocked(s *Subscription, topic string) *lane {
	for _, l := range h.lanes {
		if l.takesLocked(s, topic) {
			return l
		}
	}
	return h.startLaneLocked()
}

// takesLocked reports whether a topic of s can be on the lane, which has each once.
func (l *lane) takesLocked(s *Subscription, topic string) bool {
	f := l.feeds[topic]
	if f == nil {
		return true
	}
	_, resumes := s.since[topic]
	return !resumes && s.options.Last == 0 && !s.options.Presence && !f.presence &&
		s.options.Latest == f.latest && s.tokens.Equal(f.tokens) &&
		(f.resumed || f.last == 0 && f.position == wire.Position{})
}

// joinLocked makes s a member of the feed of a topic.
func (l *lane) joinLocked(s *Subscription, topic string) {
	if s.feeds[topic] != nil {
		return // it is given twice
	}
	f := l.feeds[topic]
	if f == nil {
		l.hub.feeds++
		f = &feed{
			lane: l, topic: topic, number: l.hub.feeds, tokens: s.tokens,
			last: s.options.Last, latest: s.options.Latest, presence: s.options.Presence,
		}
		if since, ok := s.since[topic]; ok {
			f.position, _ = wire.ParsePosition(string(since)) // checked by SubscribeWith
			delete(s.since, topic)
		}
		l.feeds[topic] = f
		l.todo = append(l.todo, f)
		l.wakeUp()
	}
	m := &member{Subscription: s}
	s.feeds[topic] = f
	f.members = append(f.members, m)
	if f.state == feedLive {
		m.told = true
		p := f.at()
		m.queue.put(entry{event: Subscribed{Topic: topic, Position: p}, topic: topic, from: p, to: p})
	}
}

// leaveLocked ends the membership of s.
func (f *feed) leaveLocked(s *Subscription) {
	delete(s.feeds, f.topic)
	f.members = slices.DeleteFunc(f.members, func(m *member) bool { return m.Subscription == s })
	if len(f.members) > 0 || f.state == feedOver {
		return
	}
	l := f.lane
	if f.state == feedAsked || f.state == feedLive {
		l.gone = append(l.gone, f.topic)
	}
	f.endLocked()
	l.wakeUp()
}

// endLocked takes the feed off its lane.
func (f *feed) endLocked() {
	f.state, f.list = feedOver, listNone
	delete(f.lane.feeds, f.topic)
}

// at returns the position of the feed; empty: it has none.
func (f *feed) at() Position {
	if f.position.Epoch == "" {
		return ""
	}
	return Position(f.position.String())
}

// deliverLocked queues an entry for every member. It reports whether one is behind.
func (f *feed) deliverLocked(e entry) (behind bool) {
	e.topic = f.topic
	for i, m := range f.members {
		if message, ok := e.event.(Message); ok && i > 0 {
			message.Data = bytes.Clone(message.Data) // each loop owns what it gets
			e.event = message
		}
		behind = m.queue.put(e) || behind
	}
	return behind
}

// subscribedLocked makes the feed live, from a position on.
func (f *feed) subscribedLocked(p wire.Position, a wire.Answer) {
	since := f.at()
	f.position = p
	to := f.at()
	for _, m := range f.members {
		e := entry{event: Subscribed{Topic: f.topic, Position: to, Replay: a.Replay, Resumed: m.told}, topic: f.topic, from: to, to: to}
		if !a.Recovered && (m.told || !f.resumed) {
			e.event, e.err = nil, &LostError{Topic: f.topic, Since: since, Position: to, Reason: Expired}
		}
		m.told = true
		m.queue.put(e)
	}
	f.state = feedLive
	f.resumed, f.renewed, f.extended = true, false, false
	if f.presence {
		f.wantList()
	}
}

// wantList has the lane ask who is present.
func (f *feed) wantList() {
	if f.list != listWanted {
		f.list = listWanted
		f.lane.lists = append(f.lane.lists, f)
	}
}

// list has lanes ask who is present on topics of s.
func (h *hub) list(s *Subscription, topics []string) {
	if len(topics) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, topic := range topics {
		if f := s.feeds[topic]; f != nil && f.presence && f.state == feedLive {
			f.wantList()
			f.lane.wakeUp()
		}
	}
}

// refusedLocked ends the feed: each member has lost the topic, and ends if it was the
// last one.
func (f *feed) refusedLocked(err *Error) {
	f.endLocked()
	for _, m := range f.members {
		delete(m.feeds, f.topic)
		if len(m.feeds) > 0 {
			m.queue.put(entry{err: err, topic: f.topic})
			continue
		}
		delete(f.lane.hub.subscriptions, m.Subscription)
		m.queue.finish(err)
	}
}

// sortFeeds returns feeds in the order in which they were made.
func sortFeeds(feeds map[string]*feed) []*feed {
	return slices.SortedFunc(maps.Values(feeds), func(a, b *feed) int { return cmp.Compare(a.number, b.number) })
}
