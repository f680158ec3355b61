package server_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// until returns everything up to and including a text.
func until(t *testing.T, r *bufio.Reader, text string) string {
	t.Helper()
	var all strings.Builder
	for !strings.Contains(all.String(), text) {
		c, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%q, then %v; want %q", all.String(), err, text)
		}
		all.WriteByte(c)
	}
	return all.String()
}

// Characters that some programs take for the end of a line are escaped wherever a message
// is JSON, and unchanged in the text protocol.
func TestLineBreaksOfUnicode(t *testing.T) {
	const breaks, escaped = "a\u2028b\u2029c\u0085d", `a\u2028b\u2029c\u0085d`
	s := servertest.Start(t, nil)
	text := s.Subscribe("t")
	object := connectJSON(t, s, both(s, "u\u2028", "t"))
	object.Say(`{"type":"subscribe","topics":["t"]}`)
	object.Next()
	get := func(path string) (*http.Response, *bufio.Reader) {
		r, err := s.HTTP.Get(s.URL + path + "&token=" + s.Token(auth.Subscribe, "t"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Body.Close() })
		return r, bufio.NewReader(r.Body)
	}
	_, events := get("/events?topic=t")
	_, lines := get("/stream?topic=t")

	s.Broadcast("t", breaks)
	s.Broadcast("t", map[string]any{breaks: breaks})
	text.Expect(breaks, `{"`+breaks+`":"`+breaks+`"}`)

	const last = `"data":{"` + escaped + `":"` + escaped + `"}`
	_, history := get("/history?topic=t")
	_, poll := get("/poll?topic=t&last=2")
	for name, got := range map[string]string{
		"JSON":    object.Next() + object.Next(),
		"events":  until(t, events, last),
		"lines":   until(t, lines, last),
		"history": until(t, history, last),
		"poll":    until(t, poll, last),
	} {
		if !strings.Contains(got, `"data":"`+escaped+`"`) || !strings.Contains(got, last) || strings.ContainsAny(got, "\u2028\u2029\u0085") {
			t.Errorf("%s: %q", name, got)
		}
	}
	object.Say(`{"type":"subscribe","topics":["t"],"presence":true}`)
	object.Next()
	if got := object.Next(); !strings.Contains(got, `{"sub":"u\u2028"}`) {
		t.Errorf("presence: %q", got)
	}
}

// Additions that serializers and editors make to JSON have no effect.
func TestNullsAndByteOrderMarks(t *testing.T) {
	s := servertest.Start(t, nil)
	token := both(s, "u", "t")
	start := s.Head("t").Offset
	status, answer := broadcast(t, s, "\ufeff"+`{"topic":"t","message":null,"token":null,"key":null,"exclude":null}`,
		"Authorization", "Bearer "+token, "Content-Type", "application/json; charset=utf8")
	if status != 200 {
		t.Errorf("%d %s", status, answer)
	}
	c := connectJSON(t, s, token)
	c.exchange(`{"type":"subscribe","id":null,"topics":["t"],"token":null,"since":null,"last":1,"mode":null,"presence":null}`,
		fmt.Sprintf(`{"type":"subscribed","topics":{"t":{"position":"E:%d","recovered":true,"replay":1}}}`, start),
		fmt.Sprintf(`{"type":"message","topic":"t","position":"E:%d","time":0,"data":null}`, s.Head("t").Offset))
	c.Say(`{"type":"broadcast","topic":"t","message":null,"key":null,"echo":null,"exclude":null}`)
	if got := c.Next() + c.Next(); !strings.Contains(got, `"data":null`) || !strings.Contains(got, `"type":"broadcasted"`) {
		t.Errorf("received %s", got)
	}
}

// Half an emoji is refused by name, and only in the element that contains it.
func TestHalfAnEmoji(t *testing.T) {
	s := servertest.Start(t, nil)
	bearer := "Bearer " + both(s, "u", "t")
	status, answer := broadcast(t, s, `[{"topic":"t","message":"cut \ud83d"},{"topic":"t","message":"whole \ud83d\ude00"}]`, "Authorization", bearer)
	if status != 207 || strings.Count(answer, "half of a character") != 1 || strings.Count(answer, `"position"`) != 1 {
		t.Errorf("%d %s", status, answer)
	}
	status, answer = broadcast(t, s, `[{"topic":"t","message":"cut \ud83d"},{"topic":"t","message":"whole"}`, "Authorization", bearer)
	if status != 400 {
		t.Errorf("invalid JSON: %d %s", status, answer)
	}
	c := connectJSON(t, s, both(s, "u", "t"))
	c.Say(`{"type":"broadcast","topic":"t","message":"\ud83d","id":7}`)
	if got := c.Next(); !strings.HasPrefix(got, `{"type":"error","id":7,"code":"malformed"`) || !strings.Contains(got, "half of a character") {
		t.Errorf("%s", got)
	}
}
