package server_test

import (
	"encoding/base64"
	"net/http"
	"strings"
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
