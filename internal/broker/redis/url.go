package redis

import (
	"cmp"
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
	if err != nil || *u != (url.URL{Scheme: "redis", User: u.User, Host: "host"}) {
		return o, errors.New("the user or the password in the URL is malformed: write characters such as @, /, ?, # and % as %40, %2F, %3F, %23 and %25")
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
		h, p, ok := splitHost(host)
		if !ok {
			return o, fmt.Errorf("%q in the URL is not a host with an optional port", host)
		}
		p = cmp.Or(p, port)
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return o, fmt.Errorf("the port of %q in the URL is not a number from 1 to 65535", host)
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

// splitHost splits a host with an optional port. An IPv6 address has brackets, and may have a zone
// after a %, which can be written as %25, as in URLs.
func splitHost(host string) (name, port string, ok bool) {
	if !strings.Contains(host, "%25") {
		host = strings.ReplaceAll(host, "%", "%25")
	}
	u, err := url.Parse("//" + host)
	if err != nil || *u != (url.URL{Host: u.Host}) {
		return "", "", false
	}
	name = u.Hostname()
	return name, u.Port(), name != "" && strings.Contains(name, ":") == strings.HasPrefix(host, "[")
}

var errURL = errors.New("use memory, or a URL such as redis://HOST:6379, rediss://HOST:6379 or redis+sentinel://HOST:26379/PRIMARY")
