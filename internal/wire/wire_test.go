package wire_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/transport/frametest"
	"github.com/ikornaselur/notiflux/internal/wire"
)

func TestParseText(t *testing.T) {
	const invalid = "Invalid subscribe command, it should be: /subscribe <topic> <token>"
	const unknown = "Unknown command"
	for line, want := range map[string]wire.Command{
		"":                           {Verb: wire.Ignore},
		"hello":                      {Verb: wire.Ignore},
		"subscribe a b":              {Verb: wire.Ignore},
		"/subscribe a b":             {Verb: wire.Subscribe, Topic: "a", Token: "b"},
		" \t/subscribe a b\r\n":      {Verb: wire.Subscribe, Topic: "a", Token: "b"},
		"\u00a0/unsubscribe a\u3000": {Verb: wire.Unsubscribe, Topic: "a"},
		"/subscribe  b":              {Verb: wire.Subscribe, Topic: "", Token: "b"},
		"/subscribe":                 {Verb: wire.Invalid, Answer: invalid},
		"/subscribe a":               {Verb: wire.Invalid, Answer: invalid},
		"/subscribe a b c":           {Verb: wire.Invalid, Answer: invalid},
		"/subscribe a  b":            {Verb: wire.Invalid, Answer: invalid},
		"/unsubscribe a":             {Verb: wire.Unsubscribe, Topic: "a"},
		"/unsubscribe a b":           {Verb: wire.Unsubscribe, Topic: "a b"},
		"/unsubscribe  a":            {Verb: wire.Unsubscribe, Topic: " a"},
		"/unsubscribe":               {Verb: wire.Invalid, Answer: unknown},
		"/unsubscribe-all":           {Verb: wire.UnsubscribeAll},
		"/unsubscribe-all a":         {Verb: wire.Invalid, Answer: unknown},
		"/":                          {Verb: wire.Invalid, Answer: unknown},
		"//subscribe a b":            {Verb: wire.Invalid, Answer: unknown},
		"/Subscribe a b":             {Verb: wire.Invalid, Answer: unknown},
		"/subscribe\na b":            {Verb: wire.Invalid, Answer: unknown},
	} {
		if got := wire.ParseText(line); got != want {
			t.Errorf("ParseText(%q) = %+v, want %+v", line, got, want)
		}
	}
}

func FuzzParseText(f *testing.F) {
	f.Add("/subscribe a b")
	f.Add(" /unsubscribe-all")
	f.Fuzz(func(t *testing.T, line string) {
		c := wire.ParseText(line)
		if command := strings.HasPrefix(strings.TrimSpace(line), "/"); command != (c.Verb != wire.Ignore) {
			t.Errorf("ParseText(%q) = %+v", line, c)
		}
		if (c.Answer != "") != (c.Verb == wire.Invalid) || strings.ContainsAny(c.Token, " ") {
			t.Errorf("ParseText(%q) = %+v", line, c)
		}
		if c.Verb == wire.Subscribe {
			answer := wire.Denied(c.Topic, notiflux.Errorf(notiflux.TopicInvalid, "no"))
			if strings.ContainsAny(answer, "\n\x00") || !utf8.ValidString(answer) {
				t.Errorf("Denied(%q) = %q, want one line of UTF-8", c.Topic, answer)
			}
		}
	})
}

func TestFramesAreReadByOthers(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000} {
		data := bytes.Repeat([]byte("x"), size)
		m := &notiflux.Message{Body: notiflux.Body{Data: data}}
		frame, err := frametest.ReadFrame(bytes.NewReader(new(wire.Encoder).Encode(m, notiflux.Text)))
		if err != nil || !frame.Header.Fin || frame.Header.Masked || frame.Header.OpCode != ws.OpText || !bytes.Equal(frame.Payload, data) {
			t.Errorf("a message of %d bytes is read as %+v, %v", size, frame.Header, err)
		}
	}
}

func TestAppendClose(t *testing.T) {
	for _, reason := range []string{"", "bye", strings.Repeat("x", 123), strings.Repeat("x", 124), strings.Repeat("é", 100)} {
		frame, err := frametest.ReadFrame(bytes.NewReader(wire.AppendClose(nil, wire.CloseTooSlow, reason)))
		if err != nil {
			t.Fatal(err)
		}
		code, got := ws.ParseCloseFrameData(frame.Payload)
		if frame.Header.Length > 125 || code != 4202 || !strings.HasPrefix(reason, got) || !utf8.ValidString(got) || len(reason)-len(got) > max(0, len(reason)-122) {
			t.Errorf("close with a reason of %d bytes: %d, %q", len(reason), code, got)
		}
	}
}

// Every row of the table, as a publisher sees it.
func TestWriteProblem(t *testing.T) {
	for code, want := range map[notiflux.Code]struct {
		status    int
		challenge string
		retry     string
	}{
		notiflux.Malformed:            {400, "", ""},
		notiflux.TopicInvalid:         {400, "", ""},
		notiflux.TokenMissing:         {401, `Bearer error="invalid_request"`, ""},
		notiflux.TokenInvalid:         {401, `Bearer error="invalid_token"`, ""},
		notiflux.TokenExpired:         {401, `Bearer error="invalid_token"`, ""},
		notiflux.ScopeDenied:          {403, "", ""},
		notiflux.TopicDenied:          {403, "", ""},
		notiflux.OriginDenied:         {403, "", ""},
		notiflux.NotFound:             {404, "", ""},
		notiflux.MethodNotAllowed:     {405, "", ""},
		notiflux.TooLarge:             {413, "", ""},
		notiflux.UnsupportedMediaType: {415, "", ""},
		notiflux.UpgradeRequired:      {426, "", ""},
		notiflux.TooMany:              {429, "", "2"},
		notiflux.Internal:             {500, "", ""},
		notiflux.OverCapacity:         {503, "", "2"},
		notiflux.Unavailable:          {503, "", "2"},
		notiflux.Draining:             {503, "", "2"},
		"never heard of":              {500, "", ""},
	} {
		w := httptest.NewRecorder()
		wire.WriteProblem(w, notiflux.Errorf(code, "what is wrong"))
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if w.Code != want.status || w.Header().Get("WWW-Authenticate") != want.challenge || w.Header().Get("Retry-After") != want.retry ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d, %v; want %+v", code, w.Code, w.Header(), want)
		}
		if body["code"] != string(code) || body["detail"] != "what is wrong" || body["status"] != float64(want.status) {
			t.Errorf("%s: body %v", code, body)
		}
	}
}
