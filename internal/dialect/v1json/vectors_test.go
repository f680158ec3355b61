package v1json

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/answer"
	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/wire"
)

type commandVector struct {
	Name, Input string
	Parsed      map[string]any
}

func commandFiles(t testing.TB) map[string]vectors.File[commandVector] {
	all := make(map[string]vectors.File[commandVector])
	for _, name := range vectors.Files(t, "command*.json") {
		all[name] = vectors.Load[commandVector](t, name)
	}
	return all
}

func TestCommandVectors(t *testing.T) {
	for file, all := range commandFiles(t) {
		for _, v := range all.Valid {
			c, err := parse([]byte(v.Input))
			if err != nil {
				t.Errorf("%s: %s: %v", file, v.Name, err)
				continue
			}
			if got := parsed(t, c); !reflect.DeepEqual(got, v.Parsed) {
				t.Errorf("%s: %s: %v, want %v", file, v.Name, got, v.Parsed)
			}
		}
		for _, v := range all.Invalid {
			want := noID
			if v.ID != nil {
				want = commandID(*v.ID)
			}
			if c, err := parse([]byte(v.Input)); err == nil || err.Code != v.Code || c.ID != want {
				t.Errorf("%s: %s: id %d, %v; want %d, %s", file, v.Name, c.ID, err, want, v.Code)
			}
		}
	}
}

// parsed returns c in the form of the vectors.
func parsed(t *testing.T, c command) map[string]any {
	t.Helper()
	p := map[string]any{"type": map[verb]string{verbSubscribe: "subscribe", verbUnsubscribe: "unsubscribe", verbUnsubscribeAll: "unsubscribe",
		verbBroadcast: "broadcast", verbPresence: "presence", verbAuth: "auth", verbHistory: "history", verbPing: "ping"}[c.Verb]}
	if c.ID != noID {
		p["id"] = c.ID
	}
	if c.Verb == verbSubscribe || c.Verb == verbUnsubscribe {
		names, patterns := wire.SplitPatterns(c.Topics)
		if p["topics"] = append([]pubsub.Topic{}, names...); c.Patterns {
			p["patterns"] = append([]string{}, patterns...)
		}
		refused := make(map[string]pubsub.Code)
		for _, r := range c.Refused {
			refused[r.Topic] = r.Err.Code
		}
		if len(refused) > 0 {
			p["refused"] = refused
		}
	}
	switch c.Verb {
	case verbSubscribe:
		p["token"], p["last"], p["mode"] = c.Token, c.Last, "all"
		if c.Latest {
			p["mode"] = "latest"
		}
		if c.Presence {
			p["presence"] = true
		}
		since := make(map[pubsub.Topic]string)
		for topic, position := range c.Since {
			since[pubsub.Topic(topic.Shown())] = position.String()
		}
		if len(since) > 0 {
			p["since"] = since
		}
	case verbBroadcast:
		p["token"], p["topic"], p["message"] = c.Token, c.Topic, json.RawMessage(c.Body.Data)
		if !c.Body.JSON {
			p["message"] = string(c.Body.Data)
		}
		if c.Key != "" {
			p["key"] = c.Key
		}
		if c.NoEcho {
			p["echo"] = false
		}
	case verbPresence:
		p["token"], p["topic"] = c.Token, c.Topic
	case verbAuth:
		p["token"] = c.Token
	case verbHistory:
		p["token"], p["topic"], p["limit"] = c.Token, c.Topic, c.Limit
		if since, ok := c.Since[c.Topic]; ok {
			p["since"] = since.String()
		}
	}
	var plain map[string]any
	if err := json.Unmarshal(vectors.Marshal(t, p), &plain); err != nil {
		t.Fatal(err)
	}
	return plain
}

// objectOf returns the server's frame for the meaning of a vector.
func objectOf(t *testing.T, f *vectors.Object) []byte {
	t.Helper()
	id, topic := noID, pubsub.Topic(f.Topic)
	if f.ID != nil {
		id = commandID(*f.ID)
	}
	if f.Type == "gap" && f.Pattern != "" {
		topic = pubsub.Pattern(f.Pattern).Topic()
	}
	switch f.Type {
	case "welcome":
		return appendWelcome(nil, welcomeObject{Connection: f.Connection, Version: f.Version, PingSeconds: f.Ping,
			Limits: welcomeLimits{MessageBytes: f.Limits["message"], CommandBytes: f.Limits["command"], Topics: f.Limits["topics"],
				TopicsPerCommand: f.Limits["topicsPerCommand"], CommandsPerSecond: f.Limits["commandsPerSecond"]}})
	case "subscribed":
		var refused []refusedTopic
		for _, name := range slices.Sorted(maps.Keys(f.Refused)) {
			r := f.Refused[name]
			refused = append(refused, refusedTopic{Topic: name, Err: &pubsub.Error{Code: r.Code, Detail: r.Message}})
		}
		return appendSubscribed(nil, id, f.Beginnings(t), refused)
	case "unsubscribed":
		var topics []pubsub.Topic
		if err := json.Unmarshal(f.Topics, &topics); err != nil {
			t.Fatal(err)
		}
		if f.Code == "" {
			return appendUnsubscribed(nil, id, topics, f.PatternList(t))
		}
		for _, p := range f.PatternList(t) {
			topics = append(topics, pubsub.Pattern(p).Topic())
		}
		return wire.AppendUnsubscribed(nil, topics, f.Code)
	case "position":
		return wire.AppendPatternPosition(nil, pubsub.Pattern(f.Pattern), vectors.Position(t, f.Position))
	case "broadcasted":
		return appendBroadcasted(nil, id, topic, vectors.Position(t, f.Position))
	case "authenticated":
		return appendAuthenticated(nil, id, time.Unix(f.Expires, 0))
	case "history":
		return f.Page(t, appendHistoryStart(nil, id, topic), f.PageEnd(t))
	case "pong":
		return appendPong(nil, id)
	case "error":
		return appendError(nil, id, &pubsub.Error{Code: f.Code, Detail: f.Message})
	case "bye":
		return wire.AppendBye(nil, f.Code, time.Duration(f.After)*time.Millisecond)
	case "skipped":
		return wire.AppendSkipped(nil, topic, vectors.Position(t, f.From), vectors.Position(t, f.To))
	case "gap":
		return wire.AppendGap(nil, topic, vectors.Position(t, f.Position))
	case "join":
		return appendPresenceEvent(nil, &pubsub.PresenceEvent{Topic: topic, Kind: pubsub.PresenceJoin, Members: f.MembersOf()})
	case "leave":
		return appendPresenceEvent(nil, &pubsub.PresenceEvent{Topic: topic, Kind: pubsub.PresenceLeave, Members: f.MembersOf()})
	case "presence":
		return presenceOf(id, f.Presence())
	case "message":
		return wire.AppendMessage(nil, f.MessageOf(t))
	}
	t.Fatalf("no frame has the type %q", f.Type)
	return nil
}

func TestFrameVectors(t *testing.T) {
	for _, name := range append(vectors.Files(t, "frame-*.json"), "message.json") {
		if name == "frame-hello.json" {
			continue // Package httpstream tests it.
		}
		all := vectors.Load[vectors.Bytes](t, name)
		for _, v := range all.Valid {
			f := vectors.Read(t, v.Value)
			if got := string(objectOf(t, &f)); got != v.Frame {
				t.Errorf("%s: %s: %s, want %s", name, v.Name, got, v.Frame)
			}
			if err := vectors.CheckObject([]byte(v.Frame), ""); err != nil {
				t.Errorf("%s: %s: %v", name, v.Name, err)
			}
		}
		vectors.CheckInvalid(t, name, all.Invalid, func(input string) error { return vectors.CheckObject([]byte(input), "") })
	}
}

// presenceOf returns the answer to a presence command or, without an ID, the event.
func presenceOf(id commandID, p *pubsub.PresenceEvent) []byte {
	if id == noID {
		kind := pubsub.PresenceCount
		if p.Members != nil {
			kind = pubsub.PresenceList
		}
		return appendPresenceEvent(nil, &pubsub.PresenceEvent{Topic: p.Topic, Kind: kind, Members: p.Members, Count: p.Count, Subscribers: p.Subscribers})
	}
	a := answer.ForMembers(appendPresenceStart(nil, id, p), p.Members, []byte(wire.PresenceEnd))
	return a.Append(nil, a.Len()+answer.MinRoom)
}
