package origin_test

import (
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/origin"
)

func TestListsAllowAndName(t *testing.T) {
	tests := []struct {
		list    string // elements separated by commas
		header  string
		allowed bool
		named   bool
	}{
		{"*", "https://app.example.com", true, false},
		{"*", "null", true, false},
		{" * ", "https://app.example.com", true, false},

		{"https://app.example.com", "https://app.example.com", true, true},
		{"HTTPS://App.Example.com", "https://app.example.com", true, true},
		{"https://app.example.com", "http://app.example.com", false, false},
		{"https://app.example.com", "https://app.example.com:8443", false, false},
		{"https://app.example.com", "https://x.app.example.com", false, false},
		{"https://app.example.com", "null", false, false},
		{"https://app.example.com", "", false, false},
		{"https://a.example.com, https://b.example.com ,", "https://b.example.com", true, true},

		// Default ports, which browsers omit.
		{"https://app.example.com:443", "https://app.example.com", true, true},
		{"http://app.example.com:80", "http://app.example.com", true, true},
		{"https://app.example.com:0443", "https://app.example.com", true, true},
		{"http://app.example.com:443", "http://app.example.com", false, false},
		{"http://app.example.com:443", "http://app.example.com:443", true, true},
		{"https://app.example.com:8443", "https://app.example.com:8443", true, true},
		{"http://[0:0:0:0:0:0:0:1]:80", "http://[::1]", true, true},
		{"http://127.0.0.1:3000", "http://127.0.0.1:3000", true, true},
		{"http://[::ffff:127.0.0.1]", "http://[::ffff:7f00:1]", true, true},
		{"http://[::FFFF:192.168.0.10]:3000", "http://[::ffff:c0a8:a]:3000", true, true},
		{"http://[::ffff:0:0]", "http://[::ffff:0:0]", true, true},

		// The dot at the end of a full name stays, and makes a different host.
		{"https://app.example.com.", "https://app.example.com.", true, true},
		{"https://app.example.com.", "https://app.example.com", false, false},
		{"https://*.example.com.", "https://app.example.com.", true, false},
		{"http://my_app", "http://my_app", true, true},
		{"https://123.example", "https://123.example", true, true},
		{"https://0xyz", "https://0xyz", true, true},

		// Apps whose pages have their own scheme.
		{"capacitor://localhost", "capacitor://localhost", true, true},
		{"ionic://localhost, tauri://localhost", "tauri://localhost", true, true},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", true, true},
		{"moz-extension://0b1c2d3e-0000-4000-8000-0123456789ab", "moz-extension://0b1c2d3e-0000-4000-8000-0123456789ab", true, true},
		{"my.app+1://-", "my.app+1://-", true, true},

		// Subdomains at any depth are allowed, but not named.
		{"https://*.example.com", "https://app.example.com", true, false},
		{"https://*.Example.com:443", "https://a.b-c.EXAMPLE.com", true, false},
		{"https://*.example.com", "https://example.com", false, false},
		{"https://*.example.com", "https://.example.com", false, false},
		{"https://*.example.com", "https://a..example.com", false, false},
		{"https://*.example.com", "http://app.example.com", false, false},
		{"https://*.example.com", "https://app.example.com:8443", false, false},
		{"https://*.example.com:8443", "https://app.example.com:8443", true, false},
		{"https://*.example.com", "https://badexample.com", false, false},
		{"https://*.example.com", "https://app.example.com.evil.test", false, false},
		{"https://*.example.com", "https://evil.test/.example.com", false, false},
		{"https://*.example.com", "https://evil.test:80@a.example.com", false, false},
		{"https://*.example.com", "https://*.example.com", false, false},
		{"https://*.example.com", "", false, false},
		{"https://*.example.com,https://app.example.com", "https://app.example.com", true, true},
		{"https://app.example.com,https://*.example.org", "https://x.example.org", true, false},
	}
	for _, tt := range tests {
		l, err := origin.Parse(strings.Split(tt.list, ","))
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.list, err)
			continue
		}
		if got := l.Allows(tt.header); got != tt.allowed {
			t.Errorf("Parse(%q).Allows(%q) = %v, want %v", tt.list, tt.header, got, tt.allowed)
		}
		if got := l.Names(tt.header); got != tt.named {
			t.Errorf("Parse(%q).Names(%q) = %v, want %v", tt.list, tt.header, got, tt.named)
		}
	}
}

// An entry that no browser sends would shut out the pages that it was meant for.
func TestParseRefusesEntriesThatNeverMatch(t *testing.T) {
	tests := []struct{ list, want string }{
		{"", "write * to allow"},
		{" , ", "write * to allow"},
		{"*,https://app.example.com", "write * alone"},
		{"https://app.example.com,*", "write * alone"},
		{"app.example.com", `"app.example.com", which is not an origin`},
		{"*.example.com", `"*.example.com", which is not an origin`},
		{"https://app.example.com/", "not an origin"},
		{"https://app.example.com/page", "not an origin"},
		{"https://user@app.example.com", "not an origin"},
		{"https://a.example.com https://b.example.com", "not an origin"},
		{"null", "not an origin"},
		{"https://app.*.com", "as in https://*.example.com"},
		{"https://*app.example.com", "as in https://*.example.com"},
		{"https://*", "as in https://*.example.com"},
		{"https://app.example.com:", "from 1 to 65535"},
		{"https://app.example.com:0", "from 1 to 65535"},
		{"https://app.example.com:70000", "from 1 to 65535"},
		{"wss://app.example.com", "starts with http"},
		{"ftp://app.example.com", "no page has an origin that starts with ftp"},
		{"FTP://app.example.com", "no page has an origin that starts with ftp"},
		{"file://app", "no page has an origin that starts with file"},
		{"mqtt://*.example.com", "no page has an origin that starts with mqtt"},
		{"https://bücher.example", "Punycode"},
		{"http://127.1", "four numbers"},
		{"http://1.2.3.4.", "four numbers"},
		{"http://*.1.2.3.4", "four numbers"},
		{"http://1.2.3.08", "four numbers"},
		{"http://example.0x", "four numbers"},
		{"https://*.", "consists of labels"},
		{"https://*.:8443", "consists of labels"},
		{"https://*..", "consists of labels"},
		{"https://.", "consists of labels"},
		{"https://..", "consists of labels"},
		{"https://.example.com", "consists of labels"},
		{"https://*..example.com", "consists of labels"},
		{"https://a..b", "consists of labels"},
		{"https://example.com..", "consists of labels"},
		{"https://a$b", "consists of labels"},
		{"http://*.[::1]", "has "},
	}
	for _, tt := range tests {
		if _, err := origin.Parse(strings.Split(tt.list, ",")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Parse(%q) = %v, want an error with %q", tt.list, err, tt.want)
		}
	}
	if _, err := origin.Parse(nil); err == nil || !strings.Contains(err.Error(), "write * to allow") {
		t.Errorf("Parse(nil) = %v, want an error that says to write *", err)
	}
}

func TestTheZeroListAllowsAny(t *testing.T) {
	var l origin.List
	if !l.Any() || !l.Allows("https://app.example.com") || l.Names("https://app.example.com") {
		t.Error("the zero List should allow any origin and name none")
	}
}
