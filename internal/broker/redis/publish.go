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

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

const (
	// maxCall and maxCallBytes limit the messages of one call of publish.lua, because Redis
	// does nothing else meanwhile.
	maxCall      = 64
	maxCallBytes = 256 << 10
)

var errRefused = pubsub.Errorf(pubsub.Unavailable, "the broker cannot store messages now: try again later")

// Publish implements [remote.Store].
func (s *store) Publish(ps []pubsub.Publication, deadline time.Time, then func(error)) {
	work := func(ctx context.Context) {
		s.publish(ctx, ps, deadline)
		s.node.Post(func() { then(nil) })
	}
	if !s.writer.Submit(work) { // There is room for the one request of the node, so the node is ending.
		then(remote.ErrNotSent)
	}
}

// publish publishes the messages of one request, in as many calls as they need.
func (s *store) publish(ctx context.Context, ps []pubsub.Publication, deadline time.Time) {
	var open []*pubsub.Publication
	for i := range ps {
		if ps[i].Err == nil {
			open = append(open, &ps[i])
		}
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for len(open) > 0 {
		n := callSize(open)
		err := s.publishCall(ctx, open[:n], deadline)
		for _, p := range open[:n] {
			switch {
			case p.Err != nil || err == nil:
			case notSent(err):
				p.Err = errRefused
			default:
				p.Err = remote.ErrUnknown
			}
		}
		if open = open[n:]; err != nil {
			s.config.Log.Debug("the broker did not publish", "err", err)
			for _, p := range open {
				p.Err = errRefused
			}
			return
		}
	}
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
func (s *store) publishCall(ctx context.Context, ps []*pubsub.Publication, deadline time.Time) error {
	keys := append(make([]any, 0, 3+3*len(ps)), shardKeys(s)...)
	arguments := append(make([]any, 0, 7+5*len(ps)), s.redisTime(deadline), s.config.Messages, s.config.Age.Milliseconds(),
		keyTime.Milliseconds(), int(headTime.Seconds()), s.config.shardBytes/2, s.channel(string(remote.Shard)))
	var name pubsub.Topic
	var head, stream, channel, kept any // of name; messages of one topic often come together
	for _, p := range ps {
		if p.Topic != name {
			name = p.Topic
			head, stream = s.key("h:"+string(name)), s.key("t:"+string(name))
			channel, kept = s.channel(string(name)), s.config.kept(name)
		}
		body, key, digest := encodeBody(p.Body), head, ""
		var exclude any = 0
		if p.Exclude != 0 {
			exclude = strconv.FormatUint(uint64(p.Exclude), 10)
		}
		if p.Key != "" {
			key = s.key("k:" + string(name) + "\x00" + p.Key)
			sum := sha256.Sum256([]byte(body))
			digest = base64.RawURLEncoding.EncodeToString(sum[:16])
		}
		keys = append(keys, head, stream, key)
		arguments = append(arguments, channel, exclude, digest, body, kept)
	}
	a, err := s.run(ctx, s.writing, publishScript, keys, arguments)
	if err == nil {
		s.node.Stats().Messages.Add(int64(len(ps)))
	}
	switch {
	case err != nil:
		return err
	case a.epoch == late:
		return errLate
	case len(a.rest) != len(ps):
		return errAnswer
	}
	for i, p := range ps {
		if at, ok := a.rest[i].(int64); ok {
			p.Position = pubsub.Position{Epoch: a.epoch, Offset: uint64(at)}
			continue
		}
		text, err := redis.String(a.rest[i], nil)
		if err != nil {
			return errAnswer
		}
		if text == "reused" {
			p.Err = broker.ErrKeyReused
			continue
		}
		epoch, digits, _ := strings.Cut(text, ":")
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
	if _, dial := errors.AsType[*dialError](err); dial || err == errLate {
		return true
	}
	e, refused := errors.AsType[redis.Error](err)
	return refused && (hasCode(e, passing) || hasCode(e, lasting))
}

// encodeBody returns a body as streams and pushes have it.
func encodeBody(b pubsub.Body) string {
	if b.JSON {
		return "j" + string(b.Data)
	}
	return "s" + string(b.Data)
}

// decodeBody returns the body that encodeBody encoded. It keeps data.
func decodeBody(data []byte) (pubsub.Body, error) {
	if len(data) == 0 || data[0] != 's' && data[0] != 'j' {
		return pubsub.Body{}, errAnswer
	}
	return pubsub.Body{Data: data[1:], JSON: data[0] == 'j'}, nil
}
