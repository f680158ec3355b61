package redis

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// maxCall and maxCallBytes limit the messages of one call of publish.lua, because Redis
	// does nothing else meanwhile.
	maxCall      = 64
	maxCallBytes = 256 << 10
)

// A publishing is a call of Publish.
type publishing struct {
	ps       []pubsub.Publication
	deadline time.Time
	then     func(error)
}

var (
	errKeyReused = pubsub.Errorf(pubsub.KeyReused, "this key was used for a different message: use a new key for each message")
	errRefused   = pubsub.Errorf(pubsub.Unavailable, "the broker cannot store messages now: try again later")
	errUnknown   = pubsub.Errorf(pubsub.OutcomeUnknown, "the broker did not answer, so the message may have been published: if it had a key, publish it again with the same key")
)

// Publish implements [remote.Store].
func (s *store) Publish(ps []pubsub.Publication, deadline time.Time, then func(error)) {
	if s.over {
		then(remote.ErrNotSent)
		return
	}
	s.publishes <- publishing{ps, deadline, then} // This never blocks: the node has at most one request in flight.
}

// publishAll publishes until ctx ends.
func (s *store) publishAll(ctx context.Context) {
	l := s.link()
	defer l.close()
	for {
		select {
		case p := <-s.publishes:
			s.publish(ctx, l, p)
		case <-ctx.Done():
			return
		}
	}
}

// failPublishes refuses the request that is left, if there is one.
func (s *store) failPublishes() {
	select {
	case p := <-s.publishes:
		p.then(remote.ErrNotSent)
	default:
	}
}

// publish publishes the messages of one request, in as many calls as they need.
func (s *store) publish(ctx context.Context, l *link, p publishing) {
	var open []*pubsub.Publication
	for i := range p.ps {
		if p.ps[i].Err == nil {
			open = append(open, &p.ps[i])
		}
	}
	ctx, cancel := context.WithDeadline(ctx, p.deadline)
	defer cancel()
	for len(open) > 0 {
		n := callSize(open)
		err := s.publishCall(ctx, l, open[:n], p.deadline)
		for _, p := range open[:n] {
			switch {
			case p.Err != nil || err == nil:
			case notSent(err):
				p.Err = errRefused
			default:
				p.Err = errUnknown
			}
		}
		if open = open[n:]; err != nil {
			s.config.Log.Debug("the broker did not publish", "err", err)
			for _, p := range open {
				p.Err = errRefused
			}
			break
		}
	}
	s.node.Post(func() { p.then(nil) })
}

// callSize returns how many publications fit into one call, at least 1.
func callSize(ps []*pubsub.Publication) int {
	bytes := 0
	for i, p := range ps {
		if bytes += len(p.Body.Data); i == maxCall || i > 0 && bytes > maxCallBytes {
			return i
		}
	}
	return len(ps)
}

// publishCall runs publish.lua, and sets the outcome of each publication.
func (s *store) publishCall(ctx context.Context, l *link, ps []*pubsub.Publication, deadline time.Time) error {
	keys := []string{s.key("m")}
	arguments := args(s.redisTime(deadline), s.config.Messages, s.config.Age.Milliseconds(), keyTime.Milliseconds(), int(headTime.Seconds()))
	for _, p := range ps {
		head, body, digest := s.key("h:"+string(p.Topic)), encodeBody(p.Body), ""
		keys = append(keys, head, s.key("t:"+string(p.Topic)))
		if p.Key == "" {
			keys = append(keys, head)
		} else {
			keys = append(keys, s.key("k:"+string(p.Topic)+"\x00"+p.Key))
			sum := sha256.Sum256([]byte(body))
			digest = base64.RawURLEncoding.EncodeToString(sum[:16])
		}
		arguments = append(arguments, s.channel("c", string(p.Topic)), strconv.FormatUint(uint64(p.Exclude), 10), digest, body)
	}
	a, err := s.run(ctx, l, publishScript, keys, arguments)
	switch {
	case err != nil:
		return err
	case a.epoch == late:
		return errLate
	case len(a.rest) != len(ps):
		return errAnswer
	}
	for i, p := range ps {
		text, err := redis.String(a.rest[i], nil)
		if err != nil {
			return errAnswer
		}
		if text == "reused" {
			p.Err = errKeyReused
			continue
		}
		epoch, digits, keyed := strings.Cut(text, ":")
		if !keyed {
			epoch, digits = a.epoch, text
		}
		at, err := strconv.ParseUint(digits, 10, 64)
		if err != nil {
			return errAnswer
		}
		p.Position = pubsub.Position{Epoch: epoch, Offset: at}
	}
	return nil
}

// errLate is the error of a request that Redis got after its deadline.
var errLate = errors.New("redis: the request came after its deadline")

// notSent reports whether a call that failed with err cannot have published anything.
func notSent(err error) bool {
	_, dial := errors.AsType[*dialError](err)
	return dial || err == errLate || refusedBeforeWriting(err)
}

// encodeBody returns a body as streams and pushes have it.
func encodeBody(b pubsub.Body) string {
	if b.JSON {
		return "j" + string(b.Data)
	}
	return "s" + string(b.Data)
}

func decodeBody(text string) (pubsub.Body, error) {
	if text == "" || text[0] != 's' && text[0] != 'j' {
		return pubsub.Body{}, errAnswer
	}
	return pubsub.Body{Data: []byte(text[1:]), JSON: text[0] == 'j'}, nil
}
