package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
)

// Check returns an error if a node cannot work with this Redis: the password is wrong, the
// server is too old, or a right is missing. It tries every command that a node uses. It
// returns nil if Redis cannot be reached.
func Check(ctx context.Context, c Config) error {
	s := New(c).store
	l := s.link()
	var err error
	if l.conn, err = c.Options.dial(); err != nil {
		return refusal(err)
	}
	l.used = time.Now()
	defer l.close()
	return refusal(s.check(ctx, l))
}

func (s *store) check(ctx context.Context, l *link) error {
	info, err := redis.String(redis.DoWithTimeout(l.conn, remaining(ctx), "INFO", "server"))
	if err != nil {
		return err
	}
	if err := checkVersion(info); err != nil {
		return err
	}
	// A topic that no client can name, and that no other check uses. Everything of it expires
	// after a second.
	name := "\x01check" + rand.Text()
	keys := []any{s.key("m"), s.key("h:" + name), s.key("t:" + name), s.key("k:" + name)}
	leases, called, members := s.key("n:"+name), s.key("w:"+name), s.key("p:"+name)
	for _, try := range []struct {
		script *script
		keys   []any
		args   func() []any
	}{
		{probeScript, []any{keys[0], s.key("r")}, func() []any { return []any{s.probes} }}, // first, because it tells the time
		{publishScript, append(shardKeys(s), keys[1:]...), func() []any { // in the stream of all topics, too
			return []any{s.redisTime(time.Now().Add(writeTimeout)), 1, s.config.Age.Milliseconds(), 1000, int(headTime.Seconds()), s.config.shardBytes / 2,
				s.channel(string(remote.Shard)), s.channel(name), 0, "digest", "s", "1 1000"}
		}},
		{headsScript, []any{keys[0], keys[1], keys[2], members}, func() []any { return []any{1, 1} }},
		{headsScript, []any{keys[0], s.key("h:" + name + "2"), keys[2], members}, func() []any { return []any{1, 1} }}, // without a head
		{readScript, keys[:3], func() []any { return []any{0, "", "", "0-1", 1, pageSize, 1} }},
		{readScript, keys[:3], func() []any { return []any{0, "", "", "+", -1, pageSize, 1} }},
		{renewScript, []any{keys[0], leases}, func() []any { return []any{s.config.name, 0, 1} }},
		{tellScript, []any{keys[0], leases, called, members}, func() []any {
			return []any{1, s.config.name, 1, s.channel(name), "field", "set", ""}
		}},
		{statementsScript, []any{keys[0], leases, members}, func() []any { return nil }},
		{versionsScript, []any{keys[0], members}, func() []any { return []any{1} }},
		{tellScript, []any{keys[0], leases, called, members, members}, func() []any {
			return []any{1, s.config.name, 2, s.channel(name), "field", "drop", "", s.channel(name), "field", "forget", s.config.name}
		}},
		{revokeScript, []any{keys[0], s.key("r:" + name)}, func() []any { return []any{0, 0} }},
		{revocationsScript, []any{keys[0], s.key("r")}, func() []any { return []any{0, "", 1} }},
		{pushScript, keys[:1], func() []any { return []any{s.answers, ""} }},
	} {
		if _, err := s.run(ctx, l, try.script, try.keys, try.args()); err != nil {
			return explain(try.script, err)
		}
	}
	c, err := s.config.Options.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	for _, subscribe := range []bool{true, false} {
		ps := redis.PubSubConn{Conn: c}
		if err := send(ps, []change{{subscribe, s.probes}}); err != nil {
			return err
		}
		if err, ok := ps.ReceiveWithTimeout(remaining(ctx)).(error); ok {
			return err
		}
	}
	return nil
}

// refusal returns err if Redis refuses something for good.
func refusal(err error) error {
	if e, ok := errors.AsType[*versionError](err); ok {
		return e
	}
	if d, ok := errors.AsType[*dialError](err); ok {
		err = d.err
	}
	e, ok := errors.AsType[redis.Error](err)
	if !ok || hasCode(e, passing) {
		return nil
	}
	return fmt.Errorf("the server refuses what notiflux needs: %w", err)
}

// inScript finds the line at which a script failed, and called the command of such a line.
var (
	inScript = regexp.MustCompile(`on @user_script:(\d+)`)
	called   = regexp.MustCompile(`redis\.call\('(\w+)'`)
)

// explain adds the command that failed to the error of a script, which does not name it.
func explain(s *script, err error) error {
	at := inScript.FindStringSubmatch(err.Error())
	if at == nil {
		return err
	}
	number, _ := strconv.Atoi(at[1]) // digits
	lines := strings.Split(s.text, "\n")
	if number < 1 || number > len(lines) {
		return err
	}
	command := called.FindStringSubmatch(lines[number-1])
	if command == nil {
		return err
	}
	return fmt.Errorf("%s: %w", command[1], err)
}

// A versionError says that the server is too old.
type versionError struct{ name, version, least string }

// Error returns a sentence with the versions.
func (e *versionError) Error() string {
	return fmt.Sprintf("%s %s is too old: use %s or later", e.name, e.version, e.least)
}

// checkVersion returns a versionError if INFO says that the server is too old.
func checkVersion(info string) error {
	values := make(map[string]string)
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		values[name] = value
	}
	name, version, major, minor := "Redis", values["redis_version"], 6, 2
	if v := values["valkey_version"]; v != "" {
		name, version, major, minor = "Valkey", v, 7, 2
	}
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return nil // a fork that hides its version
	}
	first, err1 := strconv.Atoi(parts[0])
	second, err2 := strconv.Atoi(parts[1])
	if err1 == nil && err2 == nil && (first < major || first == major && second < minor) {
		return &versionError{name, version, fmt.Sprintf("%d.%d", major, minor)}
	}
	return nil
}
