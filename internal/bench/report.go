package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Report is the result of a run. JSON names include the unit where there is one. Names and
// meanings stay the same from release to release.
type Report struct {
	Connections  int     `json:"connections"`     // asked for
	Topics       int     `json:"topics"`          // asked for
	Publishers   int     `json:"publishers"`      // asked for
	MessageBytes int     `json:"message_bytes"`   // asked for
	Window       int     `json:"window_messages"` // asked for; 0: a rate was
	Rate         float64 `json:"rate_per_second"` // asked for; 0: a window was

	Opened         int     `json:"connections_opened"`     // subscribed, and confirmed
	Failed         int     `json:"connections_failed"`     // that could not be opened or subscribed
	Lost           int     `json:"connections_lost"`       // that ended although nobody asked them to
	OpeningSeconds float64 `json:"opening_seconds"`        // from the first connection to the last
	OpenedRate     float64 `json:"connections_per_second"` // over that time
	Connecting     Times   `json:"connect_microseconds"`   // from dialling to the confirmed subscription

	Seconds       float64 `json:"seconds"`             // from the first message to the last delivery
	Published     uint64  `json:"messages_published"`  // all but those refused
	Refused       uint64  `json:"messages_refused"`    // that the server did not take
	Unknown       uint64  `json:"messages_unknown"`    // among the published ones: no answer came
	PublishedRate float64 `json:"messages_per_second"` // over seconds

	Expected      uint64  `json:"deliveries_expected"`   // published messages, each times the subscribers of its topic
	Delivered     uint64  `json:"deliveries"`            // that came, once and in the order of their publisher
	Missing       uint64  `json:"deliveries_lost"`       // expected, and did not come so
	Disordered    uint64  `json:"deliveries_disordered"` // that came again, or after a later message of their publisher
	Foreign       uint64  `json:"messages_foreign"`      // received, but not sent by this run
	DeliveredRate float64 `json:"deliveries_per_second"` // over seconds
	Latency       Times   `json:"latency_microseconds"`  // from sending a message to having received it

	Cores        float64 `json:"generator_cores"`         // that this process kept busy; 0: not known
	Stalled      bool    `json:"stalled"`                 // it ended early because nothing arrived any longer
	FirstProblem string  `json:"first_problem,omitempty"` // the first thing that went wrong
	OK           bool    `json:"ok"`                      // nothing of the above did
}

// Times holds percentiles in microseconds, to three significant digits.
type Times struct {
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
}

func timesOf(h *hdrhistogram.Histogram) Times {
	if h.TotalCount() == 0 {
		return Times{}
	}
	return Times{
		P50:  h.ValueAtQuantile(50),
		P90:  h.ValueAtQuantile(90),
		P99:  h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9),
		Max:  h.Max(),
	}
}

// report makes the report. The lanes and publishers may still be running.
func (e *engine) report() *Report {
	r := &Report{
		Connections:  e.Connections,
		Topics:       e.Topics,
		Publishers:   e.Publishers,
		MessageBytes: e.MessageBytes,
		Window:       e.Window,
		Rate:         e.Rate,
		Stalled:      e.stalled,
	}
	e.mu.Lock()
	r.Opened, r.Failed = int(e.connecting.TotalCount()), e.failed
	r.Connecting = timesOf(e.connecting)
	r.OpeningSeconds = e.openingTime.Seconds()
	r.OpenedRate = per(r.Opened, e.openingTime)
	if e.first != nil {
		r.FirstProblem = e.first.Error()
	}
	e.mu.Unlock()

	latency := newHistogram()
	for _, l := range e.lanes {
		t := l.counted(latency)
		r.Lost += t.lost
		r.Delivered += t.got
		r.Disordered += t.disordered
		r.Foreign += t.foreign
		if r.FirstProblem == "" && t.first != nil {
			r.FirstProblem = t.first.Error()
		}
	}
	for _, p := range e.publishers {
		if r.FirstProblem == "" && p.first != nil {
			r.FirstProblem = p.first.Error()
		}
	}
	r.Latency = timesOf(latency)
	if e.measured {
		sums, began, last := e.flow.sums()
		took := last - began
		r.Seconds = took.Seconds()
		r.Published, r.Refused, r.Unknown, r.Expected = sums.published, sums.refused, sums.unknown, sums.expected
		r.PublishedRate, r.DeliveredRate = per(sums.published, took), per(r.Delivered, took)
		r.Missing = r.Expected - min(r.Delivered, r.Expected)
		if took > 0 {
			r.Cores = e.computed.Seconds() / took.Seconds()
		}
	}
	r.OK = r.Failed == 0 && r.Lost == 0 && r.Refused == 0 && r.Unknown == 0 && r.Missing == 0 &&
		r.Disordered == 0 && r.Foreign == 0 && !r.Stalled
	return r
}

// per returns n per second.
func per[N int | uint64](n N, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}
