package client

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// farewellTimeout is how long Close waits for the server to close as well.
const farewellTimeout = time.Second

// serve runs a session until it ends or ctx does, and returns why. Commands are
// sent by it alone, so their order is its own; a goroutine that it waits for
// reads.
func (c *Client) serve(ctx context.Context, s *session) error {
	if s.socket == nil {
		return c.serveStreams(ctx, s)
	}
	c.begin(s)
	held, end := context.WithCancel(ctx) // for as long as there is somebody to command
	var err error
	var reading sync.WaitGroup
	reading.Go(func() {
		defer end()
		err = c.read(ctx, s)
	})
	hurry := c.sendCommands(ctx, held, s)
	reading.Wait()
	hurry.Stop()
	s.end()
	c.begin(nil)
	return err
}

// begin makes s the session in which everything is to be asked for; nil: there
// is none.
func (c *Client) begin(s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.gone = s, nil
	for _, i := range c.subscriptions {
		i.asked, i.live, i.deferred, i.renewed, i.moved, i.list = nil, false, false, false, false, listAsked
	}
}

// sendCommands sends commands as they become necessary, until held ends or one cannot be
// sent. The session has ended then, or ends when the timer that it returns fires at
// the latest: what the server has sent before is read until then, for it may be why.
func (c *Client) sendCommands(ctx, held context.Context, s *session) *time.Timer {
	alive := time.NewTicker(s.ping)
	defer alive.Stop()
	var again <-chan time.Time
	for {
		err := c.command(held, s)
		if again == nil && c.anyDeferred() {
			again = time.After(c.delay(s.attempts))
			s.attempts++
		}
		if err == nil {
			select {
			case <-c.wake:
				continue
			case <-again:
				again = nil
				c.undefer()
				continue
			case <-alive.C:
				// Pings are read in their turn, behind what a slow subscriber has not
				// taken: then the server has to hear by other means that we live.
				if time.Since(time.Unix(0, s.pinged.Load())) <= s.ping*3/2 {
					continue
				}
				if err = s.write(&command{Type: "ping"}); err == nil {
					continue
				}
			case <-held.Done():
			}
		}
		hurry := time.AfterFunc(farewellTimeout, func() { s.cut(err) })
		if ctx.Err() != nil {
			_ = s.socket.Close(websocket.StatusNormalClosure, "") // it ends, whether or not the server hears that
		}
		return hurry
	}
}

// command sends what is to be commanded. What needs a token that cannot be had is
// put off, and what is subscribed to goes on.
func (c *Client) command(ctx context.Context, s *session) error {
	for {
		next, tokenless := c.next(s)
		switch {
		case tokenless:
			if _, _, err := c.tokens.get(ctx); err != nil {
				c.putOff(err)
			}
		case next == nil:
			return nil
		default:
			if err := s.write(next); err != nil {
				return err
			}
		}
	}
}

// next returns the next command; nil: there is nothing to do, or a token has to be
// asked for first.
func (c *Client) next(s *session) (next *command, tokenless bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.gone); n > 0 {
		n = fitting(s.limits, 0, n, func(at int) int { return 2*len(c.gone[at]) + memberBytes })
		s.ids++
		leaving := &command{Type: "unsubscribe", ID: s.ids, Topics: c.gone[:n:n]}
		c.gone = c.gone[n:]
		return leaving, false
	}
	type terms struct {
		last             int
		latest, presence bool
	}
	var batch []*topicSubscription
	var of terms
	all := c.sortedLocked()
	for _, i := range all {
		t := terms{i.last, i.latest, i.presence}
		if i.position.Epoch != "" {
			t.last = 0 // it goes on from its position
		}
		if i.asked == s || i.deferred || len(batch) > 0 && t != of {
			continue
		}
		batch, of = append(batch, i), t
	}
	listed := slices.IndexFunc(all, func(i *topicSubscription) bool { return i.asked == s && i.live && i.list == listWanted })
	if len(batch) == 0 && listed < 0 {
		return nil, false
	}
	token, generation, holds := c.tokens.cached()
	if !holds {
		return nil, true
	}
	if len(batch) == 0 {
		return s.list(all[listed], token), false
	}
	batch = batch[:fitting(s.limits, len(token), len(batch), func(at int) int {
		return 4*len(batch[at].topic) + len(batch[at].position.Epoch) + memberBytes
	})]
	s.ids++
	next = &command{Type: "subscribe", ID: s.ids, Last: of.last, Since: map[pubsub.Topic]string{}, Presence: of.presence, Token: string(token)}
	if of.latest {
		next.Mode = "latest"
	}
	for _, i := range batch {
		if i.asked = s; i.position.Epoch != "" {
			next.Since[i.topic] = i.position.String()
		}
		i.live, i.generation = false, generation
		next.Topics = append(next.Topics, i.topic)
	}
	s.pending[s.ids] = batch
	return next, false
}

// list returns the question who is present. The client's mu is held.
func (s *session) list(i *topicSubscription, token Token) *command {
	i.list = listAsked
	s.ids++
	s.listing[s.ids] = i
	return &command{Type: "presence", ID: s.ids, Topic: i.topic, Token: string(token)}
}

const (
	// memberBytes is more than a topic takes in a command besides its name, which
	// JSON at most doubles, and its epoch: quotes, commas, an offset.
	memberBytes = 40
	// frameBytes is more than a command takes without topics and token.
	frameBytes = 256
)

// fitting returns how many of n topics fit into a command beside a token, at
// least one.
func fitting(l limits, token, n int, size func(at int) int) int {
	n = min(n, l.TopicsPerCommand)
	room := l.Command - frameBytes - token
	for at := range n {
		if room -= size(at); room < 0 {
			return max(at, 1)
		}
	}
	return n
}

// putOff puts off what needs a token, for there is none.
func (c *Client) putOff(err error) {
	c.log.Info("trying again later", "error", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.subscriptions {
		if i.asked == nil {
			i.deferred = true
		}
		if i.list == listWanted {
			i.list = listDelayed
		}
	}
}

func (c *Client) anyDeferred() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.subscriptions {
		if i.deferred || i.list == listDelayed {
			return true
		}
	}
	return false
}

func (c *Client) undefer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.subscriptions {
		if i.deferred = false; i.list == listDelayed {
			i.list = listWanted
		}
	}
}
