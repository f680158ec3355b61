package wire_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/client/internal/wire"
)

func TestParseFrameTellsHalfAFrame(t *testing.T) {
	const frame = ` {"type":"message","topic":"a","data":{"x":[1,"\u00fc"]}}`
	for at := range len(frame) {
		if f, err := wire.ParseFrame([]byte(frame[:at])); err != wire.ErrHalfFrame {
			t.Errorf("ParseFrame(%q) = %v, %v; want half a frame", frame[:at], f, err)
		}
	}
	for _, broken := range []string{"hello", "1", `[]`, `{"type":"message"}}`, `{"type":"message",}`, `{"type":"message","topic":1}`, `{"type":1}`} {
		if f, err := wire.ParseFrame([]byte(broken)); err != wire.ErrProtocol {
			t.Errorf("ParseFrame(%q) = %v, %v; want ErrProtocol", broken, f, err)
		}
	}
}

func TestParseFrameIgnoresWhatIsNew(t *testing.T) {
	f, err := wire.ParseFrame([]byte(`{"type":"later","topic":{"a":1},"id":"x"}`))
	if err != nil || f.Type != "later" || f.Topic != "" {
		t.Errorf("ParseFrame = %+v, %v", f, err)
	}
	f, err = wire.ParseFrame([]byte(`{"type":"gap","topic":"a","later":1}`))
	if err != nil || f.Topic != "a" {
		t.Errorf("ParseFrame = %+v, %v", f, err)
	}
}

func TestWelcomeOfAbsurdNumbers(t *testing.T) {
	f, err := wire.ParseFrame([]byte(`{"type":"welcome","ping":9223372036854775807,"limits":{"message":9223372036854775807,"command":-1}}`))
	if err != nil {
		t.Fatal(err)
	}
	w := f.Welcome()
	if w.Ping != time.Hour || w.Limits.Message != 8<<20 || w.Limits.Command != 80<<10 {
		t.Errorf("Welcome = %+v", w)
	}
}

func TestStatusOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a bubble begins on 1 January 2000
		for _, c := range []struct {
			status      int
			after, body string
			want        wire.Status
			sentence    string
		}{
			{503, "7", `{"title":"Unavailable","status":503,"code":"draining","detail":"bye"}`, wire.Status{Status: 503, Code: "draining", Message: "bye", After: 7 * time.Second}, "draining: bye"},
			{429, "Sat, 01 Jan 2000 00:01:00 GMT", "", wire.Status{Status: 429, After: time.Minute}, "the server answered with status 429"},
			{502, "Fri, 31 Dec 1999 00:01:00 GMT", "<html>", wire.Status{Status: 502}, "the server answered with status 502"},
			{404, "soon", `{"detail":"no code"}`, wire.Status{Status: 404}, "the server answered with status 404"},
			{500, "-1", `{"code":"internal","detail":"` + strings.Repeat("x", 20) + `"}`, wire.Status{Status: 500, Code: "internal", Message: strings.Repeat("x", 20)}, "internal: " + strings.Repeat("x", 20)},
			{409, "", `{"code":"key_reused","detail":"cut off`, wire.Status{Status: 409, Code: "key_reused"}, "key_reused: "},
		} {
			response := &http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {c.after}}, Body: io.NopCloser(strings.NewReader(c.body))}
			got := wire.StatusOf(response)
			if e, ok := got.(*wire.Status); !ok || *e != c.want || got.Error() != c.sentence {
				t.Errorf("StatusOf(%d %s %.20s) = %+v, %v; want %+v", c.status, c.after, c.body, e, got, c.want)
			}
		}
	})
}
