package tokens_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
)

// A source numbers its tokens, and notes what it is asked for.
type source struct{ asked []tokens.Request }

func (s *source) token(_ context.Context, r tokens.Request) (string, error) {
	s.asked = append(s.asked, r)
	return fmt.Sprint("t", len(s.asked)), nil
}

// expect fails the test unless Get returns a token, after the source was asked like this.
func (s *source) expect(t *testing.T, c *tokens.Cache, scope string, topics []string, want string, asked ...tokens.Request) {
	t.Helper()
	s.asked = slices.Clip(s.asked)
	before := len(s.asked)
	token, err := c.Get(t.Context(), scope, topics)
	if err != nil || token != want {
		t.Errorf("Get(%s, %q) = %q, %v; want %q", scope, topics, token, err, want)
	}
	if got := s.asked[before:]; fmt.Sprint(got) != fmt.Sprint(asked) {
		t.Errorf("the source was asked for %v, want %v", got, asked)
	}
	if cached, ok := c.Cached(scope, topics[0]); !ok || cached != want {
		t.Errorf("Cached(%s, %q) = %q, %v; want %q", scope, topics[0], cached, ok, want)
	}
}

func TestSource(t *testing.T) {
	s := &source{}
	c := tokens.New("", s.token)
	if _, ok := c.Cached(tokens.Subscribe, "a"); ok || !c.HasSource() {
		t.Error("a new cache has a token")
	}
	ask := func(scope, refused string, topics ...string) tokens.Request {
		return tokens.Request{Scope: scope, Topics: topics, Refused: refused}
	}
	// One token for each scope.
	s.expect(t, c, tokens.Subscribe, []string{"a", "b"}, "t1", ask(tokens.Subscribe, "", "a", "b"))
	s.expect(t, c, tokens.Subscribe, []string{"c"}, "t1")
	s.expect(t, c, tokens.Broadcast, []string{"a"}, "t2", ask(tokens.Broadcast, "", "a"))

	// A token that was refused is replaced, unless it is not the newest any more.
	c.Renew(tokens.Subscribe, "t1", "token_expired")
	s.expect(t, c, tokens.Subscribe, []string{"a"}, "t3", ask(tokens.Subscribe, "token_expired", "a"))
	c.Renew(tokens.Subscribe, "t1", "token_expired")
	s.expect(t, c, tokens.Subscribe, []string{"a"}, "t3")
	s.expect(t, c, tokens.Broadcast, []string{"a"}, "t2")

	// Topics that were denied get a token of their own, in this scope.
	c.Extend(tokens.Subscribe, []string{"x", "y"}, "topic_denied")
	s.expect(t, c, tokens.Subscribe, []string{"a", "x"}, "t3")
	s.expect(t, c, tokens.Subscribe, []string{"y", "a", "x"}, "t4", ask(tokens.Subscribe, "topic_denied", "y", "x"))
	s.expect(t, c, tokens.Subscribe, []string{"x"}, "t4")
	s.expect(t, c, tokens.Broadcast, []string{"x"}, "t2")
	c.Renew(tokens.Subscribe, "t4", "token_revoked")
	s.expect(t, c, tokens.Subscribe, []string{"a"}, "t3")
	s.expect(t, c, tokens.Subscribe, []string{"x"}, "t5", ask(tokens.Subscribe, "token_revoked", "x"))
}

func TestFixedToken(t *testing.T) {
	c := tokens.New("fixed", nil)
	c.Renew(tokens.Subscribe, "fixed", "token_expired")
	c.Extend(tokens.Subscribe, []string{"a"}, "topic_denied")
	if token, err := c.Get(t.Context(), tokens.Subscribe, []string{"a"}); token != "fixed" || err != nil || c.HasSource() {
		t.Errorf("Get = %q, %v", token, err)
	}
}

func TestEqual(t *testing.T) {
	s := &source{}
	a, b, c, d, e := tokens.New("x", nil), tokens.New("x", nil), tokens.New("y", nil), tokens.New("", s.token), tokens.New("", s.token)
	if !a.Equal(b) || a.Equal(c) || tokens.New("", nil).Equal(d) || !d.Equal(d) || d.Equal(e) {
		t.Error("Equal is wrong")
	}
}

// Whoever needs the same token waits for the same answer, and no two calls run at a time.
func TestOneCallAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, calls atomic.Int32
		c := tokens.New("", func(context.Context, tokens.Request) (string, error) {
			if running.Add(1) > 1 {
				t.Error("two calls at a time")
			}
			<-time.After(time.Second)
			running.Add(-1)
			return fmt.Sprint("t", calls.Add(1)), nil
		})
		var getting sync.WaitGroup
		for n := range 20 {
			getting.Go(func() {
				scope := []string{tokens.Subscribe, tokens.Broadcast}[n%2]
				if _, err := c.Get(t.Context(), scope, []string{"a"}); err != nil {
					t.Error(err)
				}
			})
		}
		getting.Wait()
		if got := calls.Load(); got != 2 {
			t.Errorf("%d calls, want one for each scope", got)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		fail := true
		c := tokens.New("", func(ctx context.Context, _ tokens.Request) (string, error) {
			if fail {
				return "", broken
			}
			<-ctx.Done()
			return "", ctx.Err()
		})
		get := func(ctx context.Context, want error) {
			t.Helper()
			_, err := c.Get(ctx, tokens.Subscribe, []string{"a"})
			if _, ok := errors.AsType[*tokens.Error](err); !ok || !errors.Is(err, want) {
				t.Errorf("Get = %v, want %v", err, want)
			}
		}
		get(t.Context(), broken)
		get(t.Context(), broken) // a failure is not kept
		fail = false
		began := time.Now()
		get(t.Context(), context.DeadlineExceeded)
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("a call of the source took %v, want 30s", took)
		}
		go get(t.Context(), context.DeadlineExceeded)
		synctest.Wait()
		short, cancel := context.WithCancel(t.Context())
		cancel()
		get(short, context.Canceled) // although another call is running
		<-time.After(time.Minute)
	})
}

func TestSpecialTokensAreBounded(t *testing.T) {
	s := &source{}
	c := tokens.New("", s.token)
	general, _ := c.Get(t.Context(), tokens.Subscribe, []string{"a"})
	special := 0
	for n := range 25_000 {
		c.Extend(tokens.Subscribe, []string{fmt.Sprint(n)}, "topic_denied")
	}
	for n := range 25_000 {
		if token, _ := c.Cached(tokens.Subscribe, fmt.Sprint(n)); token != general {
			special++
		}
	}
	if special == 0 || special > 10_000 {
		t.Errorf("%d topics have a special token, want 10,000 at most", special)
	}
}
