package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A speaker is a client of the JSON protocol with its welcome.
type speaker struct {
	*servertest.Client
	t    *testing.T
	name string // name of its connection
}

// times matches values that differ in each run.
var times = regexp.MustCompile(`"time":\d+|"(position|from|to)":"[A-Z0-9]+:|"connection":"[0-9a-f]{16}"`)

// connectJSON opens a WebSocket whose token allows both scopes on topics.
func connectJSON(t *testing.T, s *servertest.Server, token string) *speaker {
	t.Helper()
	c, _, err := websocket.Dial(t.Context(), s.URL+"/ws", &websocket.DialOptions{Subprotocols: []string{"notiflux.v1.json", "notiflux.token." + token}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	c.SetReadLimit(1 << 20)
	j := &speaker{Client: s.Client(c), t: t}
	var welcome struct{ Type, Connection string }
	if err := json.Unmarshal([]byte(j.Next()), &welcome); err != nil || welcome.Type != "welcome" {
		t.Fatalf("welcomed with %+v, %v", welcome, err)
	}
	j.name = welcome.Connection
	return j
}

// exchange sends a command, and checks that these frames arrive, with times as 0 and epochs
// as E.
func (j *speaker) exchange(say string, want ...string) {
	j.t.Helper()
	if say != "" {
		j.Say(say)
	}
	for _, w := range want {
		got := times.ReplaceAllStringFunc(j.Next(), func(s string) string {
			name, _, _ := strings.Cut(s, ":")
			if name == `"time"` {
				return `"time":0`
			}
			return name + `:"E:`
		})
		if got != w {
			j.t.Fatalf("after %.60s: received\n%.200s\nwant\n%.200s", say, got, w)
		}
	}
}

// both returns a token with both scopes.
func both(s *servertest.Server, sub string, topics ...pubsub.Topic) string {
	return s.Sign(auth.Grant{Subject: sub, Scopes: []auth.Scope{auth.Subscribe, auth.Broadcast}, Topics: topics})
}

// broadcast posts a body; headers are pairs of name and value.
func broadcast(t *testing.T, s *servertest.Server, body string, headers ...string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequest("POST", s.URL+"/broadcast", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := s.HTTP.Do(r)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return res.StatusCode, string(bytes.TrimSpace(data))
}

// A publisher that fills its share of the memory for keys can still publish without a key,
// and does not affect others with a key.
func TestOnePublisherLeavesRoomForKeysOfOthers(t *testing.T) {
	servertest.NeedsMemory(t, "it bounds what keys take")
	s := servertest.Start(t, func(c *config.Serve) { c.MaxKeyBytes = 100 * config.KiB })
	one, other := "Bearer "+both(s, "one", "a"), "Bearer "+both(s, "other", "a")
	var status int
	var answer string
	for i := 0; i < 2000 && status != http.StatusServiceUnavailable; i++ {
		status, answer = broadcast(t, s, fmt.Sprintf(`{"topic":"a","message":1,"key":"%d"}`, i), "Authorization", one)
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(answer, "over_capacity") {
		t.Errorf("with many keys: %d %s", status, answer)
	}
	if status, answer := broadcast(t, s, `{"topic":"a","message":1}`, "Authorization", one); status != http.StatusOK {
		t.Errorf("without a key: %d %s", status, answer)
	}
	for i := range 20 {
		if status, answer := broadcast(t, s, fmt.Sprintf(`{"topic":"a","message":1,"key":"other %d"}`, i), "Authorization", other); status != http.StatusOK {
			t.Errorf("another publisher: %d %s", status, answer)
		}
	}
	speaker := connectJSON(t, s, both(s, "third", "a"))
	speaker.Say(`{"type":"broadcast","id":1,"topic":"a","message":1,"key":"k"}`)
	if answer := speaker.Next(); !strings.Contains(answer, "broadcasted") {
		t.Errorf("over a WebSocket: %s", answer)
	}
}

// If fifty publishers use one key at the same time, in every form of publishing, the
// message is published once, and all of them get its position.
func TestOneKeyOfManyPublishers(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(nil)
		token := both(s, "u", "t", "other")
		listener := connectJSON(t, s, token)
		other := s.Subscribe("other")
		listener.exchange(`{"type":"subscribe","topics":["t"]}`, fmt.Sprintf(`{"type":"subscribed","topics":{"t":{"position":"E:%d","recovered":true,"replay":0}}}`, s.Head("t").Offset))
		const publishers, forms = 50, 5
		var speakers [publishers]*speaker
		for i := range speakers {
			if i%forms == 0 {
				speakers[i] = connectJSON(t, s, token)
			}
		}
		position := regexp.MustCompile(`"topic":"t","position":"([^"]+)"`)
		bearer := []string{"Authorization", "Bearer " + token}
		for round := range 5 {
			var positions [publishers]string
			message := fmt.Sprintf(`"message":{"round":%d}`, round)
			key := fmt.Sprintf(`"key":"k%d"`, round)
			begin := make(chan struct{})
			var wg sync.WaitGroup
			for i := range positions {
				wg.Go(func() {
					<-begin
					var answer string
					switch i % forms {
					case 0:
						speakers[i].Say(`{"type":"broadcast","topic":"t",` + message + `,` + key + `}`)
						answer = speakers[i].Next()
					case 1:
						_, answer = broadcast(t, s, `{"topic":"t",`+message+`,`+key+`}`, bearer...)
					case 2:
						_, answer = broadcast(t, s, `{"topic":"t",`+message+`}`, append(bearer, "Idempotency-Key", fmt.Sprint("k", round))...)
					case 3:
						_, answer = broadcast(t, s, `{"topics":["other","t"],`+message+`,`+key+`}`, bearer...)
					case 4:
						_, answer = broadcast(t, s, `[{"topic":"t",`+message+`,`+key+`},{"topic":"t",`+message+`,`+key+`}]`, bearer...)
					}
					if m := position.FindStringSubmatch(answer); m != nil {
						positions[i] = m[1]
					} else {
						t.Errorf("publisher %d: %s", i, answer)
					}
				})
			}
			close(begin)
			wg.Wait()
			for i, p := range positions {
				if p != positions[0] {
					t.Errorf("publisher %d got %s, another one %s", i, p, positions[0])
				}
			}
			_, offset, _ := strings.Cut(positions[0], ":")
			listener.exchange("", `{"type":"message","topic":"t","position":"E:`+offset+`","time":0,"data":{"round":`+fmt.Sprint(round)+`}}`)
			other.Expect(fmt.Sprintf(`{"round":%d}`, round))
			if status, answer := broadcast(t, s, `{"topic":"t","message":"another",`+key+`}`, bearer...); status != 409 || !strings.Contains(answer, `"code":"key_reused"`) {
				t.Errorf("another message with the key: %d %s", status, answer)
			}
			if status, answer := broadcast(t, s, `[{"topic":"t","message":"another",`+key+`},{"topic":"other",`+message+`,`+key+`}]`, bearer...); status != 207 ||
				!strings.HasPrefix(answer, `[{"topic":"t","error":{"code":"key_reused",`) || !strings.Contains(answer, `},{"topic":"other","position":`) {
				t.Errorf("another message in a list: %d %s", status, answer)
			}
		}
		listener.exchange(`{"type":"broadcast","topic":"t","message":"other","key":"k0"}`,
			`{"type":"error","code":"key_reused","message":"this key was used for a different message: use a new key for each message","retry":false}`)
		if got := metric(t, s, "notiflux_messages_total"); got != "10" { // in each round one to t and one to other
			t.Errorf("%s messages were ordered, want 10", got)
		}
	})
}

// A list is published in order. An excluded client does not get a message that others get,
// in any dialect, live or replayed.
func TestBatchesAreDeliveredInOrder(t *testing.T) {
	onBothLoops(t, func(t *testing.T, start starter) {
		s := start(func(c *config.Serve) {
			if servertest.Remote() {
				c.HistoryMessages = 1000 // a lost push is read again
			}
		})
		token := both(s, "u", "a", "b")
		c, other, text := connectJSON(t, s, token), connectJSON(t, s, token), s.Subscribe("a", "b")
		begin := s.Head("a").Offset
		for _, j := range []*speaker{c, other} {
			j.exchange(`{"type":"subscribe","topics":["a"]}`, fmt.Sprintf(`{"type":"subscribed","topics":{"a":{"position":"E:%d","recovered":true,"replay":0}}}`, begin))
		}
		message := func(offset uint64, data string) string {
			return fmt.Sprintf(`{"type":"message","topic":"a","position":"E:%d","time":0,"data":%s}`, offset, data)
		}
		var elements []string
		for i := range 1000 {
			element := fmt.Sprintf(`{"topic":"a","message":%d}`, i)
			if i%2 == 1 {
				element = fmt.Sprintf(`{"topic":"a","message":%d,"exclude":%q}`, i, c.name)
			}
			elements = append(elements, element)
		}
		status, answer := broadcast(t, s, "["+strings.Join(elements, ",")+"]", "Authorization", "Bearer "+token)
		var published []struct{ Topic, Position string }
		if err := json.Unmarshal([]byte(answer), &published); err != nil || status != 200 || len(published) != 1000 {
			t.Fatalf("%d %.100s, %v", status, answer, err)
		}
		var texts, all, some []string
		last := begin
		for i, p := range published {
			at, err := pubsub.ParsePosition(p.Position)
			if err != nil || at.Offset <= last {
				t.Fatalf("message %d has the position %s after %d, %v", i, p.Position, last, err)
			}
			last = at.Offset
			all, texts = append(all, message(last, fmt.Sprint(i))), append(texts, fmt.Sprint(i))
			if i%2 == 0 {
				some = append(some, all[i])
			}
		}
		other.exchange("", all...)
		c.exchange("", some...)
		text.Expect(texts...)
		c.Say(`{"type":"broadcast","topic":"a","message":"quiet","echo":false}`)
		quiet := c.Next()
		at := s.Head("a").Offset
		if want := fmt.Sprintf(`{"type":"broadcasted","topic":"a","position":"E:%d"}`, at); times.ReplaceAllString(quiet, `"position":"E:`) != want || at <= last {
			t.Errorf("received %s, want %s", quiet, want)
		}
		other.exchange("", message(at, `"quiet"`))
		c.exchange(`{"type":"unsubscribe"}`, `{"type":"unsubscribed","topics":["a"]}`)
		_, offset, _ := strings.Cut(published[990].Position, ":")
		c.exchange(`{"type":"subscribe","topics":["a"],"since":{"a":"`+published[990].Position+`"}}`,
			append([]string{`{"type":"subscribed","topics":{"a":{"position":"E:` + offset + `","recovered":true,"replay":4}}}`}, some[496:]...)...)
		status, answer = broadcast(t, s, `{"topics":["a","b"],"message":"both"}`, "Authorization", "Bearer "+token)
		if want := fmt.Sprintf(`[{"topic":"a","position":"%v"},{"topic":"b","position":"%v"}]`, s.Head("a"), s.Head("b")); status != 200 || answer != want {
			t.Errorf("two topics: %d %s, want %s", status, answer, want)
		}
		text.Expect("quiet", "both", "both")
		if status, _ := broadcast(t, s, "["+strings.Repeat(`{"topic":"a","message":1},`, 1000)+`{"topic":"a","message":1}]`, "Authorization", "Bearer "+token); status != 413 {
			t.Errorf("1,001 messages: %d, want 413", status)
		}
	})
}
