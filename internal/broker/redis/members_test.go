package redis_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/broker/remote"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// tell makes a node say that the topic t has a member, and that the node has two subscriptions.
// It returns a function that runs a command on the hash of that topic.
func tell(t *testing.T, server *redistest.Server, s redis.ScriptsForTest) (onHash func(command string, args ...string) string) {
	t.Helper()
	err := s.Tell(t.Context(),
		remote.Change{Topic: "t", Statement: remote.Statement{Node: s.Name(), Sub: "ann", Info: []byte("{}")}},
		remote.Change{Topic: "t", Statement: remote.Statement{Node: s.Name(), Counts: true, Count: 2}})
	if err != nil {
		t.Fatal(err)
	}
	_, epoch, err := s.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return func(command string, args ...string) string {
		// The name of the hash has a zero byte, which an argument of redis-cli cannot have.
		script := `return redis.call(ARGV[1], KEYS[1] .. '\0' .. ARGV[2], unpack(ARGV, 3))`
		return strings.TrimSpace(server.Client(append([]string{"EVAL", script, "1", "notiflux:{0}:p:t", command, epoch}, args...)...))
	}
}

// A field that a node cannot read, because a later version or a person wrote it, hides none of
// the others.
func TestStrangeFieldsOfMembers(t *testing.T) {
	server := redistest.Start(t)
	s := scripts(server, "notiflux:", 10)
	defer s.Close()
	onHash := tell(t, server, s)
	other := strings.Repeat("A", len(s.Name()))
	for field, value := range map[string]string{
		"x": "y", other: "1", other + "q": "1", other + "s": "two", other + "mbob": "soon {}", other + "mcid": "0", "": "",
	} {
		onHash("HSET", field, value)
	}
	all, err := s.Statements(t.Context(), "t")
	if err != nil || len(all.All) != 2 {
		t.Errorf("Statements = %+v, %v, want those of the node", all.All, err)
	}
}

// What a node says is kept as long as the node follows the topic, even if nothing changes, and
// no node watches the members.
func TestStatementsAreKept(t *testing.T) {
	server := redistest.Start(t)
	s := scripts(server, "notiflux:", 10)
	defer s.Close()
	onHash := tell(t, server, s)
	for name, keep := range map[string]func() error{
		"a node that follows the topic": func() error {
			_, err := s.Heads(t.Context(), []pubsub.Topic{"t"})
			return err
		},
		"a node that watches the members": func() error {
			_, err := s.Versions(t.Context(), []pubsub.Topic{topic.PresenceTopic("t")})
			return err
		},
	} {
		onHash("EXPIRE", "60")
		if err := keep(); err != nil {
			t.Fatal(err)
		}
		seconds, err := strconv.Atoi(onHash("TTL"))
		if err != nil || seconds <= 60 {
			t.Errorf("%s: the hash is kept for %d s more, %v, want %v", name, seconds, err, redis.MembersTimeForTest)
		}
	}
}
