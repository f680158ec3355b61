package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

const (
	defaultPort         = "6379"
	defaultSentinelPort = "26379"
)

// ParseURL parses the address of Redis or Valkey:
//
//	redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]
//	redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]]…/PRIMARY[/DATABASE]
//
// With rediss in place of redis, connections use TLS. Sentinels get the same user and
// password. Errors do not contain the password.
func ParseURL(address string) (o Options, err error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return o, errURL
	}
	// Several hosts are not a URL, so they are parsed on their own.
	path, hosts := "", rest
	if at := strings.IndexByte(rest[strings.LastIndexByte(rest, '@')+1:], '/'); at >= 0 {
		at += strings.LastIndexByte(rest, '@') + 1
		hosts, path = rest[:at], rest[at+1:]
	}
	user := ""
	if at := strings.LastIndexByte(hosts, '@'); at >= 0 {
		user, hosts = hosts[:at], hosts[at+1:]
	}
	u, err := url.Parse("redis://" + user + "@host")
	if err != nil {
		return o, errors.New("the user or the password in the URL is malformed: write characters such as @, / and # as %40, %2F and %23")
	}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()

	port := defaultPort
	switch scheme {
	case "redis", "rediss":
		if strings.Contains(hosts, ",") {
			return o, errors.New("a redis:// URL has one host: use redis+sentinel:// for several sentinels")
		}
	case "redis+sentinel", "rediss+sentinel":
		port = defaultSentinelPort
		o.Primary, path, _ = strings.Cut(path, "/")
		if o.Primary == "" {
			return o, errors.New("the URL names no primary: use redis+sentinel://HOST:26379/PRIMARY")
		}
	default:
		return o, errURL
	}
	for host := range strings.SplitSeq(hosts, ",") {
		h, p, err := net.SplitHostPort(host)
		if err != nil {
			h, p = strings.Trim(host, "[]"), port
		}
		if n, err := strconv.Atoi(p); h == "" || err != nil || n < 1 || n > 65535 {
			return o, fmt.Errorf("%q in the URL is not a host with an optional port", host)
		}
		o.Addresses = append(o.Addresses, net.JoinHostPort(h, p))
	}
	if strings.HasPrefix(scheme, "rediss") {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if path != "" {
		if o.Database, err = strconv.Atoi(path); err != nil || o.Database < 0 {
			return o, fmt.Errorf("%q in the URL is not the number of a database", path)
		}
	}
	return o, nil
}

var errURL = errors.New("use memory, or a URL such as redis://HOST:6379, rediss://HOST:6379 or redis+sentinel://HOST:26379/PRIMARY")
