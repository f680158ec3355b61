package admin

import (
	"net/http"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// prefix begins the name of every metric of this program.
const prefix = "notiflux_"

// A registry exports numbers to Prometheus. Every name is registered once, at start,
// with fixed labels. There is no way to add a series later, so no label can come from
// a topic, a user, or anything else that a client chooses. Make one with newRegistry.
// Safe for concurrent use.
type registry struct {
	// Immutable after newRegistry.
	prometheus *prometheus.Registry
}

// newRegistry returns a registry that exports the Go runtime, the process, and
// notiflux_build_info with the version of this program.
func newRegistry(version string) *registry {
	r := &registry{prometheus: prometheus.NewRegistry()}
	r.prometheus.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	r.Gauge(prefix+"build_info", "Always 1; the labels tell what is running.",
		map[string]string{"version": version, "goversion": runtime.Version()},
		func() float64 { return 1 })
	return r
}

// Counter exports a number that only grows. The name begins with notiflux_ and
// ends, by convention, with _total. One name may be registered several times
// with the same help, the same label names, and other label values. The values come
// from a closed set that the program knows. Counter does not keep the map.
//
// read is called at each scrape, concurrently. It must not block.
//
// Counter panics if the name has another prefix, or clashes with one registered
// before: the program fixes its metrics, so that is a bug in it.
func (r *registry) Counter(name, help string, labels map[string]string, read func() float64) {
	r.prometheus.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts(options(name, help, labels)), read))
}

// Gauge exports a number that goes up and down. All else is as with Counter.
func (r *registry) Gauge(name, help string, labels map[string]string, read func() float64) {
	r.prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts(options(name, help, labels)), read))
}

func options(name, help string, labels map[string]string) prometheus.Opts {
	if !strings.HasPrefix(name, prefix) {
		panic("admin: the name " + name + " does not begin with " + prefix)
	}
	return prometheus.Opts{Name: name, Help: help, ConstLabels: labels}
}

// Handler answers a scrape with all metrics, in the format that the scraper asks for.
func (r *registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{})
}
