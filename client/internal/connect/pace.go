package connect

import "time"

// A Pace keeps the commands of a connection below the server's rate. After a pause it allows as
// many commands at once as the server takes in a second.
type Pace struct {
	interval time.Duration // between two commands in the long run
	next     time.Time     // when the next command is due in the long run
}

// NewPace returns the pace for a server that takes so many commands per second. It stays a
// tenth below, because the network may bring commands closer together.
func NewPace(perSecond int) Pace {
	return Pace{interval: time.Second * 10 / 9 / time.Duration(perSecond)}
}

// Wait returns how long to wait before the next command; 0: not at all.
func (p *Pace) Wait() time.Duration { return max(time.Second, time.Until(p.next)) - time.Second }

// Take counts a command that is sent now.
func (p *Pace) Take() {
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(p.interval)
}
