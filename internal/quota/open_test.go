package quota

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// As many are open as a plain counter allows, and nothing is kept of those that have ended.
func TestOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 3).Draw(t, "limit")
		o := NewOpen(limit)
		holders := []string{"192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", "user a", "user b"}
		open := map[string]int{}
		refused := uint64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			h := rapid.SampledFrom(holders).Draw(t, "holder")
			begin, end := o.Begin, o.End
			if strings.HasPrefix(h, "user") {
				begin, end = func(h string) error { return o.BeginUser("i", h) }, func(h string) { o.EndUser("i", h) }
			}
			if open[h] > 0 && rapid.Bool().Draw(t, "ends") {
				end(h)
				open[h]--
				continue
			}
			err := begin(h)
			if (err == nil) != (open[h] < limit) {
				t.Fatalf("%s has %d of %d open: %v", h, open[h], limit, err)
			}
			if err == nil {
				open[h]++
				continue
			}
			refused++
			if e := pubsub.Refusal(err); e.Code != pubsub.TooMany || *e.Quota != (pubsub.Quota{Policy: "open-connections", Limit: limit}) {
				t.Fatalf("%+v", e)
			}
		}
		left := 0
		for _, n := range open {
			if n > 0 {
				left++
			}
		}
		if len(o.open) != left || o.Refused() != refused {
			t.Fatalf("%d holders are kept and %d refused, want %d and %d", len(o.open), o.Refused(), left, refused)
		}
	})
}

func TestOpenWithoutLimit(t *testing.T) {
	none := NewOpen(0)
	if err := fmt.Sprint(none.Begin("192.0.2.1"), none.BeginUser("", "ann")); err != "<nil> <nil>" {
		t.Error(err)
	}
	none.End("192.0.2.1")
	none.EndUser("", "ann")
}
