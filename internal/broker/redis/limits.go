package redis

import (
	"strconv"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// limits returns the limits of a topic, or nil if they are Messages and Age.
func (c *Config) limits(name pubsub.Topic) *topic.Limits {
	if c.Limits == nil {
		return nil
	}
	return c.Limits(name)
}

// kept returns what publish.lua is told about the limits of a topic: nothing if they are
// Messages and Age.
func (c *Config) kept(name pubsub.Topic) string {
	l := c.limits(name)
	switch {
	case l == nil:
		return ""
	case l.Off:
		return "0 0"
	}
	return strconv.Itoa(l.Count) + " " + strconv.FormatInt(l.Age.Milliseconds(), 10)
}

// age returns for how long messages of a topic are kept.
func (c *Config) age(name pubsub.Topic) time.Duration {
	if name == remote.Shard {
		return c.Age
	}
	if l := c.limits(name); l != nil {
		return l.Age
	}
	return c.Age
}
