package auth

import "github.com/ikornaselur/notiflux/internal/pubsub"

// Failures limits how many tokens from one address a [Verifier] refuses with TokenInvalid before it
// checks no further ones, for some time. Addresses have the form of RemoteAddr in [http.Request];
// without one there is no limit.
// It is safe for concurrent use.
type Failures interface {
	Check(remote string) error // returns nil, or a [pubsub.Error] with TooMany if the limit is reached
	Count(remote string)       // counts a refused token
}

// A failureLimit applies a limit. Tokens that have expired or were revoked are no failures, and
// neither are those that cannot be checked now.
type failureLimit struct {
	Failures // nil: no limit
}

// apply returns the limit's error if it is reached. Otherwise it returns err, which it counts if it
// is a failure.
func (l failureLimit) apply(remote string, err error) error {
	if l.Failures == nil || remote == "" {
		return err
	}
	if over := l.Check(remote); over != nil {
		return over
	}
	l.count(remote, err)
	return err
}

// count counts err if it is a failure.
func (l failureLimit) count(remote string, err error) {
	if l.Failures != nil && remote != "" && err != nil && pubsub.Refusal(err).Code == pubsub.TokenInvalid {
		l.Count(remote)
	}
}
