package topic_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// An element is a message of the model, or a marker.
type element struct {
	position pubsub.Position // of the message, or after the marker
	marker   bool
	exclude  pubsub.Connection
	time     time.Time
}

// me is the connection that some messages exclude.
const me pubsub.Connection = 1

// fed is a topic that a broker with a store feeds, and its model.
type fed struct {
	topics   *topic.Topics
	limits   topic.Limits
	now      time.Time
	detached int

	epoch   int
	stored  []element // all messages of the epoch, including those that the node did not get
	given   []element // messages that were appended to the log
	live    bool
	base    pubsub.Position // of the empty log
	pins    []*modelPin
	readers []*modelReader
}

// A modelPin is a pin, and where it should lead.
type modelPin struct {
	pin     topic.Pin
	point   topic.ResumePoint
	epoch   string    // of the topic when it was made
	given   int       // number of elements of the log when it was made
	recent  []element // for Last: the elements that it begins with
	covered bool
	moved   bool
}

// A modelReader is a cursor and the elements that it should read: ahead, then given[next:].
type modelReader struct {
	topic    *topic.Topic
	listener *listener
	cursor   topic.Cursor
	ahead    []element
	next     int
}

const fedTopic pubsub.Topic = "fed"

func newFed(t *rapid.T) *fed {
	f := &fed{now: time.Now()}
	f.limits = topic.Limits{
		Count: rapid.SampledFrom([]int{0, 1, 5, 40}).Draw(t, "count"),
		Age:   rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "age"),
		Off:   rapid.IntRange(0, 4).Draw(t, "off") == 0,
	}
	f.topics = topic.New(topic.Config{
		PerTopic:   f.limits,
		TotalBytes: rapid.SampledFrom([]uint64{0, 8 << 10}).Draw(t, "total"),
		Now:        func() time.Time { return f.now },
		Detach:     func(pubsub.Topic) { f.detached++ },
	})
	f.newEpoch(7)
	return f
}

func (f *fed) newEpoch(offset uint64) pubsub.Position {
	f.epoch++
	f.stored = nil
	f.base = pubsub.Position{Epoch: fmt.Sprint("E", f.epoch), Offset: offset}
	return f.base
}

// head returns the position of the last message of the epoch.
func (f *fed) head() pubsub.Position {
	if len(f.stored) == 0 {
		return f.base
	}
	return f.stored[len(f.stored)-1].position
}

// publish stores messages, and returns those that the node gets.
func (f *fed) publish(t *rapid.T) (ms []pubsub.Message) {
	for range rapid.IntRange(1, 20).Draw(t, "messages") {
		e := element{position: f.head(), time: f.now}
		e.position.Offset += rapid.Uint64Range(1, 3).Draw(t, "hole")
		e.exclude = rapid.SampledFrom([]pubsub.Connection{0, 0, me, 2}).Draw(t, "exclude")
		f.stored = append(f.stored, e)
		ms = append(ms, f.message(e))
	}
	return ms
}

func (f *fed) message(e element) pubsub.Message {
	return pubsub.Message{Topic: fedTopic, Position: e.position, Time: e.time, Body: pubsub.Body{Data: data(e)}, Exclude: e.exclude}
}

func data(e element) []byte { return []byte(e.position.String()) }

// open makes the topic live if necessary, and pins a point.
func (f *fed) open(t *rapid.T, point topic.ResumePoint) topic.Pin {
	pin, err := f.topics.Open(fedTopic, f.head(), point)
	if err != nil {
		t.Fatal(err)
	}
	if !f.live {
		f.live, f.given = true, nil
	}
	return pin
}

// held returns the messages that the log has after its last marker, and the position before
// them. It checks that they match the store.
func (f *fed) held(t *rapid.T) (held []element, from pubsub.Position) {
	y := f.topics.History(fedTopic, pubsub.Position{}, 1<<20)
	from = y.Cursor.Position()
	held = after(f.stored, from)
	ms := y.Messages()
	if len(ms) != len(held) || y.Position != f.head() || !y.Recovered || y.More {
		t.Fatalf("the history has %d messages up to %v; want %d after %v up to %v", len(ms), y.Position, len(held), from, f.head())
	}
	if f.limits.Off && len(held) > 0 {
		t.Fatalf("the log holds %d messages, but its history is off", len(held))
	}
	if most := f.limits.Count; most > 0 && len(held) > most {
		t.Fatalf("the log holds %d messages, its limit is %d", len(held), most)
	}
	for i, m := range ms {
		if m.Position != held[i].position {
			t.Fatalf("message %d of the history is %v, want %v", i, m.Position, held[i].position)
		}
	}
	return held, from
}

// after returns the elements after a position in their epoch.
func after(all []element, p pubsub.Position) []element {
	for i, e := range all {
		if e.position.Offset > p.Offset {
			return all[i:]
		}
	}
	return nil
}

func (f *fed) inUse() bool { return len(f.pins)+len(f.readers) > 0 }

// drawPoint draws a resume point.
func (f *fed) drawPoint(t *rapid.T) topic.ResumePoint {
	point := topic.ResumePoint{Connection: me}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0, 1:
		point.Since = pubsub.Position{Epoch: f.base.Epoch, Offset: rapid.Uint64Range(f.base.Offset, f.head().Offset+1).Draw(t, "since")}
		if rapid.IntRange(0, 9).Draw(t, "elsewhere") == 0 {
			point.Since.Epoch = "E0"
		}
	case 2:
		point.Last = rapid.IntRange(1, 30).Draw(t, "last")
		fallthrough
	case 3:
		next := fmt.Sprint("E", f.epoch+1)
		point.Epochs = rapid.SampledFrom([][]string{nil, nil, {f.base.Epoch}, {"E0", f.base.Epoch, next}, {"E0", next}}).Draw(t, "epochs")
	}
	return point
}

func (f *fed) pin(t *rapid.T) {
	p := &modelPin{point: f.drawPoint(t)}
	p.pin = f.open(t, p.point)
	p.given, p.epoch = len(f.given), f.base.Epoch
	held, from := f.held(t)
	since := p.point.Since
	switch {
	case since.Epoch != "":
		p.covered = since.Epoch == from.Epoch && since.Offset >= from.Offset && since.Offset <= f.head().Offset
	case !p.knows(p.epoch):
	case p.point.Last > 0:
		p.recent = held[len(held)-min(len(held), p.point.Last):]
		p.covered = len(p.recent) == p.point.Last
	default:
		p.covered = true
	}
	if got := p.pin.Covered(); got != p.covered {
		t.Fatalf("%+v is covered: %v, want %v; the log begins after %v", p.point, got, p.covered, from)
	}
	f.pins = append(f.pins, p)
}

func (f *fed) drawPin(t *rapid.T) *modelPin {
	if len(f.pins) == 0 {
		t.Skip("no pin")
	}
	return f.pins[rapid.IntRange(0, len(f.pins)-1).Draw(t, "pin")]
}

func (f *fed) removePin(p *modelPin) {
	for i, other := range f.pins {
		if other == p {
			f.pins = append(f.pins[:i], f.pins[i+1:]...)
			return
		}
	}
}

func (p *modelPin) knows(epoch string) bool {
	return len(p.point.Epochs) == 0 || slices.Contains(p.point.Epochs, epoch)
}

// prepend prepends what the store has up to the place of a pin.
func (f *fed) prepend(t *rapid.T) {
	p := f.drawPin(t)
	place := p.pin.Position()
	if place.Epoch != f.base.Epoch {
		t.Skip("the store has another epoch")
	}
	from := p.point.Since
	before := f.stored[:len(f.stored)-len(after(f.stored, place))] // up to the place
	switch {
	case from.Epoch == "" && p.point.Last > 0:
		missing := before[len(before)-min(len(before), p.point.Last):]
		from = f.base
		if len(missing) < len(before) {
			from = before[len(before)-len(missing)-1].position
		}
	case from.Epoch != place.Epoch || from.Offset > place.Offset:
		t.Skip("nothing to read")
	}
	if rapid.IntRange(0, 5).Draw(t, "trimmed") == 0 && len(before) > 0 { // The store has lost some.
		from = before[rapid.IntRange(0, len(before)-1).Draw(t, "from")].position
	}
	read := after(before, from)
	beyond := f.stored[len(before):] // Published meanwhile: the store may return them too.
	beyond = beyond[:rapid.IntRange(0, len(beyond)).Draw(t, "beyond")]
	var ms []pubsub.Message
	for _, e := range append(append([]element(nil), read...), beyond...) {
		ms = append(ms, f.message(e))
	}
	f.topics.Prepend(&p.pin, from, ms)
	if p.covered || p.moved || !p.knows(p.epoch) {
		return
	}
	_, held := f.held(t)
	var lag uint64
	for _, e := range read {
		if e.position.Offset > max(p.point.Since.Offset, from.Offset) && e.position.Offset <= held.Offset {
			lag += uint64(len(data(e))) + topic.Overhead
		}
	}
	marker := slices.ContainsFunc(f.given[p.given:], func(e element) bool { return e.marker })
	if got := p.pin.Lag(); got < lag && p.point.Last == 0 && !marker {
		t.Fatalf("the pin keeps %d bytes, want at least %d", got, lag)
	}
	if p.point.Last > 0 {
		missing := p.point.Last - len(p.recent)
		p.recent = append(append([]element(nil), read[len(read)-min(len(read), missing):]...), p.recent...)
		p.covered = true
		return
	}
	if p.covered = from.Offset <= p.point.Since.Offset; p.pin.Covered() != p.covered {
		t.Fatalf("after Prepend from %v, %+v is covered: %v, want %v", from, p.point, p.pin.Covered(), p.covered)
	}
}

// join makes a subscriber take a pin.
func (f *fed) join(t *rapid.T) {
	p := f.drawPin(t)
	f.removePin(p)
	r := &modelReader{listener: new(listener), next: p.given}
	var resumed topic.Resumed
	r.topic, resumed = p.pin.Join(r.listener)
	r.cursor = resumed.Cursor
	marker := slices.ContainsFunc(f.given[p.given:], func(e element) bool { return e.marker })
	recovered, epoch := true, p.epoch
	switch since := p.point.Since; {
	case since.Epoch != "":
		if recovered = p.covered && !marker && !p.moved; recovered {
			r.ahead, r.next = after(f.stored, since), len(f.given)
			if resumed.Position != since {
				t.Fatalf("since %v is recovered at %v", since, resumed.Position)
			}
		}
	case !p.moved:
		r.ahead = p.recent
	default:
		r.next, epoch = len(f.given), f.base.Epoch
		if resumed.Position != f.head() {
			t.Fatalf("an abandoned pin ends at %v, want the head %v", resumed.Position, f.head())
		}
	}
	replay := 0
	for _, e := range r.unread(f) {
		if !e.marker && e.exclude != me {
			replay++
		}
	}
	known := p.knows(epoch)
	for p.point.Since.Epoch == "" && replay > p.point.Last { // Some were appended since the pin was made.
		var e element
		if len(r.ahead) > 0 {
			e, r.ahead = r.ahead[0], r.ahead[1:]
		} else {
			e = f.given[r.next]
			r.next++
		}
		epoch = e.position.Epoch
		if !e.marker && e.exclude != me {
			replay--
		}
	}
	if recovered = recovered && known && p.knows(epoch); !recovered {
		r.ahead, r.next, replay = nil, len(f.given), 0
		if resumed.Position != f.head() {
			t.Fatalf("%+v is not recovered and at %v, want the head %v", p.point, resumed.Position, f.head())
		}
	}
	if resumed.Recovered != recovered {
		t.Fatalf("%+v: recovered %v, want %v", p.point, resumed.Recovered, recovered)
	}
	if resumed.Replay != replay {
		t.Fatalf("%+v: %d messages to replay, want %d", p.point, resumed.Replay, replay)
	}
	f.readers = append(f.readers, r)
}

// read compares the next entry of a reader with the model.
func (r *modelReader) read(t *rapid.T, f *fed) bool {
	entry, next, ok := r.cursor.Next()
	var want element
	switch {
	case len(r.ahead) > 0:
		want, r.ahead = r.ahead[0], r.ahead[1:]
	case r.next < len(f.given):
		want, r.next = f.given[r.next], r.next+1
	case ok:
		t.Fatal("there is an entry behind the last one")
	default:
		return false
	}
	if !ok {
		t.Fatalf("the log ends before %+v", want)
	}
	to, marker := entry.Marker()
	if marker != want.marker || marker && to != want.position || !marker && entry.Message().Position != want.position {
		t.Fatalf("read marker %v to %v, message %v; want %+v", marker, to, entry.Message().Position, want)
	}
	at := next.Position()
	if unread := r.unread(f); len(r.ahead) > 0 && at.Offset > want.position.Offset && at.Offset < unread[0].position.Offset {
		at.Offset = want.position.Offset // The resume point was between two messages.
	}
	if at != want.position {
		t.Fatalf("the cursor after %+v is at %v", want, next.Position())
	}
	r.cursor = next
	return true
}

// unread returns the elements that the reader has not read.
func (r *modelReader) unread(f *fed) []element {
	return append(append([]element(nil), r.ahead...), f.given[r.next:]...)
}

// checkNewest checks where the reader would jump: to the last message, or to the last
// marker if no message follows it. Entries that the log has dropped may be unknown.
func (r *modelReader) checkNewest(t *rapid.T, f *fed, held bool) {
	newest, unread := r.topic.Newest(r.cursor), r.unread(f)
	if newest == r.cursor && (!held || len(unread) < 2) {
		return
	}
	var last, marker element
	for _, e := range unread {
		if e.marker {
			marker = e
		} else {
			last = e
		}
	}
	entry, _, ok := newest.Next()
	to, marked := entry.Marker()
	switch {
	case !ok:
		t.Fatal("jumped to the tail")
	case marked && (to != marker.position || unread[len(unread)-1] == last):
		t.Fatalf("jumped to the marker to %v, want %v or the message behind it, %v", to, marker.position, last.position)
	case !marked && entry.Message().Position != last.position:
		t.Fatalf("jumped to %v, want %v", entry.Message().Position, last.position)
	}
}

func TestTopicsOfABrokerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFed(t)
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				ms := f.publish(t)
				f.topics.Append(ms)
				if f.live {
					f.given = append(f.given, f.stored[len(f.stored)-len(ms):]...)
				}
			},
			"old ones": func(t *rapid.T) { // The log skips them.
				ms := []pubsub.Message{f.message(element{position: f.head()}), f.message(element{position: pubsub.Position{Epoch: "E0", Offset: 1 << 40}})}
				f.topics.Append(ms)
				f.topics.Gap(fedTopic, f.head())
			},
			"lose": func(t *rapid.T) {
				f.publish(t)
				f.topics.Gap(fedTopic, f.head())
				if f.live {
					f.given = append(f.given, element{position: f.head(), marker: true})
				}
			},
			"new epoch": func(t *rapid.T) {
				to := f.newEpoch(rapid.Uint64Range(0, 20).Draw(t, "offset"))
				f.topics.Gap(fedTopic, to)
				if f.live {
					f.given = append(f.given, element{position: to, marker: true})
				}
			},
			"wait": func(t *rapid.T) {
				f.now = f.now.Add(time.Duration(rapid.IntRange(1, 8).Draw(t, "seconds")) * time.Second)
				f.topics.Sweep()
				if !f.live || f.limits.Age == 0 {
					return
				}
				if held, _ := f.held(t); len(held) > 0 && f.now.Sub(held[0].time) >= f.limits.Age {
					t.Fatalf("a message is %v old, the limit is %v", f.now.Sub(held[0].time), f.limits.Age)
				}
			},
			"pin":     f.pin,
			"prepend": f.prepend,
			"join":    f.join,
			"release": func(t *rapid.T) {
				p := f.drawPin(t)
				f.removePin(p)
				before := f.detached
				p.pin.Release()
				p.pin.Release()
				f.left(t, before)
			},
			"abandon": func(t *rapid.T) {
				p := f.drawPin(t)
				p.pin.Abandon()
				p.covered, p.moved = false, true
			},
			"leave": func(t *rapid.T) {
				if len(f.readers) == 0 {
					t.Skip("no reader")
				}
				i := rapid.IntRange(0, len(f.readers)-1).Draw(t, "reader")
				r := f.readers[i]
				f.readers = append(f.readers[:i], f.readers[i+1:]...)
				before := f.detached
				f.topics.Leave(r.topic, r.listener)
				f.left(t, before)
			},
			"close": func(t *rapid.T) {
				if got := f.topics.Close(fedTopic); got == (f.live && f.inUse()) {
					t.Fatalf("Close = %v with %d pins and %d readers", got, len(f.pins), len(f.readers))
				} else if got {
					f.live = false
				}
			},
			"read": func(t *rapid.T) {
				for _, r := range f.readers {
					for range rapid.IntRange(0, 10).Draw(t, "entries") {
						r.read(t, f)
					}
				}
			},
			"": func(t *rapid.T) {
				if !f.live {
					return
				}
				held, _ := f.held(t)
				for _, p := range f.pins {
					if p.moved && (p.pin.Covered() || p.pin.Lag() != 0 || p.pin.Position() != f.head()) {
						t.Fatalf("an abandoned pin is covered, keeps something, or is at %v; want the head %v", p.pin.Position(), f.head())
					}
				}
				for _, r := range f.readers {
					r.checkNewest(t, f, len(held) > 0)
				}
			},
		})
		f.end(t)
	})
}

// end reads and releases everything that is left, and checks that nothing remains.
func (f *fed) end(t *rapid.T) {
	for _, r := range f.readers {
		for r.read(t, f) {
		}
		f.topics.Leave(r.topic, r.listener)
	}
	for _, p := range f.pins {
		p.pin.Release()
	}
	if !f.topics.Close(fedTopic) {
		t.Fatal("the topic does not close")
	}
	if s := f.topics.Stats(); s.Bytes != 0 || s.FrameBytes != 0 || s.Topics != 0 {
		t.Fatalf("a closed topic leaves %+v", s)
	}
}

// left checks that Detach is called when the last pin or reader leaves.
func (f *fed) left(t *rapid.T, before int) {
	want := before
	if !f.inUse() {
		want++
	}
	if f.detached != want {
		t.Fatalf("Detach was called %d times, want %d", f.detached-before, want-before)
	}
}
