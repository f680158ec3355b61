package redis

import (
	"context"
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

//go:embed prelude.lua
var prelude string

//go:embed publish.lua
var publishLua string

//go:embed heads.lua
var headsLua string

//go:embed read.lua
var readLua string

//go:embed probe.lua
var probeLua string

//go:embed tell.lua
var tellLua string

//go:embed statements.lua
var statementsLua string

//go:embed versions.lua
var versionsLua string

//go:embed renew.lua
var renewLua string

//go:embed announce.lua
var announceLua string

//go:embed revoke.lua
var revokeLua string

//go:embed revocations.lua
var revocationsLua string

//go:embed push.lua
var pushLua string

var (
	publishScript    = newScript(publishLua, false)
	headsScript      = newScript(headsLua, true)
	readScript       = newScript(readLua, true)
	probeScript      = newScript(probeLua, true)
	tellScript       = newScript(tellLua, true)
	statementsScript = newScript(statementsLua, true)
	versionsScript   = newScript(versionsLua, true)
	renewScript      = newScript(renewLua, true)
	announceScript   = newScript(announceLua, true)

	revokeScript      = newScript(revokeLua, true)
	revocationsScript = newScript(revocationsLua, true)
	pushScript        = newScript(pushLua, false)
)

func newScript(own string, repeatable bool) *script {
	text := prelude + own
	sum := sha1.Sum([]byte(text)) // as Redis names scripts
	return &script{hex.EncodeToString(sum[:]), text, repeatable}
}

// An answer is what a script returns after its epoch and the time.
type answer struct {
	epoch string
	rest  []any
}

var errAnswer = errors.New("redis: a script gave a malformed answer")

// run runs a script over l. It learns the epoch and the time of Redis from the answer.
func (s *store) run(ctx context.Context, l *link, script *script, keys, args []any) (answer, error) {
	began := time.Now()
	rest, err := l.run(ctx, script, keys, append([]any{newEpoch()}, args...))
	if err != nil {
		return answer{}, err
	}
	if len(rest) < 2 {
		return answer{}, errAnswer
	}
	epoch, err := redis.String(rest[0], nil)
	if err != nil {
		return answer{}, errAnswer
	}
	now, err := redis.Int64(rest[1], nil)
	if err != nil {
		return answer{}, errAnswer
	}
	ended := time.Now()
	s.answered.Store(ended.UnixNano())
	s.clock.set(now, began, ended)
	if epoch != late {
		s.learn(epoch)
	}
	return answer{epoch, rest[2:]}, nil
}

// late is in place of an epoch if a request came after its deadline.
const late = "late"

func offset(v any) (uint64, error) {
	n, err := redis.Uint64(v, nil)
	if err != nil {
		return 0, errAnswer
	}
	return n, nil
}

// passing are the codes of refusals that may pass, and lasting those of others. With all of
// them, Redis refuses a script before it writes anything.
var (
	passing = []string{"LOADING", "READONLY", "OOM", "NOREPLICAS", "MISCONF", "CLUSTERDOWN", "MASTERDOWN", "BUSY"}
	lasting = []string{"NOSCRIPT", "WRONGTYPE", "NOAUTH", "WRONGPASS"}
)

// hasCode reports whether Redis refused something with one of codes.
func hasCode(e redis.Error, codes []string) bool {
	return slices.ContainsFunc(codes, func(code string) bool { return strings.HasPrefix(e.Error(), code) })
}
