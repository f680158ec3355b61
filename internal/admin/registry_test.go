package admin_test

import (
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ikornaselur/notiflux/internal/admin"
)

func scrape(t *testing.T, r *admin.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape = %d, want 200: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func wantLine(t *testing.T, text, line string) {
	t.Helper()
	if !strings.Contains("\n"+text, "\n"+line+"\n") {
		t.Errorf("no line %q in the scrape:\n%s", line, grep(text, "notiflux_"))
	}
}

func grep(text, word string) string {
	var found strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found.WriteString(line)
		}
	}
	return found.String()
}

func TestScrapeReadsTheCounters(t *testing.T) {
	r := admin.NewRegistry("v1.2.3")
	var broadcasts, clients atomic.Int64
	r.Counter("notiflux_broadcasts_total", "Messages published.", nil, func() float64 { return float64(broadcasts.Load()) })
	r.Gauge("notiflux_clients", "Clients connected.", nil, func() float64 { return float64(clients.Load()) })

	wantLine(t, scrape(t, r), "notiflux_broadcasts_total 0")
	broadcasts.Add(42)
	clients.Add(7)
	text := scrape(t, r)
	wantLine(t, text, "notiflux_broadcasts_total 42")
	wantLine(t, text, "# TYPE notiflux_broadcasts_total counter")
	wantLine(t, text, "# HELP notiflux_broadcasts_total Messages published.")
	wantLine(t, text, "notiflux_clients 7")
	wantLine(t, text, "# TYPE notiflux_clients gauge")
}

func TestOneNameWithSeveralLabelValues(t *testing.T) {
	r := admin.NewRegistry("v1.2.3")
	for i, reason := range []string{"slow", "silent"} {
		r.Counter("notiflux_closed_total", "Connections ended.", map[string]string{"reason": reason},
			func() float64 { return float64(i + 1) })
	}
	text := scrape(t, r)
	wantLine(t, text, `notiflux_closed_total{reason="slow"} 1`)
	wantLine(t, text, `notiflux_closed_total{reason="silent"} 2`)
}

func TestRuntimeProcessAndBuild(t *testing.T) {
	text := scrape(t, admin.NewRegistry("v1.2.3"))
	wantLine(t, text, `notiflux_build_info{goversion="`+runtime.Version()+`",version="v1.2.3"} 1`)
	for _, name := range []string{"go_goroutines", "process_open_fds", "process_resident_memory_bytes"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("no metric %s in the scrape", name)
		}
	}
}

func TestBugsPanicAtStart(t *testing.T) {
	zero := func() float64 { return 0 }
	for name, register := range map[string]func(r *admin.Registry){
		"no prefix": func(r *admin.Registry) { r.Counter("broadcasts_total", "x", nil, zero) },
		"twice": func(r *admin.Registry) {
			r.Gauge("notiflux_clients", "x", nil, zero)
			r.Gauge("notiflux_clients", "x", nil, zero)
		},
		"other label names": func(r *admin.Registry) {
			r.Gauge("notiflux_clients", "x", map[string]string{"transport": "websocket"}, zero)
			r.Gauge("notiflux_clients", "x", map[string]string{"loop": "1"}, zero)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("registered; want a panic")
				}
			}()
			register(admin.NewRegistry("v1.2.3"))
		})
	}
}
