package server_test

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Two topics with the same 32-bit FNV-1a hash, which identified topics in cursors of
// version 1.
const (
	one   pubsub.Topic = "costarring"
	other pubsub.Topic = "liquid"
)

// recovered returns what the beginning of a stream says about each topic.
func recovered(t *testing.T, s *servertest.Server, since string, topics ...pubsub.Topic) map[pubsub.Topic]rawclient.Object {
	t.Helper()
	path := "/stream?since=" + since + "&token=" + s.Token(auth.Subscribe, topics...)
	for _, topic := range topics {
		path += "&topic=" + string(topic)
	}
	r, err := s.HTTP.Get(s.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	line, err := bufio.NewReader(r.Body).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	hello, err := rawclient.ParseObject(line)
	if err != nil {
		t.Fatal(err)
	}
	begins := make(map[pubsub.Topic]rawclient.Object)
	if err := json.Unmarshal(hello.Topics, &begins); err != nil || hello.Type != "hello" {
		t.Fatalf("the stream begins with %s, %v", line, err)
	}
	return begins
}

// The position of one topic in a cursor is not used for another.
func TestCursorsTellTopicsApart(t *testing.T) {
	s := servertest.Start(t, nil)
	both := "/poll?topic=costarring&topic=liquid"
	first := mustRead(t, s, both, one, other).Cursor
	for i := range 3 {
		s.Broadcast(one, fmt.Sprint("one", i))
		s.Broadcast(other, fmt.Sprint("other", i))
	}
	a := mustRead(t, s, both+"&since="+first, one, other)
	if !a.Recovered || a.texts() != "one0 one1 one2 other0 other1 other2" {
		t.Errorf("a poll of both: %+v", a)
	}
	if topics := recovered(t, s, first, one, other); !topics[one].Recovered || topics[one].Replay != 3 || !topics[other].Recovered || topics[other].Replay != 3 {
		t.Errorf("a stream of both: %+v", topics)
	}

	alone := mustRead(t, s, "/poll?topic=costarring", one).Cursor
	s.Broadcast(other, "more")
	if a := mustRead(t, s, "/poll?topic=liquid&since="+alone, other); !a.Recovered || a.texts() != "" {
		t.Errorf("a poll with the cursor of the other topic: %+v; want it to begin", a)
	}
	if topic := recovered(t, s, alone, other)[other]; topic.Replay != 0 {
		t.Errorf("a stream with the cursor of the other topic: %+v; want it to begin", topic)
	}
}

// A cursor of version 1 is accepted. One of an unknown version or epoch covers nothing, and
// a malformed one is refused.
func TestCursorsOfOtherVersions(t *testing.T) {
	s := servertest.Start(t, nil)
	begun, err := pubsub.ParsePosition(s.Broadcast("a", "seen"))
	if err != nil {
		t.Fatal(err)
	}
	s.Broadcast("a", "missed")
	encode := base64.RawURLEncoding.EncodeToString
	hash := fnv.New32a()
	hash.Write([]byte("a"))
	version1 := func(epoch string) string {
		return encode(binary.AppendUvarint(hash.Sum(append([]byte{byte(len(epoch))}, epoch...)), begun.Offset))
	}
	for _, c := range []struct {
		name, cursor string
		recovered    bool
		replay       int
	}{
		{"version 1", version1(begun.Epoch), true, 1},
		{"version 1 of another epoch", version1("E"), false, 0},
		{"version 4", encode([]byte("\x84any bytes")), false, 0},
		{"version 63", encode([]byte{0xbf}), false, 0},
	} {
		if a := mustRead(t, s, "/poll?topic=a&wait=0&since="+c.cursor, "a"); a.Recovered != c.recovered || len(a.Messages) != c.replay {
			t.Errorf("%s: a poll returned %+v", c.name, a)
		}
		if a := recovered(t, s, c.cursor, "a")["a"]; a.Recovered != c.recovered || a.Replay != c.replay {
			t.Errorf("%s: a stream begins with %+v", c.name, a)
		}
	}
	token := s.Token(auth.Subscribe, "a")
	for _, malformed := range []string{"*", "g", "gwF", encode([]byte("\x82")), encode([]byte("\xc0E")), version1(begun.Epoch) + "=", version1(begun.Epoch)[:len(version1(begun.Epoch))-4], version1(strings.Repeat("E", 65))} {
		for _, path := range []string{"/poll", "/events", "/stream"} {
			if a := read(s.HTTP, s.URL, "GET", path+"?topic=a&since="+malformed+"&token="+token); a.status != 400 || a.Code != pubsub.Malformed {
				t.Errorf("GET %s since %q: %d %s, want 400", path, malformed, a.status, a.Code)
			}
		}
	}
}
