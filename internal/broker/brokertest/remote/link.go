package remote

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"
)

// A link is the connection of a node to the store: a timeline on which requests, answers
// and pushes arrive late, or never. It belongs to that goroutine.
type link struct {
	*timeline
	random *rand.Rand
	delays time.Duration // Config.Delay

	down        bool // there is no connection
	calls       []*call
	lastCommand time.Time // when the last command arrives
}

// A call is a request to the store that has no answer yet.
type call struct {
	do      func()      // at the store
	then    func(error) // with the answer
	arrived bool        // at the store
	over    bool        // then was called
}

var (
	errAway = errors.New("remote: there is no connection to the store")  // A request was not sent.
	errCut  = errors.New("remote: the connection to the store was lost") // It may have been carried out.
)

// delay returns how long something is on its way: seldom as long as it may be.
func (l *link) delay() time.Duration {
	most := l.delays
	if l.random.IntN(10) > 0 {
		most /= 10
	}
	return 1 + time.Duration(l.random.Int64N(int64(most)))
}

// call has do carried out at the store, and calls then once the answer has come, or once
// it is clear that none comes. Calls overtake each other.
func (l *link) call(do func(), then func(error)) {
	l.callAt(time.Now().Add(l.delay()), do, then)
}

// command is call for commands that arrive in order.
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
		then(errAway)
		return
	}
	c := &call{do: do, then: then}
	l.calls = append(l.calls, c)
	l.at(arrival, func() {
		if c.over {
			return
		}
		c.arrived = true
		do()
		l.after(l.delay(), func() {
			if !c.over {
				l.calls = slices.DeleteFunc(l.calls, func(other *call) bool { return other == c })
				c.over = true
				then(nil)
			}
		})
	})
}

// cut loses the connection: calls fail. Of those that have not arrived, some arrive
// nevertheless.
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
