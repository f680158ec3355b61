package redis

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	// pageSize is how many messages one call of read.lua returns at most.
	pageSize = 500
	// maxHeads is how many heads one call of heads.lua reads at most.
	maxHeads = 500
	// readers is how many goroutines read. More would not make Redis faster.
	readers = 16
)

// task has a reader call do. If it cannot, because too much is waiting or the node is ending,
// it calls refuse at once.
func (s *store) task(do func(context.Context, *link), refuse func(error)) {
	work := func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, broker.Timeout)
		defer cancel()
		l := <-s.idle // There are as many as readers.
		defer func() { s.idle <- l }()
		do(ctx, l)
	}
	if !s.readers.Submit(work) {
		refuse(remote.ErrNotSent)
	}
}

// A wantedHead is a call of Head that no request has left with.
type wantedHead struct {
	name pubsub.Topic
	then func(pubsub.Position, error)
}

// Head implements [remote.Store]. When many clients subscribe at once, it reads the heads of
// many topics with one call.
func (s *store) Head(name pubsub.Topic, then func(pubsub.Position, error)) {
	if s.wanted = append(s.wanted, wantedHead{name, then}); len(s.wanted) == 1 {
		s.node.Post(s.readHeads)
	}
}

// readHeads reads the heads that are wanted by now. It is called on the goroutine of the node.
func (s *store) readHeads() {
	all := s.wanted
	s.wanted = nil
	for wanted := range headCalls(all) {
		answer := func(heads map[pubsub.Topic]pubsub.Position, err error) {
			for _, w := range wanted {
				w.then(heads[w.name], err)
			}
		}
		s.task(func(ctx context.Context, l *link) {
			names := make([]pubsub.Topic, len(wanted))
			for i, w := range wanted {
				names[i] = w.name
			}
			heads, err := s.heads(ctx, l, names)
			s.node.Post(func() { answer(heads, err) })
		}, func(err error) { answer(nil, err) })
	}
}

// headCalls returns the heads to read with each call.
func headCalls(all []wantedHead) iter.Seq[[]wantedHead] {
	slices.SortStableFunc(all, func(a, b wantedHead) int { return cmp.Compare(a.name, b.name) })
	n := 0
	for n < len(all) && all[n].name == remote.Shard { // It sorts first, and has a call of its own.
		n++
	}
	return func(yield func([]wantedHead) bool) {
		for i := range n {
			if !yield(all[i : i+1]) {
				return
			}
		}
		for part := range slices.Chunk(all[n:], maxHeads) {
			if !yield(part) {
				return
			}
		}
	}
}

// Behind implements [remote.Store].
func (s *store) Behind(heads map[pubsub.Topic]pubsub.Position, then func([]pubsub.Topic, error)) {
	s.task(func(ctx context.Context, l *link) {
		names := slices.Sorted(maps.Keys(heads))
		watched := 0 // Names of presence topics sort first, and then remote.Shard.
		for watched < len(names) && topic.IsPresenceTopic(names[watched]) {
			watched++
		}
		var behind []pubsub.Topic
		compare := func(names []pubsub.Topic, read func(context.Context, *link, []pubsub.Topic) (map[pubsub.Topic]pubsub.Position, error)) error {
			for names := range slices.Chunk(names, maxHeads) {
				now, err := read(ctx, l, names)
				if err != nil {
					return err
				}
				for _, name := range names {
					if now[name].Epoch != heads[name].Epoch || now[name].Offset > heads[name].Offset {
						behind = append(behind, name)
					}
				}
			}
			return nil
		}
		rest := watched
		if rest < len(names) && names[rest] == remote.Shard {
			rest++
		}
		shardHeads := func(ctx context.Context, l *link, _ []pubsub.Topic) (map[pubsub.Topic]pubsub.Position, error) {
			head, _, err := announce(ctx, s, l)
			return map[pubsub.Topic]pubsub.Position{remote.Shard: head}, err
		}
		err := cmp.Or(compare(names[:watched], s.versions), compare(names[watched:rest], shardHeads), compare(names[rest:], s.heads))
		s.node.Post(func() { then(behind, err) })
	}, func(err error) { then(nil, err) })
}

// heads returns the heads of topics; that of a topic without a message in this epoch is where
// the epoch began.
func (s *store) heads(ctx context.Context, l *link, names []pubsub.Topic) (map[pubsub.Topic]pubsub.Position, error) {
	if len(names) == 1 && names[0] == remote.Shard {
		_, end, err := announce(ctx, s, l)
		return map[pubsub.Topic]pubsub.Position{remote.Shard: end}, err
	}
	keys := []any{s.key("m")}
	for _, name := range names {
		keys = append(keys, s.key("h:"+string(name)), s.key("t:"+string(name)), s.key("p:"+string(name)))
	}
	a, err := s.run(ctx, l, headsScript, keys, []any{int(headTime.Seconds()), int(membersTime.Seconds())})
	if err != nil {
		return nil, err
	}
	if len(a.rest) != 1+len(names) {
		return nil, errAnswer
	}
	began, err := offset(a.rest[0])
	if err != nil {
		return nil, err
	}
	heads := make(map[pubsub.Topic]pubsub.Position, len(names))
	for i, name := range names {
		head, err := offset(a.rest[1+i])
		if err != nil {
			return nil, err
		}
		heads[name] = pubsub.Position{Epoch: a.epoch, Offset: max(head, began)}
	}
	return heads, nil
}

// announce makes publishers put all messages into the stream of all topics. It returns the head of
// that, and up to where it has all messages.
func announce(ctx context.Context, s *store, l *link) (head, end pubsub.Position, err error) {
	a, err := s.run(ctx, l, announceScript, shardKeys(s), []any{announceTime.Microseconds(), int(headTime.Seconds())})
	if err != nil {
		return head, end, err
	}
	if len(a.rest) != 2 {
		return head, end, errAnswer
	}
	head.Epoch, end.Epoch = a.epoch, a.epoch
	var err1, err2 error
	head.Offset, err1 = offset(a.rest[0])
	end.Offset, err2 = offset(a.rest[1])
	return head, end, cmp.Or(err1, err2)
}

// versions returns the heads of presence topics.
func (s *store) versions(ctx context.Context, l *link, names []pubsub.Topic) (map[pubsub.Topic]pubsub.Position, error) {
	keys := []any{s.key("m")}
	for _, name := range names {
		watched, _ := topic.Watched(name)
		keys = append(keys, s.key("p:"+string(watched)))
	}
	a, err := s.run(ctx, l, versionsScript, keys, []any{int(membersTime.Seconds())})
	if err != nil {
		return nil, err
	}
	if len(a.rest) != len(names) {
		return nil, errAnswer
	}
	heads := make(map[pubsub.Topic]pubsub.Position, len(names))
	for i, name := range names {
		version, err := offset(a.rest[i])
		if err != nil {
			return nil, err
		}
		heads[name] = pubsub.Position{Epoch: a.epoch, Offset: version}
	}
	return heads, nil
}

// Read implements [remote.Store].
func (s *store) Read(name pubsub.Topic, r remote.Range, then func(remote.Page, error)) {
	s.task(func(ctx context.Context, l *link) {
		if r.Cancelled != nil && r.Cancelled() {
			s.node.Post(func() { then(remote.Page{}, context.Canceled) })
			return
		}
		p, err := s.read(ctx, l, name, r)
		s.node.Post(func() { then(p, err) })
	}, func(err error) { then(remote.Page{}, err) })
}

// A part is the answer of read.lua.
type part struct {
	epoch   string
	last    uint64 // of the shard
	after   uint64 // it has the entries after this offset
	head    uint64 // of the topic
	entries []entry
	more    bool // there may be more entries
}

// A pageLength is how many messages one call reads from the stream of all topics: fewer after a
// call took too long. It is safe for concurrent use.
type pageLength struct{ n atomic.Int64 } // 0: pageSize

func (l *pageLength) size() int { return int(cmp.Or(l.n.Load(), pageSize)) }

// adapt changes the length after a call that ended with err.
func (l *pageLength) adapt(err error) {
	n := int64(l.size())
	if err != nil {
		n = max(1, n/4)
	} else {
		n = min(pageSize, 2*n)
	}
	l.n.Store(n)
}

// An entry is a message of a stream.
type entry struct {
	message pubsub.Message
	before  uint64 // offset of the message before it
}

// read reads a range, in as many parts as it needs.
func (s *store) read(ctx context.Context, l *link, name pubsub.Topic, r remote.Range) (remote.Page, error) {
	var end pubsub.Position // of the stream of all topics, at least
	if name == remote.Shard {
		var err error
		if _, end, err = announce(ctx, s, l); err != nil {
			return remote.Page{}, err
		}
	}
	first, err := s.readPart(ctx, l, name, r)
	if err != nil {
		return remote.Page{}, err
	}
	all := first
	if name == remote.Shard && r.Until == remote.Last && all.more {
		// There may be so many messages that nobody could read them in time.
		all.head = all.entries[len(all.entries)-1].message.Position.Offset
		r.Until = all.head
		p := s.page(all, r, s.config.age(name))
		p.Last, p.More = r.Until, true
		return p, nil
	}
	for all.more && all.entries[len(all.entries)-1].message.Position.Offset <= r.Until {
		r.After = all.entries[len(all.entries)-1].message.Position
		next, err := s.readPart(ctx, l, name, r)
		if err != nil {
			return remote.Page{}, err
		}
		if next.epoch != all.epoch { // The caller learns of the new epoch and reads again.
			return remote.Page{}, errEpochEnded
		}
		all.entries = append(all.entries, next.entries...)
		all.last, all.head, all.more = next.last, next.head, next.more
	}
	if name == remote.Shard {
		if end.Epoch != all.epoch {
			return remote.Page{}, errEpochEnded
		}
		all.last = end.Offset
	}
	return s.page(all, r, s.config.age(name)), nil
}

var errEpochEnded = errors.New("redis: the epoch ended during a read")

func (s *store) readPart(ctx context.Context, l *link, name pubsub.Topic, r remote.Range) (p part, err error) {
	newest, until, whole, size := -1, "+", "", pageSize
	if name == remote.Shard {
		size = s.shardPage.size()
	}
	if r.Newest != remote.All {
		newest = r.Newest
	}
	if r.Until != remote.Last {
		until = strconv.FormatUint(r.Until, 10) + "-0"
	}
	if r.Whole {
		whole = "whole"
	}
	a, err := s.run(ctx, l, readScript, []any{s.key("m"), s.key("h:" + string(name)), s.key("t:" + string(name))},
		[]any{r.After.Offset, r.After.Epoch, whole, until, newest, size, int(headTime.Seconds())})
	if name == remote.Shard {
		s.shardPage.adapt(err)
	}
	if err != nil {
		return p, err
	}
	if len(a.rest) != 4 {
		return p, errAnswer
	}
	p.epoch = a.epoch
	if p.last, err = offset(a.rest[0]); err != nil {
		return p, err
	}
	if p.after, err = offset(a.rest[1]); err != nil {
		return p, err
	}
	// Without a head, any message up to the last one of the shard may have been one of this
	// topic.
	p.head = p.last
	if text, _ := redis.String(a.rest[2], nil); text != "" {
		if p.head, err = offset(a.rest[2]); err != nil {
			return p, err
		}
	}
	entries, err := redis.Values(a.rest[3], nil)
	if err != nil {
		return p, errAnswer
	}
	if newest >= 0 {
		slices.Reverse(entries)
	}
	p.more = newest < 0 && len(entries) == size
	for _, x := range entries {
		e, err := s.entry(name, p.epoch, x)
		if err != nil {
			return p, err
		}
		p.entries = append(p.entries, e)
	}
	return p, nil
}

// entry returns a message of a stream. It is readable in later epochs than its own.
func (s *store) entry(name pubsub.Topic, epoch string, x any) (e entry, err error) {
	parts, err := redis.Values(x, nil)
	if err != nil || len(parts) != 2 {
		return e, errAnswer
	}
	id, err1 := redis.String(parts[0], nil)
	fields, err2 := redis.StringMap(parts[1], nil)
	digits, _, _ := strings.Cut(id, "-")
	at, err3 := strconv.ParseUint(digits, 10, 64)
	before, err4 := strconv.ParseUint(fields["p"], 10, 64)
	exclude, err5 := strconv.ParseUint(fields["x"], 10, 64)
	body, err6 := decodeBody([]byte(fields["d"]))
	if err := errors.Join(err1, err2, err3, err4, err5, err6); err != nil {
		return e, errAnswer
	}
	if name == remote.Shard {
		name = pubsub.Topic(fields["t"])
	}
	e.message = pubsub.Message{
		Topic: name, Position: pubsub.Position{Epoch: epoch, Offset: at}, Time: s.localTime(at),
		Body: body, Exclude: pubsub.Connection(exclude),
	}
	e.before = before
	return e, nil
}

// page returns the page of a range, given all entries after p.after, or the newest of them.
// Messages are kept for age.
func (s *store) page(p part, r remote.Range, age time.Duration) remote.Page {
	// The first entry beyond the range tells whether one before it is missing. Those after it
	// do not matter.
	for i, e := range p.entries {
		if e.message.Position.Offset > r.Until {
			p.entries = p.entries[:i+1]
			break
		}
	}
	page := remote.Page{Epoch: p.epoch, Last: p.last, From: max(p.after, p.head)}
	if len(p.entries) > 0 {
		page.From = max(p.after, p.entries[0].before)
	}
	first := 0
	oldest := uint64(max(0, s.redisTime(time.Now())-age.Microseconds()))
	for i, e := range p.entries {
		at := e.message.Position.Offset
		switch {
		case i > 0 && e.before != p.entries[i-1].message.Position.Offset: // Redis has lost messages in between.
			first, page.From = i, e.before
		case at < oldest && at <= r.Until:
			first, page.From = i+1, at
		}
	}
	entries := p.entries[min(first, len(p.entries)):]
	if n := len(entries); n > 0 && p.head > entries[n-1].message.Position.Offset && entries[n-1].message.Position.Offset <= r.Until {
		entries, page.From = nil, min(p.head, r.Until) // Redis has lost the last ones.
	}
	for _, e := range entries {
		if e.message.Position.Offset <= r.Until {
			page.Messages = append(page.Messages, e.message)
		}
	}
	return page
}
