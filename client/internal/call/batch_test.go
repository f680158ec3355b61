package call_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/ikornaselur/notiflux/client/internal/call"
)

func TestBatch(t *testing.T) {
	var b call.Batch
	huge := bytes.Repeat([]byte{'1'}, 2<<20)
	if !b.Fits(huge) {
		t.Error("a message that is too large for every batch does not fit into an empty one")
	}
	for n := range 1000 {
		if !b.Fits([]byte("12")) {
			t.Fatalf("only %d messages fit", n)
		}
		b.Add(n, []byte("12"))
	}
	if b.Fits([]byte("12")) {
		t.Error("more than 1,000 messages fit")
	}
	first, second := b.Halves()
	if len(first.At) != 500 || len(second.At) != 500 || second.At[0] != 500 || len(second.Bodies) != 500 {
		t.Errorf("the halves have %d and %d messages", len(first.At), len(second.At))
	}
	var numbers []int
	if err := json.Unmarshal(b.JSON(), &numbers); err != nil || len(numbers) != 1000 || numbers[999] != 12 {
		t.Errorf("JSON = %.20s…, %v", b.JSON(), err)
	}
	for size := range 7 {
		var b call.Batch
		body := bytes.Repeat([]byte{'1'}, 100_000+size)
		for n := 0; b.Fits(body); n++ {
			b.Add(n, body)
		}
		if got := len(b.JSON()); got > 1<<20 || got+len(body) < 1<<20 {
			t.Errorf("a full batch of messages of %d bytes has %d bytes, want almost 1 MiB", len(body), got)
		}
	}
}
