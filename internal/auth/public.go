package auth

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// Public are the topics that everyone may subscribe to, without a token. nil means none. It is
// immutable.
type Public struct{ rights }

// ParsePublic returns the topics that entries describe: those that end with `*` are patterns,
// the others topics. Its errors name the entry.
func ParsePublic(entries []string) (*Public, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	p := new(Public)
	for _, entry := range entries {
		add := p.addTopics
		if strings.HasSuffix(entry, "*") {
			add = p.addPatterns
		}
		if err := add(entry); err != nil {
			return nil, fmt.Errorf("%q: %s", entry, pubsub.Refusal(err).Detail)
		}
	}
	if slices.Contains(p.patterns, pubsub.AllTopics) {
		return nil, fmt.Errorf("%q would make every topic public: name the beginnings of the public topics, such as news:*", pubsub.AllTopics)
	}
	p.normalize()
	return p, nil
}

// Allow reports whether everyone may subscribe to topic.
func (p *Public) Allow(topic pubsub.Topic) bool { return p != nil && p.allow(topic) }

// claims returns the claims of clients without a token, or nil if no topics are public.
func (p *Public) claims() *Claims {
	if p == nil {
		return nil
	}
	return &Claims{expires: instantOf(time.Unix(maxSeconds, 0)), public: p, anonymous: true}
}
