package fakestore

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
)

// A link is the connection of a node to the store. Requests, answers and pushes
// arrive late or never. The goroutine of the node owns it.
type link struct {
	node   *remote.Node
	random *rand.Rand
	delays time.Duration // Config.Delay

	down        bool // there is no connection
	calls       []*call
	lastCommand time.Time // when the last command arrives
}

// A call is a request to the store that has no answer yet.
type call struct {
	do      func()      // executed at the store
	then    func(error) // called with the answer
	arrived bool        // at the store
	over    bool        // then was called
}

// errCut is the error of a request that the store may have carried out.
var errCut = errors.New("fakestore: the connection to the store was lost")

// delay returns a random transit time. One in ten may be as long as Config.Delay; the
// others are at most a tenth of it.
func (l *link) delay() time.Duration {
	most := l.delays
	if l.random.IntN(10) > 0 {
		most /= 10
	}
	return 1 + time.Duration(l.random.Int64N(int64(most)))
}

// call executes do at the store. It calls then once the answer has arrived, or once it is
// clear that none will. Calls may overtake each other.
func (l *link) call(do func(), then func(error)) {
	l.callAt(time.Now().Add(l.delay()), do, then)
}

// command is like call, but commands arrive in order.
func (l *link) command(do func(), then func(error)) {
	at := time.Now().Add(l.delay())
	if at.Before(l.lastCommand) {
		at = l.lastCommand
	}
	l.lastCommand = at
	l.callAt(at, do, then)
}

func (l *link) callAt(arrival time.Time, do func(), then func(error)) {
	if l.down {
		then(remote.ErrNotSent)
		return
	}
	c := &call{do: do, then: then}
	l.calls = append(l.calls, c)
	l.node.After(time.Until(arrival), func() {
		if c.over {
			return
		}
		c.arrived = true
		do()
		l.node.After(l.delay(), func() {
			if !c.over {
				l.calls = slices.DeleteFunc(l.calls, func(other *call) bool { return other == c })
				c.over = true
				then(nil)
			}
		})
	})
}

// cut loses the connection: all calls fail. Some of those that have not arrived still
// arrive.
func (l *link) cut() {
	l.down = true
	calls := l.calls
	l.calls = nil
	for _, c := range calls {
		c.over = true
		if !c.arrived && l.random.IntN(2) == 0 {
			c.do()
		}
	}
	for _, c := range calls {
		c.then(errCut)
	}
}
