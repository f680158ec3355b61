package transport_test

import (
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/frametest"
	"github.com/ikornaselur/notiflux/internal/transport"
)

const second = time.Second

func TestPings(t *testing.T) {
	f := dial(new(transport.Config))
	f.wait(25*second - 1)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), "")
	for n := 1; n <= 4; n++ {
		f.wait(1)
		f.write(1 << 20)
		equal(t, "transcript", f.transcript(), strings.TrimPrefix(strings.Repeat(" | > ping", n), " | "))
		f.read(frame(0x8a, ""), whole)
		f.wait(25*second - 1)
	}
}

func TestPingsAreNotQueued(t *testing.T) {
	f := dial(&transport.Config{PingTimeout: -1})
	f.wait(1000 * second)
	f.read(ping("p"), whole)
	f.write(1)
	equal(t, "transcript", f.transcript(), `> pong "p" | > ping`)
}

func TestSilence(t *testing.T) {
	f := dial(new(transport.Config))
	f.wait(60*second - 1)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), "> ping")
	f.wait(1)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), "end | > ping | > close 4201")
}

func TestAnyByteIsASignOfLife(t *testing.T) {
	for name, in := range map[string][]byte{
		"text": text("a"), "ping": ping(""), "pong": frame(0x8a, ""), "fragments": cat(frame(0x01, ""), frame(0x80, "")),
	} {
		f := dial(new(transport.Config))
		for range 20 {
			f.wait(60*second - 1)
			f.read(in, whole)
			f.write(1 << 20)
		}
		equal(t, name+": Closing()", f.ws.Closing(), false)
		f.wait(60 * second)
		equal(t, name+": Closing()", f.ws.Closing(), true)
	}
}

// Bytes that the server does not read because the application is busy are not silence.
func TestBusyIsNotSilence(t *testing.T) {
	f := dial(new(transport.Config))
	f.busyAfter = true
	f.read(cat(text("a"), text("b")), whole)
	f.wait(1000 * second)
	equal(t, "Closing()", f.ws.Closing(), false)
	f.busyAfter, f.busy = false, false
	f.ws.Resume()
	equal(t, "events", strings.Join(f.events, " | "), `text "a" | text "b"`)
	f.wait(60 * second)
	equal(t, "Closing()", f.ws.Closing(), true)
}

// Time during which the loop was stuck counts neither as the client's silence nor as the
// duration of its message.
func TestStuckLoopClosesNoClient(t *testing.T) {
	stand := func(f *fake, d time.Duration) {
		f.now, f.tick = f.now+d, transport.Never
		f.Arm(f.conn.Tick(f.now))
		f.write(1 << 20)
	}
	for name, in := range map[string][]byte{"nothing": nil, "a message under way": text("hello")[:4]} {
		f := dial(&transport.Config{MessageTimeout: 30 * second})
		f.wait(20 * second)
		f.read(in, whole)
		for range 3 {
			stand(f, 500*second)
			if in != nil {
				break // The message continues.
			}
			f.read(frame(0x8a, ""), whole)
		}
		equal(t, name+": Closing()", f.ws.Closing(), false)
		f.wait(60 * second)
		f.write(1 << 20)
		equal(t, name+": Closing() later", f.ws.Closing(), true)
	}
}

func TestMessageTimeout(t *testing.T) {
	whole := cat(frame(0x01, "hel"), frame(0x80, "lo"))
	for n := 1; n < len(whole); n++ {
		f := dial(new(transport.Config))
		f.wait(3 * second)
		for i := range n { // however slowly it comes
			f.read(whole[i:i+1], bytewise)
			if i == 0 {
				f.wait(9 * second)
			}
		}
		f.wait(second - 1)
		equal(t, "Closing()", f.ws.Closing(), false)
		f.wait(1)
		f.write(1 << 20)
		equal(t, "transcript", f.transcript(), policy)
	}
}

func TestMessageTimeoutIsNotReset(t *testing.T) {
	f := dial(new(transport.Config))
	f.read(frame(0x01, ""), whole)
	for range 3 {
		f.wait(3 * second)
		f.read(cat(frame(0x00, "x"), ping("")), whole)
	}
	f.wait(second)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), "end | "+frametest.Pongs(3, "", "> close 1008"))
}

func TestMessageTimeoutEndsWithTheMessage(t *testing.T) {
	f := dial(new(transport.Config))
	for range 5 {
		f.read(text("hello")[:4], whole)
		f.wait(9 * second)
		f.read(text("hello")[4:], whole)
		f.wait(9 * second)
	}
	equal(t, "Closing()", f.ws.Closing(), false)
}

func TestTimeoutsCanBeOff(t *testing.T) {
	f := dial(&transport.Config{MessageTimeout: -1, PingEvery: -1, PingTimeout: -1})
	f.read(text("hello")[:8], whole)
	f.wait(1e6 * second)
	f.read(text("hello")[8:], whole)
	f.write(1 << 20)
	equal(t, "transcript", f.transcript(), `text "hello"`)
	equal(t, "Tick(1)", f.ws.Tick(1), transport.Never)
}

func TestControlRate(t *testing.T) {
	f := dial(new(transport.Config))
	f.read(repeat(100, ping("")), whole)
	for range 500 {
		f.wait(second / 10)
		f.read(ping(""), whole)
	}
	equal(t, "Closing() at the rate", f.ws.Closing(), false)
	f.wait(50 * second)
	f.read(repeat(100, frame(0x8a, "")), whole)
	equal(t, "Closing() at the burst", f.ws.Closing(), false)
	f.read(ping(""), whole)
	f.write(1 << 20)
	if !strings.HasSuffix(f.transcript(), "> close 1008") {
		t.Errorf("transcript = %s, want close 1008 at its end", f.transcript())
	}
}

func TestTicksReachTheApp(t *testing.T) {
	app := &ticked{fake: dial(new(transport.Config))}
	app.ws.Serve(app)
	app.ws.Arm(3 * second)
	app.wait(9*second + 1)
	equal(t, "ticks", app.at, []time.Duration{3 * second, 6 * second, 9 * second})
	app.ws.Close(nil, 1012, "")
	app.wait(9 * second)
	equal(t, "ticks after the close", len(app.at), 3)
}

// ticked is an application that wants a tick every three seconds.
type ticked struct {
	*fake
	at     []time.Duration
	onTick func()
}

func (a *ticked) Tick(now time.Duration) {
	a.at = append(a.at, now)
	a.conn.Arm(now + 3*second)
	if a.onTick != nil {
		a.onTick()
	}
}
