package redis_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
)

func TestParseURL(t *testing.T) {
	for _, test := range []struct {
		url  string
		want redis.Options // without TLS
		tls  bool
		err  string
	}{
		{url: "redis://host", want: redis.Options{Addresses: []string{"host:6379"}}},
		{url: "redis://host:1/", want: redis.Options{Addresses: []string{"host:1"}}},
		{url: "rediss://u:p%40%2F@[::1]:1/7", want: redis.Options{Addresses: []string{"[::1]:1"}, Username: "u", Password: "p@/", Database: 7}, tls: true},
		{url: "redis://[fe80::1%eth0]", want: redis.Options{Addresses: []string{"[fe80::1%eth0]:6379"}}},
		{url: "redis://[fe80::1%25eth0]", want: redis.Options{Addresses: []string{"[fe80::1%eth0]:6379"}}},
		{url: "redis://:p@host", want: redis.Options{Addresses: []string{"host:6379"}, Password: "p"}},
		{url: "redis+sentinel://u:p@a,b:1/main/2", want: redis.Options{Addresses: []string{"a:26379", "b:1"}, Primary: "main", Username: "u", Password: "p", Database: 2}},
		{url: "rediss+sentinel://a/main", want: redis.Options{Addresses: []string{"a:26379"}, Primary: "main"}, tls: true},
		{url: "", err: "use memory, or a URL"},
		{url: "host:6379", err: "use memory, or a URL"},
		{url: "http://host", err: "use memory, or a URL"},
		{url: "redis://", err: `"" in the URL is not a host`},
		{url: "redis://host:port", err: `"host:port" in the URL is not a host`},
		{url: "redis://host:0", err: `the port of "host:0" in the URL is not a number from 1 to 65535`},
		{url: "redis://host:65536", err: `the port of "host:65536"`},
		{url: "rediss://:p@[::1/0", err: `"[::1" in the URL is not a host`},
		{url: "redis://::1", err: `"::1" in the URL is not a host`},
		{url: "redis://a b/0", err: `"a b" in the URL is not a host`},
		{url: "redis://host?db=1", err: `"host?db=1" in the URL is not a host`},
		{url: "redis://a,b", err: "use redis+sentinel://"},
		{url: "redis://host/x", err: `"x" in the URL is not the number of a database`},
		{url: "redis://host/-1", err: `"-1" in the URL is not the number of a database`},
		{url: "redis+sentinel://a", err: "names no primary"},
		{url: "redis://u:%zz@host", err: "write characters such as @"},
		{url: "redis://u:p@w/x@host", err: "write characters such as @"},
		{url: "redis://u:p@w?x@host", err: "write characters such as @"},
		{url: "redis://a#b:c@host", err: "write characters such as @"},
		{url: "redis+sentinel://u:p@w/z@a,b/m", err: "write characters such as @"},
	} {
		o, err := redis.ParseURL(test.url)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "%zz") {
				t.Errorf("ParseURL(%q) = %v, want an error with %q", test.url, err, test.err)
			}
			continue
		}
		if err != nil || (o.TLS != nil) != test.tls {
			t.Errorf("ParseURL(%q) = %+v, %v", test.url, o, err)
		}
		got, want := []any{strings.Join(o.Addresses, " "), o.Primary, o.Username, o.Password, o.Database}, test.want
		for i, w := range []any{strings.Join(want.Addresses, " "), want.Primary, want.Username, want.Password, want.Database} {
			if got[i] != w {
				t.Errorf("ParseURL(%q) = %+v, want %+v", test.url, o, want)
			}
		}
	}
}

func check(t *testing.T, o redis.Options) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return redis.Check(ctx, redis.Config{Options: o, Prefix: "notiflux:"})
}

// The rights in the guide are enough, and each of them is necessary.
func TestRights(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/guides/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := regexp.MustCompile(`(?m)^ACL SETUSER notiflux on >PASSWORD (.*)$`).FindSubmatch(guide)
	if rule == nil {
		t.Fatal("the guide has no ACL rule")
	}
	s := redistest.Start(t)
	rights := strings.Fields(string(rule[1]))
	as := redis.Options{Addresses: []string{s.Addr}, Username: "notiflux", Password: "secret"}
	set := func(rights []string) {
		s.Client(append([]string{"ACL", "SETUSER", "notiflux", "reset", "on", ">secret"}, rights...)...)
	}
	set(rights)
	if err := check(t, as); err != nil {
		t.Fatalf("with the rights of the guide, Check = %v", err)
	}
	for i, right := range rights {
		if right == "+eval" { // only for a Redis that does not have the scripts
			continue
		}
		set(append(append([]string{}, rights[:i]...), rights[i+1:]...))
		err := check(t, as)
		command, named := strings.CutPrefix(right, "+")
		if err == nil || !strings.Contains(err.Error(), "the server refuses what notiflux needs: ") || named && !strings.Contains(strings.ToLower(err.Error()), command) {
			t.Errorf("without the right %s, Check = %v", right, err)
		}
	}
	as.Password = "wrong"
	if err := check(t, as); err == nil || !strings.Contains(err.Error(), "WRONGPASS") || strings.Contains(err.Error(), "wrong ") {
		t.Errorf("with a wrong password, Check = %v", err)
	}
}

// A Redis that is away is waited for, so it is no error at start.
func TestCheckAway(t *testing.T) {
	s := redistest.Start(t)
	o := redis.Options{Addresses: []string{s.Addr}}
	if err := check(t, o); err != nil {
		t.Errorf("Check = %v", err)
	}
	if keys := s.Client("KEYS", "*check*"); strings.Contains(keys, "check") {
		<-time.After(1100 * time.Millisecond)
		if keys = strings.TrimSpace(s.Client("KEYS", "*check*")); keys != "" {
			t.Errorf("Check leaves %q", keys)
		}
	}
	s.Kill()
	if err := check(t, o); err != nil {
		t.Errorf("Check = %v while Redis is away", err)
	}
}

func TestVersions(t *testing.T) {
	for info, want := range map[string]string{
		"redis_version:6.2.0\r\n":                         "",
		"redis_version:7.4.1\r\n":                         "",
		"redis_version:10.0.0\r\n":                        "",
		"redis_version:6.0.16\r\n":                        "Redis 6.0.16 is too old: use 6.2 or later",
		"redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n": "",
		"redis_version:7.2.4\r\nvalkey_version:7.1.9\r\n": "Valkey 7.1.9 is too old: use 7.2 or later",
		"server_name:other\r\n":                           "",
		"redis_version:unstable\r\n":                      "",
	} {
		err := redis.CheckVersionForTest(info)
		if got := ""; err != nil {
			if got = err.Error(); got != want {
				t.Errorf("%q: %s, want %s", info, got, want)
			}
		} else if want != "" {
			t.Errorf("%q is accepted, want %s", info, want)
		}
	}
}
