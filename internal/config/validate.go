package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxMessageBytes limits what an operator can allow, because the publisher's request and
// every client library hold a whole message in memory.
const maxMessageBytes = 8 * MiB

// maxBytes and maxCount limit every size and every number of things in memory, so that sums
// and small multiples do not overflow. No machine comes near them.
const (
	maxBytes = 1 << 20 * MiB // 1 TiB
	maxCount = math.MaxInt32
	maxRate  = 1_000_000 // a second
)

// maxPrefixBytes limits what every key in Redis takes.
const maxPrefixBytes = 64

// maxIssuer is the size of an issuer in bytes. A revocation can name one of at most that.
const maxIssuer = 255

// maxTokenLife is a hundred years: more could not be added to a time.
const maxTokenLife = 100 * 365 * 24 * time.Hour

// maxSocketPath is the length of the longest path of a Unix socket; a zero byte follows it.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// minIdleTimeout leaves a client enough time to reuse its connection.
const minIdleTimeout = time.Second

// Problems returns everything that is wrong with c and can be seen in c alone.
func (c *Serve) Problems() (p Problems) {
	c.validateListening(&p)
	c.validateKeys(&p)
	c.validateRevocations(&p)
	c.validateBroker(&p)
	c.validateHistory(&p)
	c.validateLimits(&p)
	c.validateRunning(&p)
	c.validateSections(&p)
	return p
}

func (c *Serve) validateListening(p *Problems) {
	host := BareHost(c.Host)
	p.when(host == "", "host", "is empty: use an address of this machine, or 0.0.0.0 for all of them")
	p.when(!isHost(host), "host", "is %q: use an IP address or a host name without a port; the port is set with %s", c.Host, Name("port"))
	p.when(c.Port < 0 || c.Port > maxPort, "port", "is %d: a port is between 1 and %d, or 0 for any free one", c.Port, maxPort)
	if addr, _ := c.Admin(); strings.HasPrefix(addr, UnixPrefix) {
		path := strings.TrimPrefix(addr, UnixPrefix)
		p.when(path == "", "admin-addr", "is %q: add the path of the socket, as in unix:/run/notiflux/admin.sock", addr)
		p.when(len(path) > maxSocketPath, "admin-addr", "has a path of %d bytes: a Unix socket allows %d, so use a shorter one, such as unix:/run/notiflux/admin.sock", len(path), maxSocketPath)
		p.when(strings.HasPrefix(path, "@"), "admin-addr", "is %q, an abstract socket, which every user can connect to: use a path in a folder, as in unix:/run/notiflux/admin.sock", addr)
	} else if addr != "" {
		_, port, err := net.SplitHostPort(addr)
		n, numErr := strconv.Atoi(port)
		p.when(err != nil || numErr != nil || n < 0 || n > maxPort,
			"admin-addr", "is %q: use address:port, such as %s, unix:/path for a Unix socket, or an empty value to disable it", addr, DefaultAdminAddr)
	}
	for _, name := range c.AdminHosts {
		name = strings.TrimSpace(name)
		p.when(name != "*" && (strings.Contains(name, "*") || !isHost(BareHost(name))),
			"admin-hosts", "has %q: use a host name without scheme and port, such as admin.example.com, or * for any", name)
	}
	p.when(c.TLSCert != "" && c.TLSKey == "", "tls-key", "is missing: %s needs the matching private key", Name("tls-cert"))
	p.when(c.TLSKey != "" && c.TLSCert == "", "tls-cert", "is missing: %s needs the matching certificate", Name("tls-key"))
}

// isHost reports whether s can be an IP address or a host name, without the other parts of
// a URL.
func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || !strings.ContainsAny(s, ":/[]@ \t\r\n")
}

func (c *Serve) validateKeys(p *Problems) {
	b64, file := c.JWTPublicKeyB64 != "", c.JWTPublicKeyFile != ""
	url := c.JWKSURL != ""
	p.when(!b64 && !file && !url, "jwt-public-key-b64", "is missing: set it to the public key that verifies tokens, in base64, or set %s to a file with the key (`notiflux keys` makes a key pair; `notiflux dev` needs no key), or set %s to the keys of an identity provider", Name("jwt-public-key-file"), Name("jwks-url"))
	p.when(b64 && file, "jwt-public-key-b64", "is set, and so is %s: set only one of them; each can hold several keys", Name("jwt-public-key-file"))
	p.when(url && c.JWKSIssuer == "", "jwks-issuer", "is missing: %s needs the iss of the identity provider's tokens, exactly as they have it", Name("jwks-url"))
	p.when(url && c.JWKSAudience == "", "jwks-audience", "is missing: %s needs the aud of the tokens that are meant for this server, because the identity provider also issues tokens for other services", Name("jwks-url"))
	p.when(!url && c.JWKSIssuer != "", "jwks-issuer", "is set, but %s is not: set both or neither", Name("jwks-url"))
	p.when(!url && c.JWKSAudience != "", "jwks-audience", "is set, but %s is not: set both or neither", Name("jwks-url"))
	for _, s := range []struct{ flag, value string }{{"jwt-issuer", c.JWTIssuer}, {"jwt-audience", c.JWTAudience}} {
		p.when(url && !b64 && !file && s.value != "", s.flag, "is set, but there are no keys that it could apply to: set %s or %s, or leave it out", Name("jwt-public-key-b64"), Name("jwt-public-key-file"))
	}
	for _, s := range []struct{ flag, value string }{{"jwt-issuer", c.JWTIssuer}, {"jwks-issuer", c.JWKSIssuer}} {
		p.when(len(s.value) > maxIssuer, s.flag, "has %d bytes: use at most %d", len(s.value), maxIssuer)
	}
	p.when(c.JWTIssuer != "" && c.JWTIssuer == c.JWKSIssuer, "jwt-issuer", "is the same as %s: keys of one issuer belong into one set, so use different issuers", Name("jwks-issuer"))
}

func (c *Serve) validateRevocations(p *Problems) {
	p.when(c.MaxTokenLife < 0, "max-token-life", "is %v: use a duration above zero, such as 24h, or 0 for no limit", c.MaxTokenLife)
	p.when(c.MaxTokenLife > maxTokenLife, "max-token-life", "is %v: use at most %v, or 0 for no limit", c.MaxTokenLife, maxTokenLife)
	if c.RevocationsFile == "" {
		return
	}
	addr, _ := c.Admin()
	p.when(c.Broker != MemoryBroker, "revocations-file", "works only if %s is %s: servers on Redis keep revocations there", Name("broker"), MemoryBroker)
	p.when(addr == "", "revocations-file", "needs the admin API to revoke tokens: set %s to an address", Name("admin-addr"))
	p.when(addr != "" && c.AdminTokenFile == "" && !isPrivate(addr), "admin-token-file", "is missing: %s needs the admin API, which is served at %s only with a secret", Name("revocations-file"), addr)
}

// isPrivate reports whether only programs on this machine can reach an address of a listener.
func isPrivate(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return strings.HasPrefix(addr, UnixPrefix) || err == nil && IsLoopback(host)
}

// IsLoopback reports whether a host, without a port, is this machine and cannot be another one.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
}

// validateBroker leaves the URL to the broker.
func (c *Serve) validateBroker(p *Problems) {
	p.when(c.Broker == "", "broker", "is empty: use %s, or a URL such as redis://127.0.0.1:6379", MemoryBroker)
	p.when(strings.ContainsAny(c.BrokerPrefix, "{}*?[]\\ ") || len(c.BrokerPrefix) > maxPrefixBytes, "broker-prefix",
		"is %q: use at most %d bytes, without spaces and without the characters {}*?[]\\ (an example is \"notiflux:\")", c.BrokerPrefix, maxPrefixBytes)
}

func (c *Serve) validateHistory(p *Problems) {
	p.count("history-messages", c.HistoryMessages)
	p.size("history-total-bytes", c.HistoryTotalBytes)
	p.when(c.HistoryAge <= 0, "history-age", "is %v: use a duration above zero, such as 5m", c.HistoryAge)
	p.when(c.HistoryTotalBytes < c.HistoryBytes, "history-total-bytes",
		"is %v: use at least %s, which is %v", c.HistoryTotalBytes, Name("history-bytes"), c.HistoryBytes)
}

// validateLimits checks limits against each other: the largest message must fit into a body,
// where JSON can double its size, and a subscriber must be able to receive it before the
// history drops it or the client is disconnected.
func (c *Serve) validateLimits(p *Problems) {
	size := c.MaxMessageBytes
	p.when(size < 1 || size > maxMessageBytes, "max-message-bytes", "is %v: the message limit must be between 1 and %v", size, maxMessageBytes)
	for _, room := range []struct {
		flag  string
		bytes Bytes
		need  Bytes
		times string
	}{
		{"history-bytes", c.HistoryBytes, size, ""},
		{"max-lag-bytes", c.MaxLagBytes, size, ""},
		{"max-unread-bytes", c.MaxUnreadBytes, size, ""},
		{"max-body-bytes", c.MaxBodyBytes, 2 * size, "twice "},
	} {
		p.size(room.flag, room.bytes)
		p.when(room.bytes < room.need, room.flag, "is %v: use at least %v, which is %s%s", room.bytes, room.need, room.times, Name("max-message-bytes"))
	}
	p.size("max-key-bytes", c.MaxKeyBytes)
	p.when(c.MaxKeyBytes < KiB, "max-key-bytes", "is %v: use at least %v", c.MaxKeyBytes, KiB)
	p.when(c.ProxyProtocol && len(c.TrustedProxies) == 0, "proxy-protocol", "needs %s: list the addresses of the proxies that send its header", Name("trusted-proxies"))
	c.validateConnections(p)
	p.limit("max-connections-per-address", c.MaxConnectionsPerAddress)
	p.limit("max-connections-per-subject", c.MaxConnectionsPerSubject)
	p.rate("limit-connections-per-address", c.LimitConnectionsPerAddress)
	p.rate("limit-requests-per-address", c.LimitRequestsPerAddress)
	p.rate("limit-commands-per-address", c.LimitCommandsPerAddress)
	p.rate("limit-commands-per-subject", c.LimitCommandsPerSubject)
	p.rate("limit-broadcasts-per-address", c.LimitBroadcastsPerAddress)
	p.rate("limit-broadcasts-per-subject", c.LimitBroadcastsPerSubject)
	p.perMinute("limit-failed-tokens-per-address", c.LimitFailedTokensPerAddress)
	p.count("max-topics", c.MaxTopics)
	p.count("max-topics-per-connection", c.MaxTopicsPerConnection)
}

// validateConnections checks the connection limit against the descriptor limit of the
// process: a start that fails is better than a server that fails under load.
func (c *Serve) validateConnections(p *Problems) {
	const flag = "max-connections"
	room, limit := connectionRoom(), descriptorLimit()
	p.when(c.MaxConnections < 0, flag, "is %d: use a number above zero, or 0 for 80 %% of the file descriptor limit", c.MaxConnections)
	switch {
	case room < 1:
		p.when(true, flag, "cannot be met, because the server itself needs %d file descriptors, and the limit of the process is %d: raise that limit (ulimit -n)",
			SpareDescriptors+ownDescriptors(), limit)
	case c.MaxConnections > room:
		p.when(true, flag, "is %d: the file descriptor limit of the process, %d, leaves room for %d connections: use at most that, or raise the limit (ulimit -n)",
			c.MaxConnections, limit, room)
	}
}

func (c *Serve) validateRunning(p *Problems) {
	p.oneOf("loops", c.Loops, "auto", "portable")
	p.when(c.IdleTimeout < minIdleTimeout, "idle-timeout", "is %v: use at least %v, for example 2m", c.IdleTimeout, minIdleTimeout)
	p.when(c.ShutdownTimeout <= 0, "shutdown-timeout", "is %v: use a duration above zero, such as 25s", c.ShutdownTimeout)
	p.oneOf("log-format", c.LogFormat, "text", "json")
}

const maxPort = 65535

// Problems is a list of problems with settings. Each line names the setting as [Name] does
// and says what would be right.
type Problems []string

// Error returns all lines under a heading.
func (p Problems) Error() string {
	return "the configuration is not valid:\n  " + strings.Join(p, "\n  ")
}

// Err returns p as an error, or nil if it is empty.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

func (p *Problems) when(wrong bool, flag, format string, args ...any) {
	if wrong {
		*p = append(*p, Name(flag)+" "+fmt.Sprintf(format, args...))
	}
}

func (p *Problems) count(flag string, n int) {
	p.when(n < 1, flag, "is %d: use a number above zero", n)
	p.when(n > maxCount, flag, "is %d: use at most %d", n, maxCount)
}

func (p *Problems) limit(flag string, n int) {
	p.when(n < 0 || n > maxCount, flag, "is %d: use a number up to %d, or 0 for no limit", n, maxCount)
}

func (p *Problems) rate(flag string, n int) {
	p.when(n < 0 || n > maxRate, flag, "is %d: use a number a second up to %d, or 0 for no limit", n, maxRate)
}

func (p *Problems) perMinute(flag string, n int) {
	p.when(n < 0 || n > maxRate, flag, "is %d: use a number a minute up to %d, or 0 for no limit", n, maxRate)
}

func (p *Problems) size(flag string, b Bytes) {
	p.when(b > maxBytes, flag, "is %v: use at most %v", b, maxBytes)
}

func (p *Problems) oneOf(flag, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	p.when(true, flag, "is %q: give %s", value, strings.Join(allowed, " or "))
}
