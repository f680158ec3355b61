package forwarded_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/forwarded"
)

func TestClientAddress(t *testing.T) {
	const proxy, client = "10.1.2.3:4000", "203.0.113.9"
	for name, test := range map[string]struct {
		trusted string // separated by spaces
		peer    string
		headers []string
		want    string
	}{
		"no trusted proxies":          {"", proxy, []string{client}, proxy},
		"another peer":                {"10.9.0.0/16", proxy, []string{client}, proxy},
		"no header":                   {"10.0.0.0/8", proxy, nil, proxy},
		"an empty header":             {"10.0.0.0/8", proxy, []string{""}, proxy},
		"one proxy":                   {"10.0.0.0/8", proxy, []string{client}, client},
		"an address":                  {"10.1.2.3", proxy, []string{client}, client},
		"host bits":                   {"10.1.2.3/8", "10.200.0.1:1", []string{client}, client},
		"two ranges":                  {"192.168.0.0/16 10.0.0.0/8", proxy, []string{client}, client},
		"an invention before":         {"10.0.0.0/8", proxy, []string{"198.51.100.1, " + client}, client},
		"a trusted invention before":  {"10.0.0.0/8", proxy, []string{"10.0.0.1, " + client}, client},
		"two proxies":                 {"10.0.0.0/8", proxy, []string{"198.51.100.1, " + client + ",10.0.0.2"}, client},
		"two headers":                 {"10.0.0.0/8", proxy, []string{"198.51.100.1", client + ", 10.0.0.2"}, client},
		"a header of a proxy alone":   {"10.0.0.0/8", proxy, []string{"198.51.100.1, " + client, "10.0.0.2"}, client},
		"an empty header at the end":  {"10.0.0.0/8", proxy, []string{client, ""}, client},
		"only proxies":                {"10.0.0.0/8", proxy, []string{"10.0.0.7, 10.0.0.2"}, "10.0.0.7"},
		"garbage":                     {"10.0.0.0/8", proxy, []string{"unknown"}, proxy},
		"garbage before":              {"10.0.0.0/8", proxy, []string{"<script>, " + client}, client},
		"garbage before a proxy":      {"10.0.0.0/8", proxy, []string{client + ", unknown, 10.0.0.2"}, "10.0.0.2"},
		"an empty element":            {"10.0.0.0/8", proxy, []string{client + ",, 10.0.0.2"}, "10.0.0.2"},
		"a comma at the end":          {"10.0.0.0/8", proxy, []string{client + ","}, proxy},
		"a comma at the beginning":    {"10.0.0.0/8", proxy, []string{"," + client}, client},
		"with a port":                 {"10.0.0.0/8", proxy, []string{client + ":80"}, client},
		"IPv6":                        {"fd00::/8", "[fd00::1]:80", []string{"2001:db8::1"}, "2001:db8::1"},
		"IPv6 in brackets":            {"fd00::/8", "[fd00::1]:80", []string{"[2001:db8::1]"}, "2001:db8::1"},
		"IPv6 with a port":            {"fd00::/8", "[fd00::1]:80", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		"a zone":                      {"fe80::/10", "[fe80::1%eth0]:80", []string{"fe80::9%eth1, 2001:db8::1%x"}, "2001:db8::1"},
		"IPv4 in IPv6":                {"10.0.0.0/8", "[::ffff:10.1.2.3]:80", []string{"::ffff:" + client + ", ::ffff:10.0.0.2"}, client},
		"a proxy that is IPv4 in 6":   {"::ffff:10.1.2.3", proxy, []string{client}, client},
		"a leading zero":              {"10.0.0.0/8", proxy, []string{"203.0.113.09"}, proxy},
		"a very long list":            {"10.0.0.0/8", proxy, []string{client + strings.Repeat(", 10.0.0.2", 1500)}, client},
		"everyone is trusted":         {"0.0.0.0/0", proxy, []string{"198.51.100.1, " + client}, "198.51.100.1"},
		"a peer that has no address":  {"10.0.0.0/8", "@", []string{client}, "@"},
		"a line break in the element": {"10.0.0.0/8", proxy, []string{client + "\n"}, proxy},
	} {
		proxies, errs := forwarded.Parse(strings.Fields(test.trusted))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = test.peer, test.headers
		var got string
		proxies.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr })).ServeHTTP(nil, r)
		if got != test.want {
			t.Errorf("%s: the address is %s, want %s", name, got, test.want)
		}
		if r.RemoteAddr != test.peer {
			t.Errorf("%s: the request was changed", name)
		}
	}
}

func TestBadProxies(t *testing.T) {
	bad := []string{"", "proxy", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "/8", "*", "10.0.0.1:80", "[::1]", "::ffff:10.0.0.0/104", "fe80::1%eth0/64", "http://10.0.0.1"}
	_, errs := forwarded.Parse(append([]string{"10.0.0.1"}, bad...))
	if len(errs) != len(bad) {
		t.Fatalf("%d errors, want %d: %v", len(errs), len(bad), errs)
	}
	for i, text := range bad {
		if !strings.Contains(errs[i].Error(), `has "`+text+`": use`) {
			t.Errorf("%q: %v", text, errs[i])
		}
	}
}
