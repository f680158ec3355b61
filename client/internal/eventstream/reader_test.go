package eventstream_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ikornaselur/notiflux/client/internal/eventstream"
)

// The data of events is what was written, however the stream is cut into reads,
// and an event that is cut off is none.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("retry: 1730\nevent: hello\ndata: {}\nid: x\n\n:\n\ndata:1\r\ndata: 2\r\n\r\ndata: cut"), `{"x":1}`, 3)
	f.Add([]byte("data\n\n"), "", 0)
	f.Fuzz(func(t *testing.T, stream []byte, data string, cut int) {
		read := func(r io.Reader) (all []string) {
			events := eventstream.NewReader(r, func() {})
			for {
				data, err := events.Next()
				if err != nil {
					return all
				}
				all = append(all, string(data))
			}
		}
		whole, pieces := read(bytes.NewReader(stream)), read(iotest.OneByteReader(bytes.NewReader(stream)))
		if fmt.Sprint(whole) != fmt.Sprint(pieces) {
			t.Errorf("%q is read as %q, by bytes as %q", stream, whole, pieces)
		}
		if strings.ContainsAny(data, "\r\n") {
			return
		}
		event := "event: message\ndata: " + data + "\nid: x\n\n"
		if got := read(strings.NewReader(event)); len(got) != 1 || got[0] != data {
			t.Errorf("%q is read as %q", event, got)
		}
		if got := read(strings.NewReader(event[:min(max(cut, 0), len(event)-1)])); len(got) > 0 {
			t.Errorf("an event that is cut off is read as %q", got)
		}
	})
}
