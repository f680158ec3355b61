package auth

import (
	"context"
	"errors"
)

// Workers run work that must not block an event loop; see [worker.Do].
type Workers interface {
	Do(work func(context.Context), done func(undone error)) error
}

// Start is like [Verifier.Verify], but does not block: workers verify t, and then done is
// called once, on any goroutine. If the key of t may be one that its issuer has published
// since the keys were loaded, t first waits until they are loaded again, which takes no
// worker. If the workers have no room, Start returns a [pubsub.Error] with OverCapacity and
// does not call done. If too many tokens from the address remote were refused, it returns
// one with TooMany.
func (v *Verifier) Start(workers Workers, t Token, remote string, done func(*Claims, error)) error {
	if err := v.limit.apply(remote, nil); err != nil {
		return err
	}
	return v.start(workers, t, true, func(claims *Claims, err error) {
		v.limit.count(remote, err)
		done(claims, err)
	})
}

func (v *Verifier) start(workers Workers, t Token, mayWait bool, done func(*Claims, error)) error {
	var claims *Claims
	var err error
	var keys *keyring
	again := func(mayWait bool) {
		if err := v.start(workers, t, mayWait, done); err != nil {
			done(nil, err)
		}
	}
	work := func(context.Context) {
		keys = v.keys.Load()
		claims, err = v.verify(t, keys)
	}
	return workers.Do(work, func(undone error) {
		if undone != nil {
			done(nil, undone)
			return
		}
		missing, ok := errors.AsType[*missingKeyError](err)
		switch {
		case !ok:
			done(claims, err)
		case v.keys.Load() != keys:
			again(mayWait)
		case mayWait && missing.source.Await(missing.id, func() { again(false) }):
		case v.keys.Load() != keys: // changed just before Await
			again(false)
		default:
			done(nil, v.refuse(missing))
		}
	})
}

// refuse returns why a token is refused whose key is missing.
func (v *Verifier) refuse(missing *missingKeyError) error {
	v.refused.Add(1)
	return missing.refusal()
}
