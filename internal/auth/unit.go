package auth

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Provider is an identity provider: an issuer of tokens whose keys change while the server
// runs.
type Provider struct {
	Issuer   string // the claim iss of its tokens; required
	Audience string // the claim aud of its tokens must contain it; required
	Source   Source
}

// A Source loads the keys of a [Provider], and passes them to [Verifier.SetProviderKeys].
// Its methods do not block, and are safe for concurrent use.
type Source interface {
	// Stale returns a [pubsub.Error] with Unavailable if the keys were never loaded, or so
	// long ago that they must not verify tokens any more.
	Stale() error
	// Await returns true if keys that are loaded soon may include the one with a kid, or any
	// key if kid is empty. After they are loaded, or cannot be, it calls then once.
	Await(kid string, then func()) bool
	// Missing returns nil if the provider has no key with a kid. If the provider may have a
	// new one that cannot be loaded now, Missing returns a [pubsub.Error] that permits
	// to try again.
	Missing(kid string) error
}

// SourceStats are numbers about a [Source].
type SourceStats struct {
	Loads, Failures uint64        // since the start; failures are loads, too
	Keys            int           // now
	Age             time.Duration // since the last load that succeeded began; -1 s: none has
}

// A unit is what is configured together: keys, and whose tokens they verify. Its keys verify
// no other tokens.
type unit struct {
	issuer   string // empty: any that no other unit has
	audience string // empty: any
	keys     *Keys
	source   Source // nil: the operator sets the keys
}

// A keyring holds all units. It is immutable.
type keyring struct {
	units      []unit
	generation generation // of the keys of all units
}

func newKeyring(units ...unit) *keyring {
	r := &keyring{units: units}
	all := sha256.New()
	for _, u := range units {
		all.Write(u.keys.generation[:])
	}
	copy(r.generation[:], all.Sum(nil))
	return r
}

// with returns a keyring with other keys for unit i.
func (r *keyring) with(i int, k *Keys) *keyring {
	units := slices.Clone(r.units)
	units[i].keys = k.of(units[i].issuer)
	return newKeyring(units...)
}

// has reports whether one of the units has a key, perhaps as a copy from another keyring.
func (r *keyring) has(one *key) bool {
	return slices.ContainsFunc(r.units, func(u unit) bool { return u.keys.has(one) })
}

// unitOf returns the unit for tokens with this payload. If there is none, or if the token is
// not for this server, it returns a [pubsub.Error] with TokenInvalid.
func (r *keyring) unitOf(p *payload) (*unit, error) {
	var found *unit
	for i := range r.units {
		switch u := &r.units[i]; u.issuer {
		case "":
			if found == nil && (u.keys.Len() > 0 || len(r.units) == 1) {
				found = u
			}
		case p.issuer:
			found = u
		}
	}
	switch {
	case found == nil && p.issuer == "":
		return nil, invalid("the token has no iss: it must be %s", strings.Join(r.issuers(), " or "))
	case found == nil:
		return nil, invalid("iss in the token is not an issuer whose tokens this server accepts: it must be %s", strings.Join(r.issuers(), " or "))
	case found.audience == "" || slices.Contains(p.audiences, found.audience):
		return found, nil
	}
	return nil, invalid("the token is not meant for this server: aud must be %q, or a list that contains it", found.audience)
}

// issuers returns the issuers of all units, in quotes.
func (r *keyring) issuers() (names []string) {
	for _, u := range r.units {
		if u.issuer != "" {
			names = append(names, strconv.Quote(u.issuer))
		}
	}
	return names
}

// of returns keys that verify tokens of an issuer, and that differ from the same keys of
// another one.
func (k *Keys) of(issuer string) *Keys {
	if issuer == "" {
		return k
	}
	mark := func(b [8]byte) (marked [8]byte) {
		sum := sha256.Sum256(append(b[:], issuer...))
		copy(marked[:], sum[:])
		return marked
	}
	marked := &Keys{keys: slices.Clone(k.keys), generation: mark(k.generation)}
	for i := range marked.keys {
		key := &marked.keys[i]
		key.issuer, key.print = issuer, mark(key.print)
	}
	return marked
}

// find returns the keys that may have signed a token with this header.
func (u *unit) find(h header) (candidates, error) {
	if u.source != nil {
		if err := u.source.Stale(); err != nil {
			return candidates{}, &missingKeyError{u.source, h.keyID}
		}
		if h.keyID != "" && !u.keys.names(h.keyID) {
			return candidates{}, &missingKeyError{u.source, h.keyID}
		}
	}
	return u.keys.match(h, u.source != nil)
}

func (k *Keys) names(id string) bool {
	return slices.ContainsFunc(k.keys, func(key key) bool { return key.id == id })
}

// A missingKeyError means that a token is of a provider, and that no key that was loaded has
// its kid.
type missingKeyError struct {
	source Source
	id     string // kid; may be empty if no keys were loaded
}

var errKeyID = invalid("kid in the token does not name a key of its issuer: use a new token")

// refusal returns why a token is refused now.
func (e *missingKeyError) refusal() error {
	if err := e.source.Missing(e.id); err != nil {
		return err
	}
	return errKeyID
}

func (e *missingKeyError) Error() string { return errKeyID.Error() }

// SetKeys makes v verify tokens with other keys, those of Config.Keys. Tokens that were
// verified with a key that both sets have stay in the cache. A token that only a withdrawn
// key verifies is refused from now on; see [Verifier.Check].
func (v *Verifier) SetKeys(k *Keys) { v.setKeys(0, k) }

// SetProviderKeys is like SetKeys for the keys of the provider. It panics if there is none.
func (v *Verifier) SetProviderKeys(k *Keys) { v.setKeys(1, k) }

func (v *Verifier) setKeys(i int, k *Keys) {
	v.setting.Lock()
	defer v.setting.Unlock()
	v.keys.Store(v.keys.Load().with(i, k))
}

var errNoProvider = errors.New("auth: a provider needs an issuer, an audience and a source")

// unitsOf returns the units of c: that of c.Keys, and that of c.Provider if there is one.
func unitsOf(c Config) []unit {
	units := []unit{{issuer: c.Issuer, audience: c.Audience, keys: c.Keys.of(c.Issuer)}}
	if p := c.Provider; p != nil {
		if p.Issuer == "" || p.Audience == "" || p.Source == nil {
			panic(errNoProvider)
		}
		units = append(units, unit{p.Issuer, p.Audience, new(Keys), p.Source})
	}
	return units
}
