package broker_test

import (
	"maps"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
)

func TestHistogram(t *testing.T) {
	s := broker.NewStats()
	for _, v := range []int64{1, 2, 3, 64, 65, 1000} {
		s.Messages.Add(v)
	}
	count, sum, upTo := s.Messages.Read()
	want := map[float64]uint64{1: 1, 2: 2, 4: 3, 8: 3, 16: 3, 32: 3, 64: 4}
	if count != 6 || sum != 1135 || !maps.Equal(upTo, want) {
		t.Errorf("Read = %d, %v, %v, want 6, 1135, %v", count, sum, upTo, want)
	}

	for _, d := range []time.Duration{-time.Second, 250 * time.Microsecond, 2 * time.Second} {
		s.Lag.Add(int64(d))
	}
	count, sum, upTo = s.Lag.Read()
	if count != 3 || sum != 2.00025 || upTo[0.00025] != 2 || upTo[1] != 2 || upTo[2.5] != 3 || upTo[10] != 3 {
		t.Errorf("Read = %d, %v, %v, want 3 values, of which 2 are up to 0.00025 s and all up to 2.5 s", count, sum, upTo)
	}
	if n := testing.AllocsPerRun(100, func() { s.Lag.Add(int64(time.Millisecond)) }); n != 0 {
		t.Errorf("Add allocates %v times", n)
	}
}
