package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/config"
)

// Nobody waits for a reader that does not read the log. It gets the first lines in
// their order, then how many are missing, and then what comes later.
func TestTheLogWaitsForNoReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	log, flush := openLog(w, config.Serve{LogFormat: "text"})
	const lines = 3 * logBytes / 1000
	for i := range lines {
		log.Info("line", "n", i, "x", strings.Repeat("x", 1000))
	}
	if flush() {
		t.Error("all is written, to nobody")
	}
	read, missing := 0, 0
	for s := bufio.NewScanner(r); missing == 0 && s.Scan(); {
		if _, count, ok := strings.Cut(s.Text(), `msg="log lines dropped" count=`); ok {
			fmt.Sscan(count, &missing)
		} else if strings.Contains(s.Text(), fmt.Sprintf("msg=line n=%d x=", read)) {
			read++
		} else {
			t.Fatalf("after %d lines: %.100s", read, s.Text())
		}
	}
	if read == 0 || missing == 0 || read+missing != lines {
		t.Errorf("read %d lines and told that %d are missing, want %d in all", read, missing, lines)
	}
	w.Close()
}

// A reader that reads gets every line.
func TestTheLogIsWhole(t *testing.T) {
	var out strings.Builder
	log, flush := openLog(&out, config.Serve{LogFormat: "json"})
	for i := range 1000 {
		log.Info("line", "n", i)
	}
	if !flush() {
		t.Fatal("the log is not written")
	}
	if n := strings.Count(out.String(), "\n"); n != 1000 || !strings.Contains(out.String(), `"n":999}`) {
		t.Errorf("%d lines, want 1000", n)
	}
}
