package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client"
)

// A slow loop does not delay a fast one on the same connection at all. Its loss is announced once
// for each topic, in its place.
func TestSlowLoopDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		slow := wish{Topics: []string{"a", "b"}, Buffer: 10}.subscribe(c)
		fast := c.Subscribe("a", "b")
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b"]}`)
		p.say(subscribedTo(1, "a", "b"))
		var late time.Duration
		got := make(chan int)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			n := 0
			for event := range fast.Events(ctx) {
				if m, ok := event.(client.Message); ok {
					n++
					var sent int64
					if err := m.Decode(&sent); err != nil {
						t.Error(err)
					}
					late = max(late, time.Since(time.Unix(0, sent)))
				}
			}
			got <- n
		}()
		const n = 500
		for offset := 1; offset <= n; offset++ { // while nobody takes anything of slow
			for _, topic := range []string{"a", "b"} {
				p.say(message(topic, offset, fmt.Sprint(time.Now().UnixNano())))
			}
			time.Sleep(time.Second)
			if offset%20 == 0 {
				if err := p.conn.Ping(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		cancel()
		if got := <-got; got != 2*n || late != 0 {
			t.Errorf("the fast loop had %d of %d messages, up to %v late", got, 2*n, late)
		}

		var events []string
		for len(events) < 12 {
			event, err := slow.Next(t.Context())
			events = append(events, strings.Join(strings.Fields(describe(event, err))[:4], " "))
		}
		want := []string{"subscribed a E:0 0", "subscribed b E:0 0"}
		for offset := 1; offset <= 4; offset++ {
			want = append(want, fmt.Sprintf("message a E:%d", offset), fmt.Sprintf("message b E:%d", offset))
		}
		want = append(want, "lost a E:4 E:500", "lost b E:4 E:500")
		for i := range want {
			if !strings.HasPrefix(events[i], want[i]) {
				t.Errorf("event %d of the slow loop is %q, want %q", i, events[i], want[i])
			}
		}
		p.say(message("a", n+1, "1"))
		if event, err := slow.Next(t.Context()); describe(event, err) != "message a E:501 1" {
			t.Errorf("after the loss came %q", describe(event, err))
		}
		if got := len(f.dials()); got != 1 {
			t.Errorf("%d connections, want 1", got)
		}
	})
}

// Events that arrive while a queue is full are reported later, in the right order.
func TestOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		s := wish{Topics: []string{"a", "b", "c", "d"}, Buffer: 4, Presence: true}.subscribe(c)
		expect := func(want ...string) {
			t.Helper()
			for _, w := range want {
				event, err := s.Next(t.Context())
				if got := describe(event, err); got != w {
					t.Fatalf("got event %q\nwant      %q", got, w)
				}
			}
		}
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a", "b", "c", "d")) // fills the queue
		for id := range 4 {
			p.expect(fmt.Sprintf(`{"type":"presence","id":%d,"topic":%q}`, id+2, string(rune('a'+id))))
		}
		p.say(message("a", 1, "1"),
			`{"type":"gap","topic":"b","position":"E:5"}`,
			message("a", 2, "2"),
			`{"type":"join","topic":"c","member":{"sub":"u1"}}`,
			`{"type":"unsubscribed","topics":["d"],"code":"topic_denied"}`)
		synctest.Wait()
		p.cut()
		p = f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b","c"],"since":{"a":"E:2","b":"E:5","c":"E:0"},"presence":true}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"a":{"position":"E:2","recovered":true,"replay":1},"b":{"position":"F:9","recovered":false,"replay":0},"c":{"position":"E:0","recovered":true,"replay":0}}}`,
			message("a", 3, "3"))
		for range 3 {
			<-p.commands
		}
		synctest.Wait()
		expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false", "subscribed c E:0 0 resumed=false", "subscribed d E:0 0 resumed=false")
		// In the order of the last event of each topic. c was only resumed. The members of
		// all are requested again.
		expect("refused d topic_denied", "disconnected", "lost a E:0 E:3 overflow", "lost b E:0 F:9 gap", "subscribed c E:0 0 resumed=true")
		for id, topic := range []string{"a", "b", "c"} {
			p.expect(fmt.Sprintf(`{"type":"presence","id":%d,"topic":%q}`, id+5, topic))
		}
		p.say(message("a", 4, "4"), `{"type":"message","topic":"b","position":"F:10","time":0,"data":10}`)
		expect("message a E:4 4", "message b F:10 10")
	})
}

// The data of large messages is limited too, but the queue always holds at least one.
func TestOverflowOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.dial(client.Options{}).Subscribe("a")
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		data, _ := json.Marshal(strings.Repeat("x", 3<<20))
		for offset := 1; offset <= 20; offset++ {
			p.say(message("a", offset, string(data)))
		}
		synctest.Wait()
		n := 0
		for {
			event, err := s.Next(t.Context())
			if err != nil {
				if got, want := describe(event, err), "lost a E:5 E:20 overflow"; got != want {
					t.Errorf("got event %q, want %q", got, want)
				}
				break
			}
			if m, ok := event.(client.Message); ok {
				n += len(m.Data)
			}
		}
		if n != 5*3<<20 {
			t.Errorf("%d bytes were held", n)
		}
	})
}

// With Latest, a loop that is behind gets the newest message and learns what was skipped.
func TestLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		s := wish{Topics: []string{"a", "b"}, Latest: true, Buffer: 6}.subscribe(c)
		expect := func(want ...string) {
			t.Helper()
			for _, w := range want {
				event, err := s.Next(t.Context())
				if got := describe(event, err); got != w {
					t.Fatalf("got event %q\nwant      %q", got, w)
				}
			}
		}
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["a","b"],"mode":"latest"}`)
		p.say(subscribedTo(1, "a", "b"), message("a", 1, "1"), message("b", 1, "1"))
		for offset := 2; offset <= 100; offset++ {
			p.say(message("a", offset, fmt.Sprint(offset)))
		}
		p.say(`{"type":"skipped","topic":"b","from":"E:1","to":"E:7"}`, message("b", 8, "8"))
		synctest.Wait()
		expect("subscribed a E:0 0 resumed=false", "subscribed b E:0 0 resumed=false", "skipped a E:0 E:99")
		p.say(message("a", 101, "101")) // the Skipped is taken, its message is not
		synctest.Wait()
		expect("skipped b E:0 E:7", "message b E:8 8", "skipped a E:99 E:100", "message a E:101 101")

		// A message before a gap or a disconnection stays before it.
		p.say(message("a", 102, "102"), `{"type":"gap","topic":"a","position":"E:105"}`, message("a", 106, "106"), message("a", 107, "107"))
		synctest.Wait()
		expect("message a E:102 102", "lost a E:102 E:105 gap", "skipped a E:105 E:106", "message a E:107 107")
		p.say(message("a", 108, "108"), `{"type":"skipped","topic":"a","from":"E:108","to":"E:110"}`, `{"type":"skipped","topic":"a","from":"E:110","to":"E:112"}`)
		synctest.Wait()
		expect("skipped a E:107 E:112")
	})
}

// Every waiting goroutine is woken, and each event is taken once.
func TestNextFromSeveralGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.dial(client.Options{})
		s := c.Subscribe("a")
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		const readers, n = 4, 1000
		taken := make(chan int, readers)
		for range readers {
			go func() {
				n := 0
				for {
					if _, err := s.Next(context.Background()); err != nil {
						taken <- n
						return
					}
					n++
				}
			}()
		}
		for offset := range n {
			p.say(message("a", offset+1, "1"))
		}
		synctest.Wait()
		c.Close()
		sum := 0
		for range readers {
			sum += <-taken
		}
		if sum != n+1 {
			t.Errorf("%d events were taken, want %d", sum, n+1)
		}
	})
}

func TestDecode(t *testing.T) {
	type point struct{ X, Y int }
	var p point
	var text string
	for _, tt := range []struct {
		m    client.Message
		into any
		want string
	}{
		{client.Message{Data: []byte(`{"x":1,"y":2}`), JSON: true}, &p, "&{1 2}"},
		{client.Message{Data: []byte(`{"x":3}`)}, &p, "&{3 2}"}, // JSON that was published as a string
		{client.Message{Data: []byte(`{"x"`)}, &p, "unexpected end of JSON input"},
		{client.Message{Data: []byte(`[]`), JSON: true}, &p, "json: cannot unmarshal array into Go value of type client_test.point"},
	} {
		err := tt.m.Decode(tt.into)
		if got := fmt.Sprint(tt.into); err == nil && got != tt.want || err != nil && err.Error() != tt.want {
			t.Errorf("Decode(%s) = %v, %v; want %s", tt.m.Data, got, err, tt.want)
		}
	}
	if err := (client.Message{Data: []byte(`"quoted"`)}).Decode(&text); err != nil || text != `"quoted"` {
		t.Errorf("Decode of a string = %s, %v", text, err)
	}
	if err := (client.Message{Data: []byte(`1`), JSON: true}).Decode(&text); err == nil {
		t.Errorf("Decode of a number into a string = %s", text)
	}
}

// If a topic was refused and added again while the queue was full, the loop learns of the new
// subscription last.
func TestOverflowKeepsTheLastWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.dial(client.Options{}).SubscribeWith(client.SubscribeOptions{Buffer: 1}, "b", "a")
		p := f.accept()
		p.expect(`{"type":"subscribe","id":1,"topics":["b","a"]}`)
		p.say(`{"type":"subscribed","id":1,"topics":{"b":{"position":"E:0","recovered":true,"replay":0}},"refused":{"a":{"code":"topic_denied","message":"no"}}}`)
		synctest.Wait()
		if err := s.Add("a"); err != nil {
			t.Fatal(err)
		}
		p.expect(`{"type":"subscribe","id":2,"topics":["a"]}`)
		p.say(subscribedTo(2, "a"))
		synctest.Wait()
		var last string
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			event, err := s.Next(ctx)
			cancel()
			if ctx.Err() != nil && err != nil && event == nil && describe(event, err) == "end context deadline exceeded" {
				break
			}
			last = describe(event, err)
		}
		if want := "subscribed a E:0 0 resumed=false"; last != want {
			t.Errorf("the last event is %q, want %q", last, want)
		}
	})
}

// Members count, even those without a name.
func TestMembersFillTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		s := f.dial(client.Options{}).SubscribeWith(client.SubscribeOptions{Presence: true}, "a")
		defer s.Close()
		p := f.accept()
		<-p.commands
		p.say(subscribedTo(1, "a"))
		frame := `{"type":"leave","topic":"a","members":[` + strings.Repeat(`{},`, 50_000) + `{}]}`
		for range 40 {
			p.say(frame)
		}
		synctest.Wait()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc > 48<<20 {
			t.Errorf("40 frames of %d KiB hold %d MiB of memory", len(frame)>>10, m.HeapAlloc>>20)
		}
	})
}
