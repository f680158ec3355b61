package redis

import (
	"context"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// CheckVersionForTest checks what INFO says.
var CheckVersionForTest = checkVersion

// ErrLateForTest is the error of a request that Redis got after its deadline.
var ErrLateForTest = errLate

// What Redis keeps, and for how long.
const (
	KeyTimeForTest     = keyTime
	HeadTimeForTest    = headTime
	MembersTimeForTest = membersTime
)

// A ScriptsForTest runs the scripts one by one, over one connection, without a node.
type ScriptsForTest struct {
	store *store
	link  *link
}

// NewScriptsForTest does no I/O.
func NewScriptsForTest(c Config) ScriptsForTest {
	s := New(c).store
	return ScriptsForTest{s, s.writing}
}

// Close closes the connection.
func (s ScriptsForTest) Close() { s.link.close() }

// Publish runs publish.lua once.
func (s ScriptsForTest) Publish(ctx context.Context, ps []pubsub.Publication, deadline time.Time) error {
	var all []*pubsub.Publication
	for i := range ps {
		all = append(all, &ps[i])
	}
	return s.store.publishCall(ctx, all, deadline)
}

// ShardBytes sets how long the stream of all topics is.
func (s ScriptsForTest) ShardBytes(n int) { s.store.config.shardBytes = n }

// Announce runs announce.lua.
func (s ScriptsForTest) Announce(ctx context.Context) (head, end pubsub.Position, err error) {
	return announce(ctx, s.store, s.link)
}

// Heads runs heads.lua.
func (s ScriptsForTest) Heads(ctx context.Context, names []pubsub.Topic) (map[pubsub.Topic]pubsub.Position, error) {
	return s.store.heads(ctx, s.link, names)
}

// Read runs read.lua.
func (s ScriptsForTest) Read(ctx context.Context, name pubsub.Topic, r remote.Range) (remote.Page, error) {
	return s.store.read(ctx, s.link, name, r)
}

// Probe runs probe.lua. It returns the channel of the probe, and the epoch.
func (s ScriptsForTest) Probe(ctx context.Context) (channel, epoch string, err error) {
	a, err := s.store.run(ctx, s.link, probeScript, []any{s.store.key("m"), s.store.key("r")}, []any{s.store.probes})
	return s.store.probes, a.epoch, err
}

// Name returns the name of the node.
func (s ScriptsForTest) Name() string { return s.store.config.name }

// Tell runs tell.lua.
func (s ScriptsForTest) Tell(ctx context.Context, number uint64, changes ...remote.Change) error {
	return s.store.tell(ctx, s.link, number, changes)
}

// Statements runs statements.lua.
func (s ScriptsForTest) Statements(ctx context.Context, name pubsub.Topic) (remote.Statements, error) {
	return s.store.statements(ctx, s.link, name)
}

// Versions runs versions.lua.
func (s ScriptsForTest) Versions(ctx context.Context, names []pubsub.Topic) (map[pubsub.Topic]pubsub.Position, error) {
	return s.store.versions(ctx, s.link, names)
}

// Renew runs renew.lua.
func (s ScriptsForTest) Renew(ctx context.Context, d time.Duration) (remote.Leases, bool, error) {
	return s.store.renew(ctx, s.link, d)
}
