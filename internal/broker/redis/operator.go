package redis

import (
	"bytes"
	"context"
	"fmt"
	"strconv"

	"github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// revocationsPage is how many revocations one call of revocations.lua returns at most.
const revocationsPage = 1000

// An operatorStore is the store with what operators need of it.
type operatorStore struct{ *store }

var _ remote.Store = operatorStore{}

// announce tells the node the position of the last revocation, from an answer of probe.lua.
func (s operatorStore) announce(a answer) {
	if len(a.rest) != 1 {
		return
	}
	if at, err := offset(a.rest[0]); err == nil {
		s.node.Post(func() { s.node.RevokedAt(pubsub.Position{Epoch: a.epoch, Offset: at}) })
	}
}

// Revoke implements [remote.Store].
func (s operatorStore) Revoke(add, remove []string, most int, then func(error)) {
	s.task(func(ctx context.Context, l *link) {
		err := s.revoke(ctx, l, add, remove, most)
		if err != nil && notSent(err) {
			err = fmt.Errorf("%w: %w", remote.ErrNotSent, err)
		}
		s.node.Post(func() { then(err) })
	}, then)
}

func (s operatorStore) revoke(ctx context.Context, l *link, add, remove []string, most int) error {
	arguments := []any{most, len(add)}
	for _, e := range add {
		arguments = append(arguments, e)
	}
	for _, e := range remove {
		arguments = append(arguments, e)
	}
	a, err := s.run(ctx, l, revokeScript, []any{s.key("m"), s.key("r")}, arguments)
	if err != nil {
		return err
	}
	if len(a.rest) != 1 {
		return errAnswer
	}
	if full, err := redis.Bool(a.rest[0], nil); err != nil {
		return errAnswer
	} else if full {
		return remote.ErrFull
	}
	return nil
}

// Revocations implements [remote.Store].
func (s operatorStore) Revocations(after pubsub.Position, then func(remote.Revocations, error)) {
	s.task(func(ctx context.Context, l *link) {
		part, err := s.revocations(ctx, l, after)
		s.node.Post(func() { then(part, err) })
	}, func(err error) { then(remote.Revocations{}, err) })
}

func (s operatorStore) revocations(ctx context.Context, l *link, after pubsub.Position) (part remote.Revocations, err error) {
	a, err := s.run(ctx, l, revocationsScript, []any{s.key("m"), s.key("r")}, []any{after.Offset, after.Epoch, revocationsPage})
	if err != nil {
		return part, err
	}
	if len(a.rest) != 3 {
		return part, errAnswer
	}
	top, err := offset(a.rest[0])
	if err != nil {
		return part, err
	}
	whole, err1 := redis.Bool(a.rest[1], nil)
	entries, err2 := redis.Strings(a.rest[2], nil)
	if err1 != nil || err2 != nil {
		return part, errAnswer
	}
	part.At, part.Whole, part.More = pubsub.Position{Epoch: a.epoch, Offset: top}, whole, len(entries) == 2*revocationsPage
	for i := 0; i+1 < len(entries); i += 2 {
		if entries[i] != "" {
			part.Entries = append(part.Entries, entries[i])
		}
		if part.More {
			if part.At.Offset, err = strconv.ParseUint(entries[i+1], 10, 64); err != nil {
				return part, errAnswer
			}
		}
	}
	return part, nil
}

// Ask implements [remote.Store].
func (s operatorStore) Ask(number uint64, request []byte, then func(int, error)) {
	s.task(func(ctx context.Context, l *link) {
		receivers, err := s.push(ctx, l, s.requests, fmt.Appendf(nil, "%s %d %s", s.config.name, number, request))
		s.node.Post(func() { then(receivers, err) })
	}, func(err error) { then(0, err) })
}

// Answer implements [remote.Store].
func (s operatorStore) Answer(asker string, number uint64, answer []byte) {
	s.task(func(ctx context.Context, l *link) {
		_, _ = s.push(ctx, l, s.answersTo(asker), fmt.Appendf(nil, "%d %s", number, answer)) // Without it, the asker knows that an answer is missing.
	}, func(error) {})
}

// answersTo returns the channel of answers to a node.
func (s operatorStore) answersTo(node string) string {
	return fmt.Sprintf("%sanswer:%d:%s", s.tag, s.config.Options.Database, node)
}

// push publishes data to a channel. It returns how many connections got it.
func (s operatorStore) push(ctx context.Context, l *link, channel string, data []byte) (receivers int, err error) {
	a, err := s.run(ctx, l, pushScript, []any{s.key("m")}, []any{channel, data})
	if err != nil {
		return 0, err
	}
	if len(a.rest) != 1 {
		return 0, errAnswer
	}
	return redis.Int(a.rest[0], nil)
}

// carried takes a request or an answer from its channel. It ignores what it cannot parse, which
// no node has sent.
func (s operatorStore) carried(channel string, data []byte) {
	var asker []byte
	if channel == s.requests {
		asker, data, _ = bytes.Cut(data, []byte{' '})
	}
	digits, rest, ok := bytes.Cut(data, []byte{' '})
	number, err := strconv.ParseUint(string(digits), 10, 64)
	switch {
	case !ok || err != nil:
	case channel == s.requests:
		s.node.Post(func() { s.node.Asked(string(asker), number, rest) })
	case channel == s.answers:
		s.node.Post(func() { s.node.Answered(number, rest) })
	}
}
