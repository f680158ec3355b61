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

// A registry exports numbers to Prometheus. Every metric is registered at start, with fixed
// labels. No series can be added later, so no label can come from a topic, a user, or
// anything else that a client chooses. It is safe for concurrent use.
type registry struct {
	// Immutable after newRegistry.
	prometheus *prometheus.Registry
}

// newRegistry returns a registry with the metrics of the Go runtime and the process, and
// with notiflux_build_info, which has the version of this program.
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

// Counter exports a number that only grows. The name begins with notiflux_ and ends, by
// convention, with _total. One name may be registered several times with the same help, the
// same label names, and different label values. The label values must come from a closed
// set. Counter does not keep the map.
//
// read is called at each scrape, possibly concurrently, and must not block.
//
// Counter panics if the name lacks the prefix, or conflicts with a metric registered
// before. The program defines its metrics, so that is a bug.
func (r *registry) Counter(name, help string, labels map[string]string, read func() float64) {
	r.prometheus.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts(options(name, help, labels)), read))
}

// Gauge exports a number that goes up and down. Otherwise it is like Counter.
func (r *registry) Gauge(name, help string, labels map[string]string, read func() float64) {
	r.prometheus.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts(options(name, help, labels)), read))
}

// Histogram exports a distribution of values. read returns the number of values, their sum,
// and for each limit how many values are not above it. Otherwise it is like Counter.
func (r *registry) Histogram(name, help string, read func() (uint64, float64, map[float64]uint64)) {
	o := options(name, help, nil)
	r.prometheus.MustRegister(&histogram{prometheus.NewDesc(o.Name, o.Help, nil, o.ConstLabels), read})
}

// A histogram is a [prometheus.Collector] of one metric.
type histogram struct {
	desc *prometheus.Desc
	read func() (uint64, float64, map[float64]uint64)
}

// Describe implements [prometheus.Collector].
func (h *histogram) Describe(all chan<- *prometheus.Desc) { all <- h.desc }

// Collect implements [prometheus.Collector].
func (h *histogram) Collect(all chan<- prometheus.Metric) {
	count, sum, upTo := h.read()
	all <- prometheus.MustNewConstHistogram(h.desc, count, sum, upTo)
}

func options(name, help string, labels map[string]string) prometheus.Opts {
	if !strings.HasPrefix(name, prefix) {
		panic("admin: the name " + name + " does not begin with " + prefix)
	}
	return prometheus.Opts{Name: name, Help: help, ConstLabels: labels}
}

// Handler returns a handler that answers a scrape with all metrics, in the format that the
// scraper requests.
func (r *registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.prometheus, promhttp.HandlerOpts{})
}
