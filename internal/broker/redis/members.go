package redis

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

const (
	// membersTime is how long the statements about a topic are kept that no node renews. The
	// nodes that follow the topic, or its presence topic, renew them.
	membersTime = time.Hour
	// leasesTime is how long a node is known after its lease has ended.
	leasesTime = time.Hour
)

// Tell implements [remote.Store].
func (s *store) Tell(changes []remote.Change, then func(error)) {
	s.tells++
	number := s.tells
	s.task(func(ctx context.Context, l *link) {
		err := s.tell(ctx, l, number, changes)
		s.node.Post(func() { then(err) })
	}, then)
}

// tell runs tell.lua. Redis ignores a call whose number is not above all before it.
func (s *store) tell(ctx context.Context, l *link, number uint64, changes []remote.Change) error {
	keys := []any{s.key("m"), s.key("n"), s.key("w")}
	arguments := []any{int(membersTime.Seconds()), s.config.name, number}
	for _, c := range changes {
		x := &c.Statement
		operation, value := "set", s.encodeStatement(x)
		switch {
		case c.Forget && x.Node != s.config.name:
			operation, value = "forget", x.Node
		case c.Forget:
			operation, value = "forget", ""
		case x.Counts && x.Count == 0:
			operation = "drop"
		}
		keys = append(keys, s.key("p:"+string(c.Topic)))
		arguments = append(arguments, s.channel(string(topic.PresenceTopic(c.Topic))), field(x), operation, value)
	}
	_, err := s.run(ctx, l, tellScript, keys, arguments)
	return err
}

// field returns the name of the field of a statement: the node, and then "s" for the number of
// subscriptions, or "m" and the member.
func field(x *remote.Statement) string {
	if x.Counts {
		return x.Node + "s"
	}
	return x.Node + "m" + x.Sub
}

// encodeStatement returns the value of the field of a statement: the number, or the end of the
// grace period (0: connected), a space, and the info.
func (c *clock) encodeStatement(x *remote.Statement) string {
	if x.Counts {
		return strconv.Itoa(x.Count)
	}
	end := int64(0)
	if !x.GraceEnd.IsZero() {
		end = c.redisTime(x.GraceEnd)
	}
	return strconv.FormatInt(end, 10) + " " + string(x.Info)
}

// decodeStatement is the inverse of field and encodeStatement.
func (c *clock) decodeStatement(field, value string) (x remote.Statement, err error) {
	if len(field) <= nameLength {
		return x, errAnswer
	}
	x.Node = field[:nameLength]
	switch field[nameLength] {
	case 's':
		x.Counts = true
		x.Count, err = strconv.Atoi(value)
		return x, err
	case 'm':
		x.Sub = field[nameLength+1:]
	default:
		return x, errAnswer
	}
	digits, info, ok := strings.Cut(value, " ")
	end, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok {
		return x, errAnswer
	}
	if info != "" {
		x.Info = []byte(info)
	}
	if end != 0 {
		x.GraceEnd = c.timeOf(end)
	}
	return x, nil
}

// Statements implements [remote.Store].
func (s *store) Statements(name pubsub.Topic, then func(remote.Statements, error)) {
	s.task(func(ctx context.Context, l *link) {
		all, err := s.statements(ctx, l, name)
		s.node.Post(func() { then(all, err) })
	}, func(err error) { then(remote.Statements{}, err) })
}

func (s *store) statements(ctx context.Context, l *link, name pubsub.Topic) (all remote.Statements, err error) {
	a, err := s.run(ctx, l, statementsScript, []any{s.key("m"), s.key("n"), s.key("p:" + string(name))}, nil)
	if err != nil {
		return all, err
	}
	if len(a.rest) != 3 {
		return all, errAnswer
	}
	version, err1 := offset(a.rest[0])
	leases, err2 := s.leases(a.rest[1])
	fields, err3 := redis.Strings(a.rest[2], nil)
	if errors.Join(err1, err2, err3) != nil {
		return all, errAnswer
	}
	all.Head, all.Leases = pubsub.Position{Epoch: a.epoch, Offset: version}, leases
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "v" {
			continue
		}
		if x, err := s.decodeStatement(fields[i], fields[i+1]); err == nil {
			all.All = append(all.All, x)
		} // Otherwise a later version wrote it, or a person did.
	}
	return all, nil
}

// leases parses the leases of an answer.
func (c *clock) leases(answer any) (remote.Leases, error) {
	parts, err := redis.Strings(answer, nil)
	if err != nil {
		return nil, errAnswer
	}
	all := make(remote.Leases, len(parts)/2)
	for i := 0; i+1 < len(parts); i += 2 {
		end, err := strconv.ParseFloat(parts[i+1], 64)
		if err != nil || math.Abs(end) > 1<<53 {
			return nil, errAnswer
		}
		all[parts[i]] = c.timeOf(int64(end))
	}
	return all, nil
}

// Renew implements [remote.Store].
func (s *store) Renew(d time.Duration, then func(remote.Leases, bool, error)) {
	s.task(func(ctx context.Context, l *link) {
		leases, ended, err := s.renew(ctx, l, d)
		s.node.Post(func() { then(leases, ended, err) })
	}, func(err error) { then(nil, false, err) })
}

func (s *store) renew(ctx context.Context, l *link, d time.Duration) (leases remote.Leases, ended bool, err error) {
	a, err := s.run(ctx, l, renewScript, []any{s.key("m"), s.key("n")}, []any{s.config.name, d.Microseconds(), int(leasesTime.Seconds())})
	if err != nil {
		return nil, false, err
	}
	if len(a.rest) != 2 {
		return nil, false, errAnswer
	}
	if ended, err = redis.Bool(a.rest[0], nil); err != nil {
		return nil, false, errAnswer
	}
	leases, err = s.leases(a.rest[1])
	return leases, ended, err
}

// parseStatement parses a push of tell.lua. Its number is the length of the field.
func (c *clock) parseStatement(name pubsub.Topic, data []byte) (p remote.Push, ok bool) {
	p, length, rest, ok := splitPush(name, data)
	if !ok || length > uint64(len(rest)) {
		return remote.Push{}, false
	}
	x, err := c.decodeStatement(string(rest[:length]), string(rest[length:]))
	if err != nil {
		return remote.Push{}, false
	}
	p.Statement = x
	return p, true
}
