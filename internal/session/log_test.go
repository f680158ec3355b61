package session_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// The server logs once that it closes a client, with the reason and the client.
func TestEndsAreLogged(t *testing.T) {
	for code, end := range map[pubsub.Code]func(w *world, c *client){
		pubsub.Idle: func(_ *world, c *client) { c.s.Tick(time.Minute) },
		pubsub.TooSlow: func(w *world, c *client) {
			c.exchange(t, []string{`{"type":"subscribe","topics":["a"]}`, `{"type":"subscribed","topics":{"a":{"position":"E:0","recovered":true,"replay":0}}}`})
			for range 10 {
				w.publish("a", "x")
			}
			c.refuse()
			c.s.Tick(0)
		},
		pubsub.TooMany: func(_ *world, c *client) {
			for range 3 {
				c.s.Receive([]byte(`{"type":"ping"}`), false)
			}
		},
	} {
		var log bytes.Buffer
		w := newWorld(t, topic.Limits{Count: 1}, func(c *session.Config) {
			c.MaxLagBytes, c.CommandBurst = 1000, 2
			c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		c := w.connectJSON(t, w.both("a"))
		end(w, c)
		if c.code == 0 || strings.Count(log.String(), "client disconnected by the server") != 1 {
			t.Errorf("%s: close code %d, logged %s", code, c.code, &log)
		}
		for _, want := range []string{"level=DEBUG", "remote=192.0.2.1:1234", "subject=s", "code=" + string(code), "close="} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: logged %s, want %s in it", code, &log, want)
			}
		}
	}
}
