package auth_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
)

// run starts the pool, and returns what ends it and waits for that.
func run(t *testing.T, pool *auth.Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- pool.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
}

func TestPoolVerifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer(t, 1)
		pool := auth.NewPool(issuer.verifier(t, auth.Config{}), 0, 0)
		good := issuer.token(t, goodHeader, goodPayload)
		type answer struct {
			claims *auth.Claims
			err    error
		}
		var answers [2]answer
		submit := func(i int, token auth.Token) {
			if !pool.Submit(token, func(c *auth.Claims, err error) { answers[i] = answer{c, err} }) {
				t.Errorf("Submit(%d) = false, want true", i)
			}
		}
		submit(0, good) // waits until the pool runs
		stop := run(t, pool)
		submit(1, "bad")
		synctest.Wait()
		if a := answers[0]; a.err != nil || a.claims == nil || a.claims.Subject != "u" {
			t.Errorf("good token: %v, %v, want claims of u", a.claims, a.err)
		}
		if a := answers[1]; a.claims != nil || notiflux.Refusal(a.err).Code != notiflux.TokenInvalid {
			t.Errorf("bad token: %v, %v, want token_invalid", a.claims, a.err)
		}
		stop()
		if pool.Submit(good, func(*auth.Claims, error) { t.Error("done was called after Submit = false") }) {
			t.Error("Submit after the end = true, want false")
		}
	})
}

func TestPoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer(t, 1)
		pool := auth.NewPool(issuer.verifier(t, auth.Config{}), 1, 2)
		stop := run(t, pool)
		good := issuer.token(t, goodHeader, goodPayload)
		release := make(chan bool)
		var log []string
		note := func(name string) func(*auth.Claims, error) {
			return func(_ *auth.Claims, err error) {
				<-release
				log = append(log, fmt.Sprint(name, " ", err))
			}
		}
		for i, want := range []bool{true, true, true, false, false} {
			if got := pool.Submit(good, note(fmt.Sprint(i))); got != want {
				t.Errorf("Submit(%d) = %t, want %t", i, got, want)
			}
			synctest.Wait() // the worker is in the first one's done, two wait
		}
		release <- true
		synctest.Wait()
		if !pool.Submit(good, note("5")) {
			t.Error("Submit after one was answered = false, want true")
		}
		close(release)
		synctest.Wait()
		if got, want := fmt.Sprint(log), "[0 <nil> 1 <nil> 2 <nil> 5 <nil>]"; got != want {
			t.Errorf("answers %s, want %s", got, want)
		}
		stop()
	})
}

func TestPoolAnswersWhatWaitsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issuer := newIssuer(t, 1)
		pool := auth.NewPool(issuer.verifier(t, auth.Config{}), 1, 8)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var answered []notiflux.Code
		for i := range 4 {
			pool.Submit(issuer.token(t, goodHeader, goodPayload), func(_ *auth.Claims, err error) {
				if i == 0 {
					cancel() // the others wait
				}
				if err == nil {
					answered = append(answered, "")
					return
				}
				answered = append(answered, notiflux.Refusal(err).Code)
			})
		}
		if err := pool.Run(ctx); err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		if got, want := fmt.Sprint(answered), "[ unavailable unavailable unavailable]"; got != want {
			t.Errorf("answers %s, want %s", got, want)
		}
	})
}

// Whatever the moment at which the pool stops, who was told true is answered
// once, and who was told false never.
func TestPoolAnswersExactlyOnce(t *testing.T) {
	issuer := newIssuer(t, 1)
	verifier := issuer.verifier(t, auth.Config{})
	good := issuer.token(t, goodHeader, goodPayload)
	for range 20 {
		pool := auth.NewPool(verifier, 2, 16)
		stop := run(t, pool)
		var taken, answered atomic.Int64
		var submitters sync.WaitGroup
		for range 4 {
			submitters.Go(func() {
				for range 100 {
					if pool.Submit(good, func(*auth.Claims, error) { answered.Add(1) }) {
						taken.Add(1)
					}
				}
			})
		}
		stop()
		submitters.Wait()
		if taken.Load() != answered.Load() {
			t.Errorf("%d taken, %d answered", taken.Load(), answered.Load())
		}
	}
}
