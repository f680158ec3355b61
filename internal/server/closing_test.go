package server_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// messages returns the text messages in the bytes that a server sent, joined from their
// frames, and the code of the close frame after them, or 0.
func messages(t *testing.T, sent []byte) (texts []string, code uint16) {
	t.Helper()
	var text []byte
	for r := bytes.NewReader(sent); code == 0; {
		frame, err := frametest.ReadFrame(r)
		if err != nil {
			return texts, 0
		}
		switch frame.Opcode() {
		case wsframe.Text, wsframe.Continuation:
			if text = append(text, frame.Payload...); frame.Fin() {
				texts, text = append(texts, string(text)), nil
			}
		case wsframe.Close:
			code, _ = wsframe.ParseClose(frame.Payload)
		}
	}
	return texts, code
}

// Every answer that the server has begun arrives complete before its close frame, whether
// large or small, sent in part or not at all.
func TestEveryAnswerComesBeforeTheClose(t *testing.T) {
	for name, c := range map[string]struct{ topic, command, want string }{
		"pong":          {"a", `{"type":"ping","id":7}`, `{"type":"pong","id":7}`},
		"history":       {"a", `{"type":"history","id":7,"topic":"a","token":"TOKEN"}`, `{"type":"history","id":7,`},
		"large history": {"large", `{"type":"history","id":7,"topic":"large","token":"TOKEN"}`, `{"type":"history","id":7,`},
		"presence":      {"a", `{"type":"presence","id":7,"topic":"a","token":"TOKEN"}`, `{"type":"presence","id":7,`},
	} {
		for end, code := range map[string]uint16{string(frametest.Frame(0x83, "")): 1002, string(frametest.Closing(4321, "")): 4321} {
			for _, read := range []int64{0, 1, 100, 1000} { // bytes read before the end
				t.Run(fmt.Sprint(name, " ", code, " ", read), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newBubble(t)
						b.publish("a", "x")
						for range 10 {
							b.publish("large", strings.Repeat("x", 30_000))
						}
						p := b.json()
						p.say(strings.ReplaceAll(c.command, "TOKEN", b.token("a", "large")))
						synctest.Wait()
						p.SetReadDeadline(time.Now().Add(time.Second))
						first, _ := io.ReadAll(io.LimitReader(p, read))
						p.send([]byte(end))
						time.Sleep(time.Second)
						p.SetReadDeadline(time.Now().Add(time.Minute))
						rest, _ := io.ReadAll(p)
						texts, got := messages(t, append(first, rest...))
						if len(texts) != 2 || !strings.HasPrefix(texts[1], c.want) || !strings.HasSuffix(texts[1], "}") || got != code {
							t.Errorf("%d messages before close %d; want the welcome, %s…} and %d", len(texts), got, c.want, code)
						}
						if name == "large history" && len(texts) == 2 && len(texts[1]) < 300_000 {
							t.Errorf("%d bytes of a large answer", len(texts[1]))
						}
					})
				})
			}
		}
	}
}

// An answer delays the close by at most 5 s if its client reads nothing.
func TestAnAnswerThatIsNotReadEndsWithTheClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		b.publish("a", strings.Repeat("x", 100_000))
		p := b.json()
		p.say(`{"type":"history","topic":"a","token":"` + b.token("a") + `"}`)
		synctest.Wait()
		p.send(frametest.Closing(1000, ""))
		time.Sleep(7 * time.Second)
		if n := b.left(); n != 0 {
			t.Errorf("%d sessions remain", n)
		}
	})
}
