package transport_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// The fate of a client that takes nothing, by what waits and for how long.
func TestAClientThatTakesNothingEnds(t *testing.T) {
	for name, open := range map[string]func(*transport.Config) *fake{
		"WebSocket": dial,
		"stream":    func(cfg *transport.Config) *fake { return stream(cfg, "head") },
	} {
		t.Run(name, func(t *testing.T) {
			stats := new(transport.Stats)
			f := open(&transport.Config{Stats: stats})
			f.stalled = transport.DefaultStallTimeout - 1
			f.conn.Tick(0)
			equal(t, "events before its time", strings.Join(f.events, " "), "")
			f.stalled++
			f.conn.Tick(0)
			equal(t, "events", strings.Join(f.events, " "), "stuck")
			f.conn.Gone()

			f = open(&transport.Config{StallTimeout: -1})
			f.stalled = time.Hour
			f.conn.Tick(0)
			equal(t, "events without a limit", strings.Join(f.events, " "), "")

			f = open(&transport.Config{Stats: stats})
			f.stalled = transport.DefaultCloseTimeout - 1
			f.conn.WillClose()
			f.conn.Tick(0)
			equal(t, "events in a hurry, before its time", strings.Join(f.events, " "), "")
			f.stalled++
			f.conn.Tick(0)
			equal(t, "events in a hurry", strings.Join(f.events, " "), "stuck drop gone")
			equal(t, "Closes()", stats.Closes(), map[wire.CloseCode]uint64{wire.CloseTooSlow: 2})
		})
	}
}

// Over real sockets: a client that reads nothing is closed, one that reads slowly stays.
func TestTakeOverTellsSlowFromStuck(t *testing.T) {
	everyStream(t, func(t *testing.T, s *streams) {
		s.config.StallTimeout, s.config.CloseTimeout, s.config.Stats = 4*time.Second, 100*time.Millisecond, new(transport.Stats)
		much := strings.Repeat("x", 32<<20)
		stuck, unread := s.open(t.Context())
		slow, read := s.open(t.Context())
		s.client.Timeout = 0
		s.send(unread, much)
		s.send(read, much)
		for ended := false; !ended; {
			select {
			case <-s.closed:
				ended = true
			case <-time.After(30 * time.Millisecond):
				if _, err := io.ReadFull(slow.Body, make([]byte, 64<<10)); err != nil {
					t.Fatalf("a client that reads slowly is ended: %v", err)
				}
			}
		}
		equal(t, "Closes()", s.config.Stats.Closes(), map[wire.CloseCode]uint64{wire.CloseTooSlow: 1})
		s.on(func() { read.stream.Close(nil, 1012, "") })
		if _, err := io.Copy(io.Discard, slow.Body); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if n, err := io.Copy(io.Discard, stuck.Body); errors.Is(err, os.ErrDeadlineExceeded) || n >= int64(len(much)) {
			t.Errorf("read %d bytes, %v; want the end of a part", n, err)
		}
	})
}
