package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/ikornaselur/notiflux/internal/broker"
)

const (
	// writeTimeout ends a connection that does not take a request.
	writeTimeout = 3 * time.Second
	// dialTimeout is above the time of a handshake in a slow network.
	dialTimeout = 2 * time.Second
)

// Options say where Redis is, see [ParseURL].
type Options struct {
	Addresses          []string // of the server or, with Primary, of its sentinels
	Primary            string   // its name at the sentinels; empty: there are none
	Username, Password string
	Database           int
	TLS                *tls.Config // nil: off
}

// A dialError is that of an attempt to connect.
type dialError struct{ err error }

func (e *dialError) Error() string { return "connect to Redis: " + e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

// dial connects to Redis. The error is a [*dialError].
func (o *Options) dial() (redis.Conn, error) {
	address := o.Addresses[0]
	if o.Primary != "" {
		var err error
		if address, err = o.primary(); err != nil {
			return nil, &dialError{err}
		}
	}
	c, err := o.dialAddress(address, redis.DialDatabase(o.Database))
	if err != nil {
		return nil, &dialError{err}
	}
	return c, nil
}

func (o *Options) dialAddress(address string, more ...redis.DialOption) (redis.Conn, error) {
	options := append(more, redis.DialConnectTimeout(dialTimeout), redis.DialReadTimeout(dialTimeout), redis.DialWriteTimeout(writeTimeout))
	if o.Password != "" {
		options = append(options, redis.DialUsername(o.Username), redis.DialPassword(o.Password))
	}
	if o.TLS != nil {
		settings := o.TLS.Clone()
		settings.ServerName, _, _ = net.SplitHostPort(address)
		options = append(options, redis.DialUseTLS(true), redis.DialTLSConfig(settings))
	}
	return redis.Dial("tcp", address, options...)
}

// primary asks the sentinels for the address of the primary.
func (o *Options) primary() (string, error) {
	var failures []error
	for _, address := range o.Addresses {
		primary, err := o.askSentinel(address)
		if err == nil {
			return primary, nil
		}
		failures = append(failures, fmt.Errorf("sentinel %s: %w", address, err))
	}
	return "", errors.Join(failures...)
}

func (o *Options) askSentinel(address string) (string, error) {
	c, err := o.dialAddress(address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	parts, err := redis.Strings(c.Do("SENTINEL", "get-master-addr-by-name", o.Primary))
	if err == redis.ErrNil || err == nil && len(parts) != 2 {
		return "", fmt.Errorf("it knows no primary %q", o.Primary)
	}
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(parts[0], parts[1]), nil
}

// maxIdle is how long a connection may be idle. After that, something on the way may have
// forgotten it.
const maxIdle = 10 * time.Second

// A link is a connection of one goroutine, which makes another one whenever it is lost. A
// connection does not notice while it is idle that it was lost, and what is sent over it then
// may have been received or not. So a link does not use a connection again after cuts has
// changed.
type link struct {
	// Immutable.
	options *Options
	cuts    *atomic.Int64 // how often a connection to Redis was lost
	stats   *broker.Stats

	conn redis.Conn // nil: not connected
	made int64      // cuts when conn was made
	used time.Time  // when conn was last used
	lost bool       // the connection before was lost, and conn does not replace it yet
}

// run runs a script, until ctx ends at the latest. The error is a [*dialError] if the script
// was not sent, and a [redis.Error] if Redis refused it; after any other error it may have
// run. Only a script that is repeatable is sent again, once, if the connection was lost.
func (l *link) run(ctx context.Context, s *script, keys, args []any) ([]any, error) {
	answer, err := l.runOnce(ctx, s, keys, args)
	if s.repeatable && isLost(err) && ctx.Err() == nil {
		return l.runOnce(ctx, s, keys, args)
	}
	return answer, err
}

// isLost reports whether a connection was lost after a script was sent.
func isLost(err error) bool {
	_, refused := errors.AsType[redis.Error](err)
	_, notSent := errors.AsType[*dialError](err)
	return err != nil && !refused && !notSent
}

func (l *link) runOnce(ctx context.Context, s *script, keys, args []any) ([]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, &dialError{err}
	}
	if l.made != l.cuts.Load() {
		l.lose()
	} else if time.Since(l.used) > maxIdle {
		l.close()
	}
	if l.conn == nil {
		made := l.cuts.Load()
		c, err := l.options.dial()
		if err != nil {
			return nil, err
		}
		if l.lost {
			l.stats.Reconnected.Add(1)
		}
		l.conn, l.made, l.lost = c, made, false
	}
	c := l.conn
	defer context.AfterFunc(ctx, func() { c.Close() })()
	began := time.Now()
	answer, err := redis.Values(s.do(ctx, c, keys, args))
	l.used = time.Now()
	_, refused := errors.AsType[redis.Error](err)
	if err == nil || refused {
		l.stats.Calls.Add(int64(l.used.Sub(began)))
	}
	// A replica was the primary before, and the sentinels know the new one.
	if err != nil && (!refused || strings.HasPrefix(err.Error(), "READONLY")) || ctx.Err() != nil {
		l.lose()
	}
	return answer, err
}

// lose closes a connection that was lost.
func (l *link) lose() {
	l.lost = l.lost || l.conn != nil
	l.close()
}

func (l *link) close() {
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// A script is a Lua script that Redis caches by its hash.
type script struct {
	sha, text  string
	repeatable bool // running it twice is the same as running it once
}

func (s *script) do(ctx context.Context, c redis.Conn, keys, args []any) (any, error) {
	all := make([]any, 0, 2+len(keys)+len(args))
	all = append(all, s.sha, len(keys))
	all = append(append(all, keys...), args...)
	answer, err := redis.DoWithTimeout(c, remaining(ctx), "EVALSHA", all...)
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		all[0] = s.text
		answer, err = redis.DoWithTimeout(c, remaining(ctx), "EVAL", all...)
	}
	return answer, err
}

// remaining returns the time until the deadline of ctx.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0 // no limit
	}
	return max(time.Millisecond, time.Until(deadline))
}
