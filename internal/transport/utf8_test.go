package transport_test

import (
	"testing"
	"unicode/utf8"

	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wsframe"
)

// beginnings are the proper prefixes of all characters.
func beginnings() map[string]bool {
	all := make(map[string]bool)
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if utf8.ValidRune(r) {
			encoded := string(r)
			for n := 1; n < len(encoded); n++ {
				all[encoded[:n]] = true
			}
		}
	}
	return all
}

// Text fails at the first byte that cannot occur there in valid text, wherever frames and
// reads are split, and not later.
func TestTextFailsAtOnce(t *testing.T) {
	begins := beginnings()
	// lawful reports whether s is the beginning of a valid text.
	lawful := func(s string) bool {
		for s != "" {
			r, n := utf8.DecodeRuneInString(s)
			if r == utf8.RuneError && n < 2 {
				return begins[s]
			}
			s = s[n:]
		}
		return true
	}
	edges := []byte{'a', 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff}
	var try func(s string)
	ways := map[string]func(f *fake, s string){
		"one frame": func(f *fake, s string) {
			f.read(masked(wsframe.Header{First: 0x81, Length: 1000}, s), bytewise)
		},
		"one frame, one read": func(f *fake, s string) {
			f.read(masked(wsframe.Header{First: 0x81, Length: 1000}, s), whole)
		},
		"a fragment for each byte": func(f *fake, s string) {
			first := byte(0x01)
			for i := range len(s) {
				f.read(frame(first, s[i:i+1]), whole)
				first = 0
			}
		},
		"one fragment": func(f *fake, s string) { f.read(frame(0x01, s), whole) },
	}
	try = func(s string) {
		for name, send := range ways {
			f := dial(new(transport.Config))
			send(f, "ß"+s)
			if got, want := f.ws.Closing(), !lawful(s); got != want {
				t.Fatalf("%s: text that begins with %q is refused: %v, want %v", name, "ß"+s, got, want)
			}
		}
		if len(s) == 4 || !lawful(s) {
			return
		}
		for _, b := range edges {
			try(s + string([]byte{b}))
		}
	}
	try("")
}
