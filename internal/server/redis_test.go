package server_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/server"
)

// awaitReady waits until /readyz has a status.
func awaitReady(t *testing.T, s *servertest.Server, want int) {
	t.Helper()
	for {
		if status, _ := text(t, s, s.URL+"/readyz"); status == want {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Two servers on one Redis act as one. While it is away, clients stay connected.
func TestServersShareRedis(t *testing.T) {
	r := redistest.Start(t)
	on := func(c *config.Serve) { c.Broker = "redis://" + r.Addr }
	a, b := servertest.Start(t, on), servertest.Start(t, on)
	awaitReady(t, a, http.StatusOK)
	awaitReady(t, b, http.StatusOK)
	c := b.Subscribe("news")
	position := a.Broadcast("news", "one")
	c.Expect("one")
	b.Broadcast("news", "two")
	c.Expect("two")

	query := "topic=news&token=" + b.Token(auth.Subscribe, "news")
	if status, body := text(t, b, b.URL+"/history?since="+position+"&"+query); status != http.StatusOK || !strings.Contains(body, `"data":"two"`) || !strings.Contains(body, `"recovered":true`) {
		t.Errorf("the history since a position of the other server: %d %s", status, body)
	}
	r.Kill()
	awaitReady(t, a, http.StatusServiceUnavailable)
	if status, _ := text(t, a, a.URL+"/livez"); status != http.StatusOK {
		t.Errorf("/livez has status %d while Redis is away", status)
	}
	r.Run()
	awaitReady(t, a, http.StatusOK)
	awaitReady(t, b, http.StatusOK)
	a.Broadcast("news", "three")
	c.Expect("three")
}

// A message that publishers send to several servers with one key, at the same time and over
// HTTP and WebSockets, is published once, and all of them get its position.
func TestAKeyHoldsOnServersThatShareRedis(t *testing.T) {
	servers := shareRedis(t, redistest.Start(t))
	const publishers = 24
	var listeners []*speaker
	tokens := make(map[*servertest.Server]string)
	for _, s := range servers {
		tokens[s] = both(s, "u", "t")
		c := connectJSON(t, s, tokens[s])
		c.Say(`{"type":"subscribe","topics":["t"]}`)
		c.Next()
		listeners = append(listeners, c)
	}
	var speakers [publishers]*speaker
	for i := range speakers {
		s := servers[i%len(servers)]
		speakers[i] = connectJSON(t, s, tokens[s])
	}
	position := regexp.MustCompile(`"topic":"t","position":"([^"]+)"`)
	for round := range 5 {
		message := fmt.Sprintf(`"topic":"t","message":{"round":%d},"key":"k%[1]d"`, round)
		var positions [publishers]string
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for i := range positions {
			wg.Go(func() {
				<-begin
				var answer string
				if s := servers[i%len(servers)]; i%2 == 0 {
					speakers[i].Say(`{"type":"broadcast",` + message + `}`)
					answer = speakers[i].Next()
				} else {
					_, answer = broadcast(t, s, `{`+message+`}`, "Authorization", "Bearer "+tokens[s])
				}
				if m := position.FindStringSubmatch(answer); m != nil {
					positions[i] = m[1]
				} else {
					t.Errorf("publisher %d: %s", i, answer)
				}
			})
		}
		close(begin)
		wg.Wait()
		for i, p := range positions {
			if p != positions[0] {
				t.Errorf("publisher %d got %s, another one %s", i, p, positions[0])
			}
		}
		_, offset, _ := strings.Cut(positions[0], ":")
		for _, c := range listeners { // nothing else came before
			c.exchange("", fmt.Sprintf(`{"type":"message","topic":"t","position":"E:%s","time":0,"data":{"round":%d}}`, offset, round))
		}
		for _, s := range servers {
			status, answer := broadcast(t, s, fmt.Sprintf(`{"topic":"t","message":"another","key":"k%d"}`, round), "Authorization", "Bearer "+tokens[s])
			if status != http.StatusConflict || !strings.Contains(answer, `"code":"key_reused"`) {
				t.Errorf("another message with the key: %d %s", status, answer)
			}
		}
	}
}

// A connection of one server does not get the messages that exclude it on another server,
// live or replayed. Other connections get them.
func TestExcludeHoldsOnServersThatShareRedis(t *testing.T) {
	servers := shareRedis(t, redistest.Start(t))
	s, other := servers[0], servers[1]
	tokens := []string{both(s, "u", "t"), both(other, "u", "t")}
	begin := s.Head("t")
	excluded, neighbor, distant := connectJSON(t, s, tokens[0]), connectJSON(t, s, tokens[0]), connectJSON(t, other, tokens[1])
	for _, c := range []*speaker{excluded, neighbor, distant} {
		c.exchange(`{"type":"subscribe","topics":["t"]}`, fmt.Sprintf(`{"type":"subscribed","topics":{"t":{"position":"E:%d","recovered":true,"replay":0}}}`, begin.Offset))
	}
	var all, some []string
	for i := range 20 {
		body := fmt.Sprintf(`{"topic":"t","message":%d}`, i)
		if i%2 == 0 {
			body = fmt.Sprintf(`{"topic":"t","message":%d,"exclude":%q}`, i, excluded.name)
		}
		status, answer := broadcast(t, other, body, "Authorization", "Bearer "+tokens[1])
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		frame := fmt.Sprintf(`{"type":"message","topic":"t","position":"E:%d","time":0,"data":%d}`, other.Head("t").Offset, i)
		if all = append(all, frame); i%2 == 1 {
			some = append(some, frame)
		}
	}
	neighbor.exchange("", all...)
	distant.exchange("", all...)
	excluded.exchange("", some...)
	excluded.exchange(`{"type":"unsubscribe"}`, `{"type":"unsubscribed","topics":["t"]}`)
	excluded.exchange(`{"type":"subscribe","topics":["t"],"since":{"t":"`+begin.String()+`"}}`,
		append([]string{fmt.Sprintf(`{"type":"subscribed","topics":{"t":{"position":"E:%d","recovered":true,"replay":10}}}`, begin.Offset)}, some...)...)
}

// Subscriptions on one server end at the time in their token while messages come from
// another.
func TestUntilHoldsOnServersThatShareRedis(t *testing.T) {
	seeded()
	servers := shareRedis(t, redistest.Start(t))
	testUntil(t, servers[0], servers[1])
}

// A server that Redis refuses does not start, and says why.
func TestRedisRefuses(t *testing.T) {
	r := redistest.Start(t, "--requirepass", "secret")
	c := config.Default()
	c.JWTPublicKeyB64 = base64.StdEncoding.EncodeToString(authtest.NewSigner(t).PublicPEM())
	for broker, want := range map[string]string{
		"redis://" + r.Addr:        "--broker (NOTIFLUX_BROKER): the server refuses what notiflux needs: NOAUTH",
		"redis://:wrong@" + r.Addr: "--broker (NOTIFLUX_BROKER): the server refuses what notiflux needs: WRONGPASS",
		"redis://" + r.Addr + "/x": `--broker (NOTIFLUX_BROKER): "x" in the URL is not the number of a database`,
		"http://" + r.Addr:         "--broker (NOTIFLUX_BROKER): use memory, or a URL",
	} {
		c.Broker = broker
		_, err := server.Open(c, server.Environment{}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with %s, Open = %v, want %s", broker, err, want)
		}
	}
}
