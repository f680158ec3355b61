package server_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// someSections gives topics settings of their own.
func someSections(c *config.Serve) {
	off := new(config.Switch)
	c.HistoryMessages = 5
	c.Sections = []config.Section{
		{Topic: "off:*", History: off},
		{Topic: "off:but", HistoryMessages: new(3)},
		{Topic: "long:*", HistoryMessages: new(20), HistoryAge: new(time.Hour)},
		{Topic: "short", HistoryAge: new(time.Second)},
		{Topic: "small*", MaxMessageBytes: new(config.Bytes(10))},
		{Topic: "quiet*", Presence: off},
	}
}

// eventually waits until check returns "". A remote broker's logs lag behind the answers to
// publishers.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for wrong := check(); wrong != ""; wrong = check() {
		if time.Now().After(deadline) {
			t.Fatal(wrong)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestHistoriesOfSections(t *testing.T) {
	s := servertest.Start(t, someSections)
	for topic, want := range map[pubsub.Topic]int{"off:a": 0, "off:but": 3, "long:a": 20, "other": 5} {
		t.Run(string(topic), func(t *testing.T) {
			path := "/history?topic=" + string(topic)
			token := both(s, "u", topic)
			c := connectJSON(t, s, token)
			ask(t, c.Client, fmt.Sprintf(`{"type":"subscribe","topics":[%q]}`, topic), `"recovered":true,"replay":0}`)
			var positions []string
			for i := range 25 {
				positions = append(positions, s.Broadcast(topic, fmt.Sprint(i)))
				c.Next() // A subscriber gets each message.
			}
			last := positions[24]
			a := mustRead(t, s, path, topic)
			if len(a.Messages) != want || a.Position != last || !a.Recovered {
				t.Errorf("the history has %d messages up to %s, recovered: %v; want %d up to %s", len(a.Messages), a.Position, a.Recovered, want, last)
			}
			// A client that comes back has missed nothing, or only what the history holds, or
			// more.
			for missed := range 25 {
				since := positions[24-missed]
				a, recovered := mustRead(t, s, "/poll?wait=0&topic="+string(topic)+"&since="+since, topic), missed <= want
				if n := len(a.Messages); a.Recovered != recovered || recovered && n != missed || !recovered && n > 0 {
					t.Errorf("a poll that missed %d messages gets %d, recovered: %v; want recovered: %v", missed, n, a.Recovered, recovered)
				}
				back := connectJSON(t, s, token)
				replay := 0
				if recovered {
					replay = missed
				}
				ask(t, back.Client, fmt.Sprintf(`{"type":"subscribe","topics":[%q],"since":{%q:%q}}`, topic, topic, since), fmt.Sprintf(`"recovered":%v,"replay":%d}`, recovered, replay))
				back.CloseNow()
			}
			newest := connectJSON(t, s, token)
			ask(t, newest.Client, fmt.Sprintf(`{"type":"subscribe","topics":[%q],"last":100}`, topic), fmt.Sprintf(`"recovered":true,"replay":%d}`, want))
		})
	}
}

// The age limit of a section is its own.
func TestHistoriesOfSectionsExpire(t *testing.T) {
	s := servertest.Start(t, someSections)
	for _, topic := range []pubsub.Topic{"short", "long:a", "other"} {
		s.Broadcast(topic, "x")
	}
	eventually(t, func() string {
		if n := len(mustRead(t, s, "/history?topic=short", "short").Messages); n != 0 {
			return fmt.Sprintf("short still has %d messages", n)
		}
		return ""
	})
	for _, topic := range []pubsub.Topic{"long:a", "other"} {
		if n := len(mustRead(t, s, "/history?topic="+string(topic), topic).Messages); n != 1 {
			t.Errorf("%s has %d messages, want 1", topic, n)
		}
	}
}

// Each way to publish obeys the message limit of the topic, and names it.
func TestMessageLimitsOfSections(t *testing.T) {
	s := servertest.Start(t, someSections)
	token := both(s, "u", "small", "small:b", "other")
	message := func(topic string, size int) string {
		return fmt.Sprintf(`{"topic":%q,"message":%q}`, topic, strings.Repeat("x", size))
	}
	const tooLarge = `the message has 11 bytes; the limit of the topic \"small\" is 10`
	refused := regexp.MustCompile(`"code":"too_large".*` + regexp.QuoteMeta(tooLarge))
	if status, answer := broadcast(t, s, message("small", 11), "Authorization", "Bearer "+token); status != 413 || !refused.MatchString(answer) {
		t.Errorf("a message of 11 bytes: %d %s", status, answer)
	}
	for _, body := range []string{message("small", 10), message("other", 11), message("other", 64<<10)} {
		if status, answer := broadcast(t, s, body, "Authorization", "Bearer "+token); status != 200 {
			t.Errorf("%.40s: %d %s", body, status, answer)
		}
	}
	if status, answer := broadcast(t, s, message("small", 64<<10+1), "Authorization", "Bearer "+token); status != 413 || !strings.Contains(answer, "the limit is 65536") {
		t.Errorf("a message above both limits: %d %s", status, answer)
	}
	// The topic's limit is no secret, but the token is checked first.
	if status, answer := broadcast(t, s, message("small", 11), "Authorization", "Bearer "+both(s, "u", "other")); status != 403 {
		t.Errorf("a token for another topic: %d %s", status, answer)
	}
	batch := "[" + strings.Join([]string{message("small", 10), message("small", 11), message("other", 11)}, ",") + "]"
	status, answer := broadcast(t, s, batch, "Authorization", "Bearer "+token)
	var outcomes []struct {
		Position string
		Error    struct{ Code pubsub.Code }
	}
	if err := json.Unmarshal([]byte(answer), &outcomes); err != nil || status != 207 || len(outcomes) != 3 ||
		outcomes[0].Position == "" || outcomes[1].Error.Code != pubsub.TooLarge || outcomes[2].Position == "" {
		t.Errorf("a batch: %d %s, %v", status, answer, err)
	}
	topics := fmt.Sprintf(`{"topics":["small","other","small:b"],"message":%q}`, strings.Repeat("x", 11))
	if status, answer := broadcast(t, s, topics, "Authorization", "Bearer "+token); status != 207 || strings.Count(answer, "too_large") != 2 || strings.Count(answer, "position") != 1 {
		t.Errorf("a message to three topics: %d %s", status, answer)
	}
	c := connectJSON(t, s, token)
	c.Say(`{"type":"broadcast","id":1,` + message("small", 11)[1:])
	if got := c.Next(); !strings.HasPrefix(got, `{"type":"error","id":1,`) || !refused.MatchString(got) {
		t.Errorf("over a WebSocket: %s", got)
	}
	ask(t, c.Client, `{"type":"broadcast","id":2,`+message("small", 10)[1:], `{"type":"broadcasted","id":2,`)
	if n := len(mustRead(t, s, "/history?topic=small", "small").Messages); n != 3 {
		t.Errorf("small has %d messages, want 3", n)
	}
}

// Where presence is off, nobody can be present or ask who is. The rest of a command works.
func TestPresenceOfSections(t *testing.T) {
	s := servertest.Start(t, someSections)
	token := both(s, "u", "quiet", "other")
	c := connectJSON(t, s, token)
	const off = `{"code":"presence_off","message":"presence is off for this topic: subscribe without it"}`
	ask(t, c.Client, `{"type":"subscribe","id":1,"topics":["quiet","other"],"presence":true}`, `"recovered":true,"replay":0}},"refused":{"quiet":`+off+`}}`)
	c.exchange("", `{"type":"join","topic":"other","member":{"sub":"u"}}`)
	ask(t, c.Client, `{"type":"subscribe","id":2,"topics":["quiet"]}`, `"recovered":true,"replay":0}}}`)
	ask(t, c.Client, `{"type":"subscribe","id":3,"topics":["quiet"],"presence":true}`, `{"type":"subscribed","id":3,"topics":{},"refused":{"quiet":`+off+`}}`)
	ask(t, c.Client, `{"type":"presence","id":4,"topic":"quiet"}`, `{"type":"error","id":4,"code":"presence_off","message":"presence is off for this topic: subscribe without it","retry":false}`)
	if a := read(s.HTTP, s.URL, "GET", "/presence?topic=quiet", "Authorization", "Bearer "+token); a.status != 403 || a.Code != pubsub.PresenceOff {
		t.Errorf("GET /presence: %d %s", a.status, a.Code)
	}
	if a := read(s.HTTP, s.URL, "GET", "/presence?topic=other", "Authorization", "Bearer "+token); a.status != 200 {
		t.Errorf("GET /presence of another topic: %d %s", a.status, a.Code)
	}
	s.Broadcast("quiet", "still")
	if got := c.Next(); !strings.Contains(got, `"data":"still"`) {
		t.Errorf("a subscriber without presence gets %s", got)
	}
}
