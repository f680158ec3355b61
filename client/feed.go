package client

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
	"github.com/ikornaselur/notiflux/client/internal/wire"
)

// A feed is a topic on a lane: one subscription to the server, which one or more
// subscriptions of the program share.
type feed struct {
	// Immutable.
	lane     *lane
	topic    string
	number   uint64 // the lane subscribes to feeds in this order
	tokens   *tokens.Cache
	last     int
	latest   bool
	presence bool

	// Guarded by hub.mu.
	members  []*member
	position wire.Position // the members' queues have everything up to it; zero: unknown
	state    feedState
	list     listState
	token    string // of the last subscribe command
	resumed  bool   // has been live
	renewed  bool   // has a new token that the server has not accepted yet
	extended bool   // has a token for the topic that the server has not accepted yet
	crowded  bool   // was refused for want of room, although there seems to be some
	replay   int    // how many of the next messages existed when the feed became live
}

// A member is a subscription that shares a feed.
type member struct {
	*Subscription
	told bool // has got a Subscribed or a LostError
}

type feedState uint8

const (
	feedWanted feedState = iota // in lane.todo
	feedLater                   // in lane.later: the server refused it for now
	feedAsked                   // waits for the answer to a subscribe command
	feedLive                    // receives messages
	feedOver                    // has been removed from its lane
)

// A listState says whether the lane has to request the list of members of a feed.
type listState uint8

const (
	listNone   listState = iota
	listWanted           // in lane.lists
	listLater            // in lane.later
)

// joinLocked subscribes s to topics: all on one lane if a lane has room for all of them,
// else each on the first lane that has room for it.
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
		if s.feeds[topic] == nil { // else topics has it twice
			h.laneLocked(func(l *lane) bool { return l.takesLocked(s, topic) }).joinLocked(s, topic)
		}
	}
}

// laneLocked returns the first lane that takes a topic, or else a new one.
func (h *hub) laneLocked(takes func(*lane) bool) *lane {
	if at := slices.IndexFunc(h.lanes, takes); at >= 0 {
		return h.lanes[at]
	}
	return h.startLaneLocked()
}

// takesLocked reports whether the lane has room for a topic of s: a lane has one feed of a
// topic, and s can only share it if the server would treat both in the same way.
func (l *lane) takesLocked(s *Subscription, topic string) bool {
	f := l.feeds[topic]
	if f == nil {
		return l.hasRoomLocked(s.options.Presence)
	}
	_, resumes := s.since[topic]
	return !resumes && s.options.Last == 0 && !s.options.Presence && !f.presence &&
		s.options.Latest == f.latest && s.tokens.Equal(f.tokens) &&
		(f.resumed || f.last == 0 && f.position == wire.Position{})
}

// hasRoomLocked reports whether the server takes one more topic on the connection of the lane.
func (l *lane) hasRoomLocked(presence bool) bool {
	return l.room == 0 || len(l.feeds) == 0 || l.loadLocked()+load(presence) <= l.room
}

// loadLocked returns how many topics the server counts on the connection of the lane.
func (l *lane) loadLocked() (n int) {
	for _, f := range l.feeds {
		n += load(f.presence)
	}
	return n
}

// load returns as how many topics a server counts a topic.
func load(presence bool) int {
	if presence {
		return 2
	}
	return 1
}

// joinLocked makes s a member of the feed of a topic, which it makes if there is none.
func (l *lane) joinLocked(s *Subscription, topic string) {
	if s.feeds[topic] != nil {
		return // the caller has the topic twice
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
		m.queue.put(entry{event: Subscribed{Topic: topic, Position: p, Replay: f.replay}, topic: topic, from: p, to: p})
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

// endLocked removes the feed from its lane.
func (f *feed) endLocked() {
	f.state, f.list = feedOver, listNone
	l := f.lane
	delete(l.feeds, f.topic)
	if len(l.todo)+len(l.lists)+len(l.later) > 4*len(l.feeds)+100 { // else next drops the feed
		l.todo, l.lists, l.later = keep(l.todo, wanted), keep(l.lists, listed), keep(l.later, waits)
	}
}

func waits(f *feed) bool { return f.state == feedLater || f.list == listLater }

// at returns the position of the feed; empty: it has none.
func (f *feed) at() Position { return positionOf(f.position) }

func positionOf(p wire.Position) Position {
	if p.Epoch == "" {
		return ""
	}
	return Position(p.String())
}

// deliverLocked puts an entry into the queue of every member. It reports whether a member
// is behind.
func (f *feed) deliverLocked(e entry) (behind bool) {
	e.topic = f.topic
	for i, m := range f.members {
		out := e
		if message, ok := e.event.(Message); ok && i < len(f.members)-1 {
			message.Data = bytes.Clone(message.Data) // each receiver owns its data
			out.event = message
		}
		behind = m.queue.put(out) || behind
	}
	return behind
}

// subscribedLocked makes the feed live from position p.
func (f *feed) subscribedLocked(p wire.Position, a wire.Answer) {
	since := f.at()
	if a.Recovered && p.Epoch == f.position.Epoch && p.Offset < f.position.Offset {
		f.lane.faultLocked("a topic resumes before the requested position", f)
		p = f.position // the messages up to it are ignored
	}
	if a.Recovered && f.position.Epoch != "" && p != f.position {
		f.lane.faultLocked("a topic resumes after the requested position", f)
		a.Recovered = false
	}
	f.position, f.replay = p, a.Replay
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
	f.resumed, f.renewed, f.extended, f.crowded = true, false, false, false
	if f.presence {
		f.wantList()
	}
}

// wantList has the lane request the list of members.
func (f *feed) wantList() {
	if f.list != listWanted {
		f.list = listWanted
		f.lane.lists = append(f.lane.lists, f)
	}
}

// list requests the lists of members of topics of s.
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

// refuseLocked ends feeds with err. A subscription loses their topics, and ends if it has no
// other.
func (h *hub) refuseLocked(feeds []*feed, err error) {
	lost := map[*Subscription][]string{}
	for _, f := range feeds {
		f.endLocked()
		for _, m := range f.members {
			delete(m.feeds, f.topic)
			lost[m.Subscription] = append(lost[m.Subscription], f.topic)
		}
	}
	for s, topics := range lost {
		if len(s.feeds) == 0 {
			delete(h.subscriptions, s)
			s.queue.finish(err)
			continue
		}
		for _, topic := range topics {
			s.queue.put(entry{err: about(topic, err), topic: topic})
		}
	}
}

// moveLocked moves the feed to another lane, because the server does not take more topics on
// the connection of this one.
func (f *feed) moveLocked() {
	f.endLocked()
	moved := *f
	moved.lane = f.lane.hub.laneLocked(func(l *lane) bool {
		return l != f.lane && l.feeds[f.topic] == nil && l.hasRoomLocked(f.presence)
	})
	moved.lane.feeds[f.topic] = &moved
	moved.lane.wantLocked(&moved)
	moved.lane.wakeUp()
	for _, m := range f.members {
		m.feeds[f.topic] = &moved
	}
}

// sortFeeds returns feeds in the order in which they were made.
func sortFeeds(feeds map[string]*feed) []*feed {
	return slices.SortedFunc(maps.Values(feeds), func(a, b *feed) int { return cmp.Compare(a.number, b.number) })
}
