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
	// maxQuery bounds the topics in the address of an event stream, in bytes. With a
	// cursor and a long token it still fits into what servers and proxies accept.
	maxQuery = 6 << 10
)

// A part is a set of topics that fit into one stream.
type part struct {
	topics []*topic
	epoch  string // of all positions; empty: no topic has one
	last   int    // of all topics without a position; negative: there are none
	bytes  int    // of the topics in the query
}

// pack divides topics into parts, by first fit.
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

// fits reports whether t can join the topics of p.
func (p *part) fits(t *topic) bool {
	first := p.topics[0]
	switch {
	case len(p.topics) >= maxTopics,
		first.latest != t.latest, first.token != t.token,
		p.bytes+queryBytes(t) > maxQuery:
		return false
	case t.position.Epoch == "":
		return p.last < 0 || p.last == t.last
	}
	return p.epoch == "" || p.epoch == t.position.Epoch
}

func (p *part) add(t *topic) {
	p.topics = append(p.topics, t)
	p.bytes += queryBytes(t)
	if t.position.Epoch == "" {
		p.last = t.last
	} else {
		p.epoch = t.position.Epoch
	}
}

func queryBytes(t *topic) int { return len("&topic=") + len(url.QueryEscape(t.name)) }

// queryOf returns the query of a stream of topics that fit into one part, and the epoch of
// its cursor; empty: it has none.
func queryOf(topics []*topic) (q url.Values, epoch string) {
	q = url.Values{}
	offsets := map[string]uint64{}
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
	return q, epoch
}
