package server_test

import (
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// awaitMetric waits until a series has a value, or a higher one.
func awaitMetric(t *testing.T, s *servertest.Server, name string, atLeast uint64) {
	t.Helper()
	for counter(t, s, name) < atLeast {
		<-time.After(10 * time.Millisecond)
	}
}

// Each metric of the broker moves with its event, and only with that.
func TestRedisMetrics(t *testing.T) {
	r := redistest.Start(t)
	proxy := redistest.NewProxy(t, r.Addr)
	on := func(address string) func(*config.Serve) {
		return func(c *config.Serve) {
			c.Broker = "redis://" + address
			c.HistoryMessages = 3
		}
	}
	a, b := servertest.Start(t, on(proxy.Addr)), servertest.Start(t, on(r.Addr))
	awaitReady(t, a, http.StatusOK)
	awaitReady(t, b, http.StatusOK)
	c := connectJSON(t, a, a.Sign(auth.Grant{Subject: "u", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"news"}}))
	c.Say(`{"type":"subscribe","topics":["news"]}`)
	c.Next()
	expect := func(word string) {
		t.Helper()
		if got := c.Next(); !strings.Contains(got, word) {
			t.Fatalf("received %s, want %s", got, word)
		}
	}
	wantMetrics := func(want map[string]uint64) {
		t.Helper()
		for name, n := range want {
			if got := counter(t, a, name); got != n {
				t.Errorf("%s = %d, want %d", name, got, n)
			}
		}
	}

	a.Broadcast("news", "one")
	expect(`"one"`)
	awaitMetric(t, a, "notiflux_broker_call_seconds_count", 3) // it published, probed, and read a head
	wantMetrics(map[string]uint64{
		"notiflux_broker_publishing": 0, "notiflux_broker_publishing_bytes": 0,
		`notiflux_broker_call_messages_bucket{le="1"}`: 1, "notiflux_broker_call_messages_sum": 1,
		"notiflux_broker_lag_seconds_count":                    1,
		`notiflux_broker_reconnects_total{connection="calls"}`: 0, `notiflux_broker_reconnects_total{connection="pubsub"}`: 0,
	})

	// The connection is lost, and the server catches up.
	proxy.Cut()
	awaitReady(t, a, http.StatusServiceUnavailable)
	awaitMetric(t, a, "notiflux_broker_probes_missed_total", 1)
	b.Broadcast("news", "two")
	proxy.Mend()
	expect(`"two"`)
	awaitMetric(t, a, `notiflux_broker_reconnects_total{connection="calls"}`, 1)
	awaitMetric(t, a, `notiflux_broker_reconnects_total{connection="pubsub"}`, 1)
	awaitMetric(t, a, "notiflux_broker_catch_ups_total", 1)
	wantMetrics(map[string]uint64{
		"notiflux_broker_lag_seconds_count": 2, "notiflux_broker_epochs_total": 0,
		`notiflux_broker_gaps_total{reason="missing"}`: 0, `notiflux_broker_gaps_total{reason="epoch"}`: 0,
	})

	// It misses more than Redis keeps.
	proxy.Cut()
	awaitReady(t, a, http.StatusServiceUnavailable)
	for range 5 {
		b.Broadcast("news", "more")
	}
	proxy.Mend()
	expect(`"gap"`)
	wantMetrics(map[string]uint64{
		`notiflux_broker_gaps_total{reason="missing"}`: 1, `notiflux_broker_gaps_total{reason="epoch"}`: 0,
	})
	for range 3 {
		expect(`"more"`)
	}

	r.Client("DEL", "notiflux:{0}:m")
	expect(`"gap"`)
	awaitReady(t, a, http.StatusOK)
	wantMetrics(map[string]uint64{
		`notiflux_broker_gaps_total{reason="missing"}`: 1, `notiflux_broker_gaps_total{reason="epoch"}`: 1,
		"notiflux_broker_epochs_total": 1,
	})
	a.Broadcast("news", "last")
	expect(`"last"`)

	_, exposed := text(t, a, a.AdminURL+"/metrics")
	checkExposition(t, exposed)
}

var (
	comment = regexp.MustCompile(`^# (HELP|TYPE) [a-zA-Z_]\w* \S.*$`)
	sample  = regexp.MustCompile(`^([a-zA-Z_]\w*)(?:\{(?:[a-z]\w*="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)$`)
)

// checkExposition checks that a scraper can read the metrics of a server with a shared broker,
// and that the documentation has those of the broker.
func checkExposition(t *testing.T, exposed string) {
	t.Helper()
	documentation, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	lowest := make(map[string]float64) // of the bucket after the last one, by histogram
	for _, line := range strings.Split(strings.TrimSuffix(exposed, "\n"), "\n") {
		if _, name, ok := strings.Cut(line, "# TYPE notiflux_broker_"); ok {
			if name, _, _ = strings.Cut(name, " "); !strings.Contains(string(documentation), "`notiflux_broker_"+name+"`") {
				t.Errorf("docs/operations.md lacks notiflux_broker_%s", name)
			}
		}
		if comment.MatchString(line) {
			continue
		}
		match := sample.FindStringSubmatch(line)
		if match == nil {
			t.Errorf("the exposition has the line %q", line)
			continue
		}
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			t.Errorf("the exposition has the line %q: %v", line, err)
		}
		if name, ok := strings.CutSuffix(match[1], "_bucket"); ok {
			if value < lowest[name] {
				t.Errorf("bucket %q is below the one before it", line)
			}
			lowest[name] = value
		}
	}
	if n := len(lowest); n != 3 {
		t.Errorf("%d histograms, want 3", n)
	}
}
