// Package metrics exports numbers to Prometheus.
//
// Counters are fields of the types that they describe. Whoever wires the
// server registers a function that reads each of them; they are read when
// somebody scrapes, and cost nothing until then:
//
//	r := metrics.New(version)
//	r.Counter("notiflux_broadcasts_total", "Messages ordered.", nil, read)
//	mux.Handle("/metrics", r.Handler())
//
// Every name is registered once, at start, with fixed labels. There is no way
// to make a series afterwards, so none can come from a topic, a user, or
// anything else that strangers choose.
//
// The package keeps no state of its own and starts no goroutine.
package metrics

import (
	"net/http"
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// prefix begins the name of every metric of ours.
const prefix = "notiflux_"

// A Registry holds everything that is exported. Make one with New. Safe for
// concurrent use.
type Registry struct {
	// Immutable after New.
	prometheus *prometheus.Registry
}

// New returns a Registry that exports the Go runtime, the process, and
// notiflux_build_info with the version of this program.
func New(version string) *Registry {
	r := &Registry{prometheus: prometheus.NewRegistry()}
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
// with the same help and the same label names, and other label values; the
// values come from a closed set that the program knows. The map is not kept.
//
// read is called at each scrape, by any goroutine, several at once. It must
// not block.
//
// Counter panics when the name is not ours, or clashes with one registered
// before: what is exported is fixed in the program, so that is a bug in it.
func (r *Registry) Counter(name, help string, labels map[string]string, read func() float64) {
	mustBeOurs(name)
	r.prometheus.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: name, Help: help, ConstLabels: labels,
	}, read))
}

// Gauge exports a number that goes up and down. All else is as with Counter.
func (r *Registry) Gauge(name, help string, labels map[string]string, read func() float64) {
	mustBeOurs(name)
	r.prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name, Help: help, ConstLabels: labels,
	}, read))
}

func mustBeOurs(name string) {
	if !strings.HasPrefix(name, prefix) {
		panic("metrics: the name " + name + " does not begin with " + prefix)
	}
}

// Handler answers a scrape with all metrics, in the format that the scraper asks for.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{})
}
