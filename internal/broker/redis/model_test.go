package redis_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	redigo "github.com/gomodule/redigo/redis"
	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

var (
	modelTopics = []pubsub.Topic{"a", "b", "c"}
	modelKeys   = []string{"", "", "k1", "k2"}
)

// An entry is a message in the stream of a topic.
type entry struct {
	offset, before uint64
	exclude        pubsub.Connection
	topic          pubsub.Topic // in the stream of all topics
	body           string       // as Redis has it
}

// An outcome is the value of an idempotency key.
type outcome struct {
	position pubsub.Position
	body     string
}

// A record is all that Redis has of a topic.
type record struct {
	head            uint64 // 0: it is gone
	headAged, aged  bool   // part of the time of the head, and of the stream, has passed
	stream          bool   // it exists
	entries         []entry
	keys            map[string]outcome
	sinceEpochBegan []entry // all of this epoch, including those that Redis has lost
}

// A state is what Redis has according to the model.
type state struct {
	epoch, replid string // epoch is empty if the hash is gone
	last, began   uint64
	topics        map[pubsub.Topic]*record // and remote.Shard, the stream of all topics

	// Of the stream of all topics.
	asked, announcing bool   // a node has asked for it; that has not ended
	announced         uint64 // 0: it was never asked for
	counted           bool   // bytes and half are there
	bytes, half       uint64
}

func newState() state {
	s := state{topics: make(map[pubsub.Topic]*record)}
	for _, name := range append(modelTopics, remote.Shard) {
		s.topics[name] = &record{keys: make(map[string]outcome)}
	}
	return s
}

func (s state) clone() state {
	topics := make(map[pubsub.Topic]*record)
	for name, r := range s.topics {
		c := *r
		c.entries, c.keys, c.sinceEpochBegan = slices.Clone(r.entries), maps.Clone(r.keys), slices.Clone(r.sinceEpochBegan)
		topics[name] = &c
	}
	s.topics = topics
	return s
}

// texts returns what look must find in Redis.
func (s state) texts() map[string]string {
	all := make(map[string]string)
	if s.epoch != "" {
		all["m"] = "hash ["
		if s.announced > 0 {
			all["m"] += fmt.Sprint("announced ", s.announced, " ")
		}
		all["m"] += fmt.Sprint("began ", s.began)
		if s.counted {
			all["m"] += fmt.Sprint(" bytes ", s.bytes)
		}
		all["m"] += fmt.Sprint(" epoch ", s.epoch)
		if s.counted {
			all["m"] += fmt.Sprint(" half ", s.half)
		}
		all["m"] += fmt.Sprint(" last ", s.last, " replid ", s.replid)
		if s.asked {
			all["m"] += fmt.Sprint(" until ", map[bool]string{true: "later", false: "earlier"}[s.announcing])
		}
		all["m"] += "]"
	}
	age := map[bool]string{true: " aged", false: " new"}
	for name, r := range s.topics {
		if r.head > 0 {
			all["h:"+string(name)] = fmt.Sprint("string ", r.head, age[r.headAged])
		}
		if r.stream {
			text := "stream ["
			for i, e := range r.entries {
				if i > 0 {
					text += " "
				}
				topic := ""
				if name == remote.Shard {
					topic = fmt.Sprintf("t %s ", e.topic)
				}
				text += fmt.Sprintf("[%d-0 [p %d x %d %sd %s]]", e.offset, e.before, e.exclude, topic, e.body)
			}
			all["t:"+string(name)] = text + "]" + age[r.aged]
		}
		for key, a := range r.keys {
			sum := sha256.Sum256([]byte(a.body))
			all["k:"+string(name)+"\x00"+key] = fmt.Sprintf("string %s:%d %s new", a.position.Epoch, a.position.Offset, base64.RawURLEncoding.EncodeToString(sum[:16]))
		}
	}
	return all
}

// raise raises last to the last message of a topic that Redis knows, as each script does
// before it uses the topic. It reports whether it did.
func (s *state) raise(name pubsub.Topic) bool {
	r, before := s.topics[name], s.last
	if s.last = max(s.last, r.head); r.head == 0 && len(r.entries) > 0 {
		s.last = max(s.last, r.entries[len(r.entries)-1].offset)
	}
	return s.last > before
}

// isWhole reports whether the stream of all topics has all messages after its head.
func (m *machine) isWhole() bool {
	return m.epoch != "" && m.replid == m.primary && m.announced > 0 && m.announced == m.last
}

// loseHash forgets what Redis has in the hash.
func (s *state) loseHash() {
	s.epoch, s.asked, s.announcing, s.announced, s.counted, s.bytes, s.half = "", false, false, 0, false, 0, 0
}

// page returns what a read must return: the newest messages of the range that hang together,
// and the offset after which they do.
func (s *state) page(name pubsub.Topic, q remote.Range) (entries []entry, from uint64) {
	r, after := s.topics[name], q.After.Offset
	switch {
	case q.After.Epoch == "", q.After.Epoch != s.epoch && q.Whole:
		after = 0
	case q.After.Epoch != s.epoch:
		after = s.began
	case after > s.last:
		after = 0
	}
	// link is the offset of the message that must come next, going backwards.
	link := r.head
	if link == 0 { // any message up to the last one may have been one of this topic
		link = s.last
	}
	for _, e := range slices.Backward(r.entries) {
		switch {
		case e.offset <= after || q.Newest == 0:
		case e.offset > q.Until:
			link = e.before
			continue
		case e.offset == link && len(entries) < q.Newest:
			entries, link = append(entries, e), e.before
			continue
		}
		break
	}
	slices.Reverse(entries)
	return entries, max(after, link)
}

// A sight is what the test sees after an action.
type sight struct {
	time   uint64 // of Redis, in the unit of offsets
	keys   map[string]string
	hash   map[string]uint64 // last and began
	epoch  string
	pushes []string // channel and text of each, in order
}

// A rig is a server, and the connections that watch it.
type rig struct {
	server     *redistest.Server
	conn       redigo.Conn
	subscriber redigo.PubSubConn
	looks      int
}

func newRig(t *testing.T) *rig {
	r := &rig{server: redistest.Start(t)}
	dial := func() redigo.Conn {
		c, err := redigo.Dial("tcp", r.server.Addr, redigo.DialReadTimeout(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	r.conn, r.subscriber = dial(), redigo.PubSubConn{Conn: dial()}
	if err := r.subscriber.PSubscribe("*"); err != nil {
		t.Fatal(err)
	}
	if err, ok := r.subscriber.Receive().(error); ok {
		t.Fatal(err)
	}
	return r
}

// lookScript returns the time, and then each key with its type, its value and its time to
// live. A message in the channel "looked" tells the subscriber that it has all pushes.
var lookScript = redigo.NewScript(0, `
local time = redis.call('TIME')
local all = {(time[1] - 1735689600) * 1000000 + time[2]}
local get = {string = {'GET'}, hash = {'HGETALL'}, list = {'LRANGE', 0, -1}, stream = {'XRANGE', '-', '+'}}
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local kind = redis.call('TYPE', key).ok
  local command = get[kind]
  all[#all + 1] = {string.sub(key, #ARGV[1] + 1), kind, redis.call(command[1], key, unpack(command, 2)), redis.call('PTTL', key)}
end
redis.call('PUBLISH', 'looked', ARGV[2])
return all`)

// flat returns the text of a reply of Redis.
func flat(reply any) string {
	switch v := reply.(type) {
	case []any:
		var all []string
		for _, x := range v {
			all = append(all, flat(x))
		}
		return "[" + strings.Join(all, " ") + "]"
	case []byte:
		return string(v)
	}
	return fmt.Sprint(reply)
}

// look returns what Redis has under a prefix, and the pushes since the last look.
func (r *rig) look(prefix string) (s sight, err error) {
	r.looks++
	reply, err := redigo.Values(lookScript.Do(r.conn, prefix, r.looks))
	if err != nil {
		return s, err
	}
	s.time = uint64(reply[0].(int64))
	s.keys, s.hash = make(map[string]string), make(map[string]uint64)
	for _, x := range reply[1:] {
		v := x.([]any)
		key, kind, ttl := flat(v[0]), flat(v[1]), time.Duration(v[3].(int64))*time.Millisecond
		switch {
		case kind == "hash":
			fields, _ := redigo.StringMap(v[2], nil)
			s.epoch = fields["epoch"]
			s.hash["last"], _ = redigo.Uint64([]byte(fields["last"]), nil)
			s.hash["began"], _ = redigo.Uint64([]byte(fields["began"]), nil)
			if until, err := redigo.Uint64([]byte(fields["until"]), nil); err == nil {
				fields["until"] = map[bool]string{true: "later", false: "earlier"}[until > s.time]
			}
			var parts []any
			for _, name := range slices.Sorted(maps.Keys(fields)) {
				parts = append(parts, []byte(name), []byte(fields[name]))
			}
			s.keys[key] = kind + " " + flat(parts)
		default:
			s.keys[key] = kind + " " + flat(v[2])
		}
		full := map[byte]time.Duration{'h': redis.HeadTimeForTest, 't': historyAge, 'k': redis.KeyTimeForTest}[key[0]]
		switch { // There is room for a test that stalls.
		case ttl < 0:
		case ttl > full:
			s.keys[key] += " too new"
		case ttl > full/2:
			s.keys[key] += " new"
		default:
			s.keys[key] += " aged"
		}
	}
	for {
		switch v := r.subscriber.Receive().(type) {
		case error:
			return s, v
		case redigo.Message:
			if v.Channel != "looked" {
				s.pushes = append(s.pushes, v.Channel+" "+string(v.Data))
			} else if string(v.Data) == fmt.Sprint(r.looks) {
				return s, nil
			}
		}
	}
}

// A machine runs the scripts, and changes the model as they must change Redis.
type machine struct {
	state
	*rig
	*rapid.T
	prefix   string
	messages int // that a stream keeps
	scripts  redis.ScriptsForTest
	ctx      context.Context

	primary  string            // replication id of Redis
	time     uint64            // of Redis at the last look
	wrong    string            // a key of the wrong type
	seen     []pubsub.Position // positions that a node may ask for
	epochs   map[string]uint64 // the largest offset that was assigned in each epoch
	snapshot *snapshot         // that a replica has
}

// A snapshot is what a replica has that lags behind.
type snapshot struct {
	state
	keys map[string][2]any // time to live, and dump
}

// fail fails the test. The details are logged: rapid recognizes a failure by its text, and
// offsets differ from run to run.
func (m *machine) fail(what, format string, args ...any) {
	m.Helper()
	m.Logf(format, args...)
	m.Fatal(what)
}

// do runs a command of Redis.
func (m *machine) do(command string, args ...any) any {
	m.Helper()
	reply, err := m.conn.Do(command, args...)
	if err != nil {
		m.fail("command", "%s %v: %v", command, args, err)
	}
	return reply
}

func (m *machine) look() sight {
	m.Helper()
	s, err := m.rig.look(m.prefix)
	if err != nil {
		m.fail("look", "%v", err)
	}
	return s
}

// refused reports whether a script must fail because a key that it uses has the wrong type,
// and checks that it does.
func (m *machine) refused(err error, keys ...string) bool {
	m.Helper()
	want := slices.Contains(append(keys, "m"), m.wrong)
	e, is := errors.AsType[redigo.Error](err)
	if wrong := is && strings.HasPrefix(e.Error(), "WRONGTYPE"); wrong != want || err != nil && !wrong && err != redis.ErrLateForTest {
		m.fail("error", "%v, with a key of the wrong type: %q", err, m.wrong)
	}
	return want
}

// between checks a number that is the larger one of floor and the time of the script.
func (m *machine) between(what string, got, floor uint64, s sight) {
	m.Helper()
	if low, high := max(floor, m.time), max(floor, s.time); got < low || got > high {
		m.fail(what, "%s is %d, want %d to %d", what, got, low, high)
	}
}

// begin changes the state if a script must begin an epoch. It reports whether it must.
func (m *machine) begin(s sight) bool {
	m.Helper()
	if m.epoch != "" && m.replid == m.primary {
		return false
	}
	if _, used := m.epochs[s.epoch]; used || s.epoch == "" {
		m.fail("epoch", "the epoch is %q, want a new one", s.epoch)
	}
	if m.epoch == "" {
		m.last = 0
	}
	m.between("began", s.hash["began"], m.last, s)
	m.epoch, m.replid, m.last, m.began, m.epochs[s.epoch] = s.epoch, m.primary, s.hash["began"], s.hash["began"], 0
	for _, r := range m.topics {
		r.sinceEpochBegan = nil
	}
	return true
}

// compare compares Redis with the model, and what was pushed with what must be.
func (m *machine) compare(s sight, pushes ...string) {
	m.Helper()
	m.time = s.time
	want := m.texts()
	if m.wrong != "" {
		want[m.wrong] = "list [1]"
	}
	for key := range maps.Keys(want) {
		if s.keys[key] != want[key] {
			m.Logf("key %q is %q, want %q", key, s.keys[key], want[key])
		}
	}
	for key := range maps.Keys(s.keys) {
		if _, ok := want[key]; !ok {
			m.Logf("key %q is %q, want none", key, s.keys[key])
		}
	}
	if !maps.Equal(s.keys, want) {
		m.fail("keys", "Redis differs from the model")
	}
	if !slices.Equal(s.pushes, pushes) {
		m.fail("pushes", "Redis pushed %q, want %q", s.pushes, pushes)
	}
}

// draw is an index into something that has n elements, however many these are.
func (m *machine) draw(n int, label string) int {
	return rapid.IntRange(0, 999).Draw(m.T, label) % n
}

func (m *machine) drawTopic() pubsub.Topic { return rapid.SampledFrom(modelTopics).Draw(m.T, "topic") }

func (m *machine) publish() {
	var ps []pubsub.Publication
	var touched []string
	for range rapid.IntRange(1, 4).Draw(m.T, "messages") {
		p := pubsub.Publication{
			Topic: m.drawTopic(), Key: rapid.SampledFrom(modelKeys).Draw(m.T, "key"),
			Exclude: pubsub.Connection(rapid.IntRange(0, 2).Draw(m.T, "exclude")),
			Body:    pubsub.Body{Data: []byte(rapid.SampledFrom([]string{"", "x", "a b-0 1"}).Draw(m.T, "data")), JSON: rapid.Bool().Draw(m.T, "json")},
		}
		ps = append(ps, p)
		touched = append(touched, "h:"+string(p.Topic), "t:"+string(p.Topic))
		if p.Key != "" {
			touched = append(touched, "k:"+string(p.Topic)+"\x00"+p.Key)
		}
	}
	if m.announcing {
		touched = append(touched, shardKeys...)
	}
	late := rapid.IntRange(0, 9).Draw(m.T, "late") == 9
	deadline := time.Now().Add(time.Hour)
	if late {
		deadline, touched = time.Now().Add(-time.Hour), nil
	}
	err := m.scripts.Publish(m.ctx, ps, deadline)
	s := m.look()
	if m.refused(err, touched...) || late {
		if (err == redis.ErrLateForTest) != late && m.wrong == "" {
			m.fail("late", "Publish = %v, late: %v", err, late)
		}
		m.compare(s)
		return
	}
	if err != nil {
		m.fail("publish", "Publish = %v", err)
	}
	whole := m.isWhole()
	first := !m.begin(s) // The first offset may be the time.
	for _, p := range ps {
		whole = !m.raise(p.Topic) && whole
	}
	all := m.topics[remote.Shard]
	if m.announcing {
		if whole = !m.raise(remote.Shard) && whole; !whole || all.head == 0 {
			m.beginShard()
			m.bytes, m.half = 0, 0
		}
		all.headAged, m.counted = false, true
	}
	var pushes []string
	for i := range ps {
		if push := m.accept(&ps[i], first, s); push != "" {
			pushes, first = append(pushes, push), false
			if m.announcing {
				pushes = append(pushes, m.announceOne(&ps[i]))
			} else {
				whole = false
				all.sinceEpochBegan = append(all.sinceEpochBegan, entry{offset: m.last})
			}
		}
	}
	if all.aged = all.aged && !m.announcing; m.announcing || whole {
		m.announced = m.last
	}
	m.compare(s, pushes...)
}

// shardKeys are the keys of the stream of all topics.
var shardKeys = []string{"h:" + string(remote.Shard), "t:" + string(remote.Shard)}

// halfBytes is how much a half of that stream has.
const halfBytes = 650

// announceOne puts a message that was accepted into the stream of all topics. It returns what must be
// pushed.
func (m *machine) announceOne(p *pubsub.Publication) string {
	r, all := m.topics[p.Topic], m.topics[remote.Shard]
	e := r.sinceEpochBegan[len(r.sinceEpochBegan)-1]
	e.before, e.topic = all.head, p.Topic
	all.head, all.stream = e.offset, true
	all.sinceEpochBegan = append(all.sinceEpochBegan, e)
	if m.bytes += uint64(len(e.topic) + len(e.body) + 200); m.bytes > halfBytes {
		for len(all.entries) > 0 && all.entries[0].offset < m.half {
			all.entries = all.entries[1:]
		}
		m.bytes, m.half = 0, e.offset
	}
	all.entries = append(all.entries[:len(all.entries):len(all.entries)], e)
	return fmt.Sprintf("%sc:0:%s %s %d %d %d %s\x00%s", m.prefix, remote.Shard, m.epoch, e.offset, e.before, e.exclude, e.topic, e.body)
}

// announce asks for the stream of all topics.
func (m *machine) announce() {
	head, end, err := m.scripts.Announce(m.ctx)
	s := m.look()
	if m.refused(err, shardKeys...) {
		m.compare(s)
		return
	}
	m.ask(s)
	all := m.topics[remote.Shard]
	if head != (pubsub.Position{Epoch: m.epoch, Offset: all.head}) || end != (pubsub.Position{Epoch: m.epoch, Offset: m.last}) {
		m.fail("announce", "Announce = %v, %v, want %d and %d", head, end, all.head, m.last)
	}
	m.seen = append(m.seen, end)
	m.compare(s)
}

// ask is what announce.lua does to the state.
func (m *machine) ask(s sight) {
	whole := m.isWhole()
	m.begin(s)
	all := m.topics[remote.Shard]
	if whole = !m.raise(remote.Shard) && whole; !whole || all.head == 0 {
		m.beginShard()
	}
	all.headAged, m.asked, m.announcing, m.announced = false, true, true, m.last
}

// beginShard makes the stream of all topics begin anew.
func (s *state) beginShard() {
	all := s.topics[remote.Shard]
	all.head, all.stream, all.aged, all.entries = s.last, false, false, nil
}

// lapse makes the time end for which a node has asked for the stream of all topics.
func (m *machine) lapse() {
	if !m.announcing {
		m.Skip()
	}
	m.do("HSET", m.prefix+"m", "until", 1)
	m.announcing = false
}

// accept checks the outcome of a publication, and changes the state. It returns what must be
// pushed, if anything. If first, the script may have assigned its time as offset.
func (m *machine) accept(p *pubsub.Publication, first bool, s sight) string {
	m.Helper()
	r, body := m.topics[p.Topic], "s"+string(p.Body.Data)
	if p.Body.JSON {
		body = "j" + string(p.Body.Data)
	}
	if a, known := r.keys[p.Key]; known {
		switch {
		case a.body != body && p.Err != broker.ErrKeyReused:
			m.fail("key reused", "outcome %v, %v, want that the key was used for another message", p.Position, p.Err)
		case a.body == body && (p.Err != nil || p.Position != a.position):
			m.fail("key known", "outcome %v, %v, want %v", p.Position, p.Err, a.position)
		}
		return ""
	}
	if p.Err != nil || p.Position.Epoch != m.epoch {
		m.fail("outcome", "outcome %v, %v, want the epoch %v", p.Position, p.Err, m.epoch)
	}
	offset := p.Position.Offset
	if first {
		m.between("offset", offset, m.last+1, s)
	} else if offset != m.last+1 {
		m.fail("offset", "offset is %d, want %d", offset, m.last+1)
	}
	if offset <= m.epochs[m.epoch] {
		m.fail("reuse", "offset is %d after %d in the same epoch", offset, m.epochs[m.epoch])
	}
	e := entry{offset: offset, before: r.head, exclude: p.Exclude, body: body}
	if r.head == 0 {
		e.before = m.last
	}
	m.last, m.epochs[m.epoch], m.seen = offset, offset, append(m.seen, p.Position)
	r.head, r.headAged, r.stream, r.aged = offset, false, true, false
	r.sinceEpochBegan = append(r.sinceEpochBegan, e)
	r.entries = append(r.entries, e)
	r.entries = r.entries[max(0, len(r.entries)-m.messages):]
	if p.Key != "" {
		r.keys[p.Key] = outcome{p.Position, body}
	}
	return fmt.Sprintf("%sc:0:%s %s %d %d %d %s", m.prefix, p.Topic, m.epoch, offset, e.before, e.exclude, body)
}

func (m *machine) heads() {
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(modelTopics), 1, len(modelTopics), rapid.ID).Draw(m.T, "topics")
	var touched []string
	for _, name := range names {
		touched = append(touched, "h:"+string(name))
		if m.topics[name].head == 0 {
			touched = append(touched, "t:"+string(name))
		}
	}
	got, err := m.scripts.Heads(m.ctx, names)
	s := m.look()
	if !m.refused(err, touched...) {
		m.begin(s)
		for _, name := range names {
			m.raise(name)
		}
		for _, name := range names {
			r := m.topics[name]
			if r.head == 0 {
				r.head = m.last
			}
			r.headAged = false
			if want := (pubsub.Position{Epoch: m.epoch, Offset: max(r.head, m.began)}); got[name] != want {
				m.fail("head", "the head of %s is %v, want %v", name, got[name], want)
			}
			m.seen = append(m.seen, got[name])
		}
	}
	m.compare(s)
}

// drawRange returns a range to read of a topic.
func (m *machine) drawRange(name pubsub.Topic) remote.Range {
	q := remote.Range{
		Until: remote.Last, Whole: rapid.Bool().Draw(m.T, "whole"),
		Newest: rapid.SampledFrom([]int{remote.All, remote.All, 0, 1, 2, 3}).Draw(m.T, "newest"),
	}
	switch rapid.IntRange(0, 5).Draw(m.T, "after") {
	case 0: // no position
	case 1:
		q.After = pubsub.Position{Epoch: m.epoch, Offset: m.last - 2 + uint64(rapid.IntRange(2, 4).Draw(m.T, "beyond"))}
	case 2:
		q.After = pubsub.Position{Epoch: "other", Offset: m.last + 10}
	default:
		if n := len(m.seen); n > 0 {
			q.After = m.seen[n-1-m.draw(n, "seen")]
		}
	}
	if entries := m.topics[name].entries; len(entries) > 0 && rapid.Bool().Draw(m.T, "limited") {
		q.Until = entries[m.draw(len(entries), "until")].offset - 1 + uint64(rapid.IntRange(0, 2).Draw(m.T, "beside"))
	}
	return q
}

func (m *machine) read() {
	name := m.drawTopic()
	if m.wrong == "" && rapid.IntRange(0, 2).Draw(m.T, "all") == 0 {
		name = remote.Shard
	}
	q := m.drawRange(name)
	touched := []string{"h:" + string(name)}
	if q.Newest != 0 || m.topics[name].head == 0 {
		touched = append(touched, "t:"+string(name))
	}
	got, err := m.scripts.Read(m.ctx, name, q)
	s := m.look()
	if m.refused(err, touched...) {
		m.compare(s)
		return
	}
	if name == remote.Shard {
		m.ask(s)
	}
	began, before := m.begin(s), m.last
	m.raise(name)
	last := m.last
	entries, from := m.page(name, q)
	r := m.topics[name]
	creates := r.head == 0 && q.Newest == remote.All && q.Until == remote.Last && !q.Whole // as a follower that catches up
	if creates {
		r.head, r.headAged = last, false
	}
	if !began && !creates {
		m.last = before // Only a script that writes anyway notes it.
	}
	// Beyond the range, nothing is missing.
	if got.Epoch != m.epoch || got.Last != last || min(got.From, q.Until) != min(from, q.Until) || len(got.Messages) != len(entries) {
		m.fail("page", "Read(%q, %+v) = %+v, want last %d, from %d and %v", name, q, got, last, from, entries)
	}
	for i, e := range entries {
		x := got.Messages[i]
		topic := name
		if name == remote.Shard {
			topic = e.topic
		}
		if text := string(x.Body.Data); x.Topic != topic || x.Position != (pubsub.Position{Epoch: m.epoch, Offset: e.offset}) || x.Exclude != e.exclude || x.Body.JSON != (e.body[0] == 'j') || text != e.body[1:] {
			m.fail("message", "Read(%q, %+v) has %+v, want %+v", name, q, x, e)
		}
	}
	// Whatever Redis has lost: all messages of the epoch that are in the range are there.
	for _, e := range m.topics[name].sinceEpochBegan {
		if in := e.offset > got.From && e.offset <= q.Until; in && !slices.Contains(entries, e) {
			m.fail("lost", "Read(%q, %+v) = %+v hides the loss of %+v", name, q, got, e)
		}
	}
	m.seen = append(m.seen, pubsub.Position{Epoch: got.Epoch, Offset: got.From})
	m.compare(s)
}

func (m *machine) probe() {
	channel, epoch, err := m.scripts.Probe(m.ctx)
	s := m.look()
	if m.refused(err) {
		m.compare(s)
		return
	}
	if m.begin(s); epoch != m.epoch {
		m.fail("probe", "the probe returned the epoch %q, want %q", epoch, m.epoch)
	}
	m.compare(s, channel+" "+m.epoch)
}

// mistype runs a script while a key has the wrong type.
func (m *machine) mistype() {
	name := string(m.drawTopic())
	if rapid.IntRange(0, 3).Draw(m.T, "all") == 0 {
		name = string(remote.Shard)
	}
	key := rapid.SampledFrom([]string{"m", "h:" + name, "t:" + name, "k:" + name + "\x00k1"}).Draw(m.T, "mistyped")
	_, there := m.texts()[key]
	if there {
		m.do("RENAME", m.prefix+key, "saved")
	}
	m.do("RPUSH", m.prefix+key, 1)
	m.wrong = key
	rapid.SampledFrom([]func(){m.publish, m.publish, m.heads, m.read, m.probe, m.announce}).Draw(m.T, "script")()
	m.wrong = ""
	m.do("DEL", m.prefix+key)
	if there {
		m.do("RENAME", "saved", m.prefix+key)
	}
}

// forget makes Redis forget a head, a stream, an idempotency key, a message, or the hash.
func (m *machine) forget() {
	name := m.drawTopic()
	if rapid.IntRange(0, 3).Draw(m.T, "all") == 0 {
		name = remote.Shard
	}
	r := m.topics[name]
	switch rapid.SampledFrom([]string{"head", "stream", "key", "message", "hash"}).Draw(m.T, "what") {
	case "head":
		m.do("DEL", m.prefix+"h:"+string(name))
		r.head, r.headAged = 0, false
	case "stream":
		m.do("DEL", m.prefix+"t:"+string(name))
		r.stream, r.aged, r.entries = false, false, nil
	case "key":
		key := rapid.SampledFrom(modelKeys[2:]).Draw(m.T, "key")
		m.do("DEL", m.prefix+"k:"+string(name)+"\x00"+key)
		delete(r.keys, key)
	case "message":
		if len(r.entries) == 0 {
			m.Skip()
		}
		i := m.draw(len(r.entries), "message")
		if r.entries[i].offset > m.time { // Redis knows that it existed, but does not tell scripts.
			m.Skip()
		}
		m.do("XDEL", m.prefix+"t:"+string(name), fmt.Sprint(r.entries[i].offset, "-0"))
		r.entries = slices.Delete(slices.Clone(r.entries), i, i+1)
	case "hash":
		m.do("DEL", m.prefix+"m")
		m.loseHash()
	}
}

// wipe makes Redis forget all keys, or those of this test.
func (m *machine) wipe() {
	if rapid.Bool().Draw(m.T, "all") {
		m.do("FLUSHALL")
	} else {
		m.clear()
	}
	m.state = newState()
}

// clear deletes the keys of this test.
func (m *machine) clear() {
	for key := range m.look().keys {
		m.do("DEL", m.prefix+key)
	}
}

// turn gives Redis another replication id, as a restart and a promotion do.
func (m *machine) turn() {
	m.do("DEBUG", "CHANGE-REPL-ID")
	info, _ := redigo.String(m.do("INFO", "replication"), nil)
	_, after, _ := strings.Cut(info, "master_replid:")
	m.primary, _, _ = strings.Cut(after, "\r\n")
}

// setBack makes the last offset one of the future: the clock of Redis is set back.
func (m *machine) setBack() {
	if m.epoch == "" {
		m.Skip()
	}
	m.last += 1e12
	m.do("HSET", m.prefix+"m", "last", m.last)
}

// age lets time pass for the heads and the streams.
func (m *machine) age() {
	for name, r := range m.topics {
		m.do("PEXPIRE", m.prefix+"h:"+string(name), (redis.HeadTimeForTest / 4).Milliseconds())
		m.do("PEXPIRE", m.prefix+"t:"+string(name), (historyAge / 4).Milliseconds())
		r.headAged, r.aged = r.head > 0, r.stream
	}
}

// replicate gives a replica all that Redis has.
func (m *machine) replicate() {
	m.snapshot = &snapshot{m.clone(), make(map[string][2]any)}
	for key := range m.look().keys {
		m.snapshot.keys[key] = [2]any{max(0, m.do("PTTL", m.prefix+key).(int64)), m.do("DUMP", m.prefix+key)}
	}
}

// promote makes the replica the primary. It lacks all that happened since replicate.
func (m *machine) promote() {
	if m.snapshot == nil {
		m.Skip()
	}
	m.clear()
	for key, value := range m.snapshot.keys {
		m.do("RESTORE", m.prefix+key, value[0], value[1])
	}
	m.state = m.snapshot.clone()
	m.turn()
}

// Whatever happens to the keys of Redis, and to Redis: the scripts do what the model does,
// and nothing if a key has the wrong type. If it fails, rapid prints how to run the same
// actions again. For a longer run, use -rapid.checks=5000.
func TestScriptsAgainstModel(t *testing.T) {
	r := newRig(t)
	runs := 0
	for _, messages := range []int{1, 2, 5} {
		t.Run(fmt.Sprintf("history=%d", messages), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				runs++
				runModel(rt, r, fmt.Sprintf("run%d:", runs), messages)
			})
		})
	}
}

func runModel(t *rapid.T, r *rig, prefix string, messages int) {
	m := &machine{
		state: newState(), rig: r, T: t, ctx: t.Context(), prefix: prefix + "{0}:", messages: messages,
		scripts: scripts(r.server, prefix, messages), epochs: make(map[string]uint64),
	}
	m.scripts.ShardBytes(2 * halfBytes)
	defer m.scripts.Close()
	defer m.do("FLUSHALL")
	m.turn()
	m.time = m.look().time
	actions := make(map[string]func(*rapid.T))
	for name, do := range map[string]func(){
		"publish": m.publish, "publish again": m.publish, "publish more": m.publish,
		"heads": m.heads, "read": m.read, "read again": m.read, "read more": m.read, "probe": m.probe,
		"mistype": m.mistype, "forget": m.forget, "wipe": m.wipe, "turn": m.turn, "set back": m.setBack,
		"announce": m.announce, "announce again": m.announce, "lapse": m.lapse,
		"age": m.age, "replicate": m.replicate, "promote": m.promote,
		"forget scripts": func() { m.do("SCRIPT", "FLUSH") },
	} {
		actions[name] = func(t *rapid.T) {
			m.T = t
			do()
		}
	}
	t.Repeat(actions)
}
