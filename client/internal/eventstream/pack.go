package eventstream

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

const (
	// maxTopics is how many topics an event stream carries.
	maxTopics = 64
	// maxQuery bounds the address of an event stream: with a long token it still fits
	// into what servers and proxies take as headers.
	maxQuery = 6 << 10
)

// A part is topics that one stream can carry.
type part struct {
	topics     []*topic
	epoch      string // of all positions; empty: there is none
	last       int    // of all without a position; negative: there is none
	queryBytes int
}

// pack divides topics among as few parts as comes easily.
func pack(topics []*topic) (parts []*part) {
	for _, t := range topics {
		at := slices.IndexFunc(parts, func(p *part) bool { return p.fits(t) })
		if at < 0 {
			at = len(parts)
			parts = append(parts, &part{last: -1})
		}
		parts[at].add(t)
	}
	return parts
}

// fits reports whether t can go with the topics of p.
func (p *part) fits(t *topic) bool {
	first := p.topics[0]
	switch {
	case len(p.topics) >= maxTopics,
		first.latest != t.latest, first.token != t.token,
		p.queryBytes+queryBytes(t) > maxQuery:
		return false
	case t.position.Epoch == "":
		return p.last < 0 || p.last == t.last
	}
	return p.epoch == "" || p.epoch == t.position.Epoch
}

func (p *part) add(t *topic) {
	p.topics = append(p.topics, t)
	p.queryBytes += queryBytes(t)
	if t.position.Epoch == "" {
		p.last = t.last
		return
	}
	p.epoch = t.position.Epoch
}

func queryBytes(t *topic) int { return len("&topic=") + len(url.QueryEscape(t.name)) }

// queryOf returns what a stream of topics, which fit into one part, is asked for with.
func queryOf(topics []*topic) url.Values {
	q := url.Values{}
	offsets := map[string]uint64{}
	epoch := ""
	for _, t := range topics {
		q.Add("topic", t.name)
		switch {
		case t.position.Epoch != "":
			epoch, offsets[t.name] = t.position.Epoch, t.position.Offset
		case t.last > 0:
			q.Set("last", strconv.Itoa(t.last))
		}
		if t.latest {
			q.Set("mode", "latest")
		}
	}
	if epoch != "" {
		q.Set("since", wire.StreamCursor(epoch, offsets))
	}
	return q
}
