// Package config holds the settings of `notiflux serve`: their names, defaults and limits.
//
// Every setting is a flag first, and its environment variable is derived from the flag:
// [Name] returns both. The command line fills a [Serve] through its struct tags,
// [Serve.Problems] checks it, and the server reads it. A program without a command line
// starts with [Default]. A [File] may have values for those flags that neither the command
// line nor the environment sets, and the settings of single topics, which have no flags
// ([Section]). [Topics.ForTopic] returns those that a topic has.
//
// Only the command and the server see the whole configuration; every other package has a
// small struct of its own. The server parses settings that need more than the standard
// library, such as keys and origins, and uses [Name] in its errors about them.
package config

import (
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// DefaultAdminAddr is the default address of the admin listener.
const DefaultAdminAddr = "127.0.0.1:8081"

// UnixPrefix is the beginning of an address that is the path of a Unix socket.
const UnixPrefix = "unix:"

// MemoryBroker is the value of Serve.Broker for a server that stands alone.
const MemoryBroker = "memory"

// Serve holds the settings of a server. The tags are for github.com/alecthomas/kong.
type Serve struct {
	File string `group:"Settings file:" name:"config" env:"NOTIFLUX_CONFIG" placeholder:"FILE" help:"File with settings in YAML: the names of the flags, and settings for single topics. A flag wins over a variable, and a variable over the file."`

	Host           string   `group:"Listening:" env:"HOST" default:"127.0.0.1" help:"Address to listen on; 0.0.0.0 means all addresses of this machine."`
	Port           int      `group:"Listening:" env:"PORT" default:"8080" help:"Port to listen on; 0 means any free port."`
	TLSCert        string   `group:"Listening:" name:"tls-cert" env:"NOTIFLUX_TLS_CERT" placeholder:"FILE" help:"PEM file with the certificate chain; reloaded when it changes."`
	TLSKey         string   `group:"Listening:" name:"tls-key" env:"NOTIFLUX_TLS_KEY" placeholder:"FILE" help:"PEM file with the private key of --tls-cert."`
	AllowedOrigins []string `group:"Listening:" env:"NOTIFLUX_ALLOWED_ORIGINS" default:"*" placeholder:"ORIGIN" help:"Origins of web pages that may use the server, such as https://app.example.com or https://*.example.com; the default is *, any origin."`
	TrustedProxies []string `group:"Listening:" env:"NOTIFLUX_TRUSTED_PROXIES" placeholder:"ADDRESS" help:"IP addresses of the proxies in front of the server, or ranges such as 10.0.0.0/8; the log then has the address of the client, which they report in X-Forwarded-For."`
	ProxyProtocol  bool     `group:"Listening:" env:"NOTIFLUX_PROXY_PROTOCOL" help:"Expect a header of the PROXY protocol, version 1 or 2, at the beginning of each connection from --trusted-proxies, with the address of the client."`
	QueryTokens    bool     `group:"Listening:" env:"NOTIFLUX_QUERY_TOKENS" default:"true" negatable:"" help:"Accept tokens in the URL as ?token=; proxies may log URLs."`
	AdminAddr      *string  `group:"Listening:" env:"NOTIFLUX_ADMIN_ADDR" placeholder:"\"127.0.0.1:8081\"" help:"Address of the admin listener, with metrics, profiles and the admin API, or unix:/path for a Unix socket; an empty value disables it."`
	AdminHosts     []string `group:"Listening:" env:"NOTIFLUX_ADMIN_HOSTS" placeholder:"NAME" help:"Host names that the admin listener accepts, in addition to localhost and IP addresses; * means any."`

	AdminTokenFile string `group:"Listening:" name:"admin-token-file" env:"NOTIFLUX_ADMIN_TOKEN_FILE" placeholder:"FILE" help:"File with the secret that the admin API requires; off the loopback address, the API is only served with it."`

	JWTPublicKeyB64  string `group:"Tokens (one of these is required):" name:"jwt-public-key-b64" env:"JWT_PUBLIC_KEY_B64" placeholder:"BASE64" help:"Public keys, as PEM, JWK or JWKS, encoded in base64."`
	JWTPublicKeyFile string `group:"Tokens (one of these is required):" name:"jwt-public-key-file" env:"NOTIFLUX_JWT_PUBLIC_KEY_FILE" placeholder:"FILE" help:"File with public keys: PEM, JWK or JWKS; read again when it changes."`
	JWKSURL          string `group:"Tokens (one of these is required):" name:"jwks-url" env:"NOTIFLUX_JWKS_URL" placeholder:"URL" help:"Where an identity provider publishes its public keys as a JWK Set: https://… or file:PATH; loaded again while the server runs. Also allowed beside one of the two above."`

	JWTIssuer    string `group:"Issuers of tokens:" name:"jwt-issuer" env:"NOTIFLUX_JWT_ISSUER" placeholder:"ISS" help:"The iss that tokens must have if --jwt-public-key-b64 or --jwt-public-key-file verifies them; by default any, but not that of --jwks-issuer."`
	JWTAudience  string `group:"Issuers of tokens:" name:"jwt-audience" env:"NOTIFLUX_JWT_AUDIENCE" placeholder:"AUD" help:"What aud of these tokens must contain; by default anything."`
	JWKSIssuer   string `group:"Issuers of tokens:" name:"jwks-issuer" env:"NOTIFLUX_JWKS_ISSUER" placeholder:"ISS" help:"The iss of the tokens that the keys of --jwks-url verify; they verify no others. Required with --jwks-url."`
	JWKSAudience string `group:"Issuers of tokens:" name:"jwks-audience" env:"NOTIFLUX_JWKS_AUDIENCE" placeholder:"AUD" help:"What aud of these tokens must contain: the name of this server at the identity provider. Required with --jwks-url."`

	PublicTopics []string `group:"Access without a token:" env:"NOTIFLUX_PUBLIC_TOPICS" placeholder:"TOPIC" help:"Topics that everyone may subscribe to without a token, such as status or news:*, which means every topic that begins with news:."`

	RevocationsFile string        `group:"Revoking tokens:" env:"NOTIFLUX_REVOCATIONS_FILE" placeholder:"FILE" help:"File that keeps revocations over restarts; without it, they last until the server stops. Not with Redis, which keeps them."`
	MaxTokenLife    time.Duration `group:"Revoking tokens:" env:"NOTIFLUX_MAX_TOKEN_LIFE" default:"0s" help:"Maximum time from iat to exp of a token, and how long revocations last; 0 means no limit, and 30 days for revocations."`

	Broker       string `group:"Broker:" env:"NOTIFLUX_BROKER" default:"memory" help:"Broker, which orders and keeps messages: memory for a single server, or the URL of Redis or Valkey for several servers that act as one, such as redis://[user:password@]host:6379, rediss://… with TLS, or redis+sentinel://host:26379/primary."`
	BrokerPrefix string `group:"Broker:" env:"NOTIFLUX_BROKER_PREFIX" default:"notiflux:" help:"Prefix of the names of all keys and channels in Redis. If several applications share a Redis, each needs a prefix of its own."`

	HistoryMessages   int           `group:"History:" env:"NOTIFLUX_HISTORY_MESSAGES" default:"100" help:"Messages kept per topic."`
	HistoryBytes      Bytes         `group:"History:" env:"NOTIFLUX_HISTORY_BYTES" default:"1MiB" help:"Bytes kept per topic."`
	HistoryAge        time.Duration `group:"History:" env:"NOTIFLUX_HISTORY_AGE" default:"5m" help:"How long a message is kept."`
	HistoryTotalBytes Bytes         `group:"History:" env:"NOTIFLUX_HISTORY_TOTAL_BYTES" default:"256MiB" help:"Bytes kept for all topics together: messages, and their encoded copies for each protocol."`

	MaxMessageBytes             Bytes `group:"Limits:" env:"NOTIFLUX_MAX_MESSAGE_BYTES" default:"64KiB" help:"Maximum size of a message, up to 8MiB."`
	MaxBodyBytes                Bytes `group:"Limits:" env:"NOTIFLUX_MAX_BODY_BYTES" default:"1MiB" help:"Maximum size of an HTTP request body."`
	MaxKeyBytes                 Bytes `group:"Limits:" env:"NOTIFLUX_MAX_KEY_BYTES" default:"128MiB" help:"Memory for the idempotency keys of the last 2 minutes."`
	MaxConnections              int   `group:"Limits:" env:"NOTIFLUX_MAX_CONNECTIONS" default:"0" help:"Maximum number of WebSockets, event streams and waiting polls; 0 means 80 % of the file descriptor limit."`
	MaxConnectionsPerAddress    int   `group:"Limits:" env:"NOTIFLUX_MAX_CONNECTIONS_PER_ADDRESS" default:"0" help:"Maximum number of these from one IP address (IPv6: from one /64 network); 0 means no limit."`
	MaxConnectionsPerSubject    int   `group:"Limits:" env:"NOTIFLUX_MAX_CONNECTIONS_PER_SUBJECT" default:"0" help:"Maximum number of these of one subject (the claims iss and sub of a token); 0 means no limit."`
	LimitConnectionsPerAddress  int   `group:"Limits:" env:"NOTIFLUX_LIMIT_CONNECTIONS_PER_ADDRESS" default:"0" help:"Maximum number of new WebSockets and event streams a second from one IP address (IPv6: from one /64 network); 0 means no limit."`
	LimitRequestsPerAddress     int   `group:"Limits:" env:"NOTIFLUX_LIMIT_REQUESTS_PER_ADDRESS" default:"0" help:"The same for other HTTP requests, such as broadcasts and polls; 0 means no limit."`
	LimitCommandsPerAddress     int   `group:"Limits:" env:"NOTIFLUX_LIMIT_COMMANDS_PER_ADDRESS" default:"0" help:"Maximum number of commands a second from the WebSockets of one IP address; 0 means no limit."`
	LimitCommandsPerSubject     int   `group:"Limits:" env:"NOTIFLUX_LIMIT_COMMANDS_PER_SUBJECT" default:"0" help:"The same for the commands with a token of one subject (the claims iss and sub)."`
	LimitBroadcastsPerAddress   int   `group:"Limits:" env:"NOTIFLUX_LIMIT_BROADCASTS_PER_ADDRESS" default:"0" help:"Maximum number of messages a second that are published from one IP address; 0 means no limit."`
	LimitBroadcastsPerSubject   int   `group:"Limits:" env:"NOTIFLUX_LIMIT_BROADCASTS_PER_SUBJECT" default:"0" help:"Maximum number of messages a second that one subject (the claim sub of a token) may publish; 0 means no limit."`
	LimitFailedTokensPerAddress int   `group:"Limits:" env:"NOTIFLUX_LIMIT_FAILED_TOKENS_PER_ADDRESS" default:"0" help:"Maximum number of invalid tokens a minute from one IP address, after which its new tokens are refused without a check; 0 means no limit."`
	MaxTopics                   int   `group:"Limits:" env:"NOTIFLUX_MAX_TOPICS" default:"1000000" help:"Maximum number of topics; a topic without messages and subscribers still counts for up to 24 hours."`
	MaxTopicsPerConnection      int   `group:"Limits:" env:"NOTIFLUX_MAX_TOPICS_PER_CONNECTION" default:"1000" help:"Maximum number of topics that one client can subscribe to."`
	MaxLagBytes                 Bytes `group:"Limits:" env:"NOTIFLUX_MAX_LAG_BYTES" default:"1MiB" help:"Bytes kept for a slow client: messages that it has not read yet and that the history has dropped. If they take up more than this, the server disconnects the client."`
	MaxUnreadBytes              Bytes `group:"Limits:" env:"NOTIFLUX_MAX_UNREAD_BYTES" default:"64MiB" help:"Maximum total size of the answers that clients have not read yet, for all clients together: answers to HTTP requests and to commands over WebSocket."`

	Compression     bool          `group:"Running:" env:"NOTIFLUX_COMPRESSION" help:"Compress messages for clients that support permessage-deflate."`
	Loops           string        `group:"Running:" env:"NOTIFLUX_LOOPS" default:"auto" help:"Event loops: auto uses epoll for plain TCP on Linux, portable uses goroutines everywhere."`
	IdleTimeout     time.Duration `group:"Running:" env:"NOTIFLUX_IDLE_TIMEOUT" default:"2m" help:"How long an HTTP connection may be idle between two requests; set it longer than the idle timeout of a load balancer."`
	ShutdownTimeout time.Duration `group:"Running:" env:"NOTIFLUX_SHUTDOWN_TIMEOUT" default:"25s" help:"How long a shutdown may take."`
	LogLevel        slog.Level    `group:"Running:" env:"NOTIFLUX_LOG_LEVEL" default:"info" help:"Minimum level of log messages: debug, info, warn or error."`
	LogFormat       string        `group:"Running:" env:"NOTIFLUX_LOG_FORMAT" default:"text" help:"Format of the log on standard error: text or json."`

	// Sections are the settings of some topics, from the file. No flag sets them.
	Sections []Section `kong:"-"`

	// PresenceGrace is how long a member stays present without a connection; 0 means
	// 10 s, which the protocol promises. It is not a flag: only tests change it, because
	// they cannot wait that long.
	PresenceGrace time.Duration `kong:"-"`
}

// Default returns the default settings. They lack a public key, without which no server
// starts.
func Default() Serve {
	return Serve{
		Host:                   "127.0.0.1",
		Port:                   8080,
		AllowedOrigins:         []string{"*"},
		QueryTokens:            true,
		Broker:                 MemoryBroker,
		BrokerPrefix:           "notiflux:",
		HistoryMessages:        100,
		HistoryBytes:           1 * MiB,
		HistoryAge:             5 * time.Minute,
		HistoryTotalBytes:      256 * MiB,
		MaxMessageBytes:        64 * KiB,
		MaxBodyBytes:           1 * MiB,
		MaxKeyBytes:            128 * MiB,
		MaxTopics:              1_000_000,
		MaxTopicsPerConnection: 1000,
		MaxLagBytes:            1 * MiB,
		MaxUnreadBytes:         64 * MiB,
		Loops:                  "auto",
		IdleTimeout:            2 * time.Minute,
		ShutdownTimeout:        25 * time.Second,
		LogFormat:              "text",
	}
}

// Address returns the host and port to listen on, as [net.Listen] takes them.
func (c *Serve) Address() string {
	return net.JoinHostPort(BareHost(c.Host), strconv.Itoa(c.Port))
}

// BareHost returns host without the brackets that an IPv6 address has in URLs:
// BareHost("[::1]") is "::1".
func BareHost(host string) string {
	if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
		return strings.TrimSuffix(inner, "]")
	}
	return host
}

// Admin returns the address of the admin listener, which is empty if it is disabled, and
// whether the operator set it. If the default address is in use, the server starts without
// the listener; if a configured one is, the server does not start.
func (c *Serve) Admin() (addr string, chosen bool) {
	if c.AdminAddr == nil {
		return DefaultAdminAddr, false
	}
	return *c.AdminAddr, true
}

// Name returns how people see a setting, its flag and its variable: Name("max-topics") is
// "--max-topics (NOTIFLUX_MAX_TOPICS)".
func Name(flag string) string {
	return "--" + flag + " (" + Variable(flag) + ")"
}

// Variable returns the environment variable of a flag, given without its dashes:
// NOTIFLUX_ and the flag's name, except for three older variables.
func Variable(flag string) string {
	v := strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	switch v {
	case "HOST", "PORT", "JWT_PUBLIC_KEY_B64":
		return v
	}
	return "NOTIFLUX_" + v
}

// EmptyCounts reports whether an empty value of an environment variable has a meaning: it
// disables the admin listener, or is a list without origins (which is refused, because it
// could mean any origin or none). Any other empty variable counts as unset.
func EmptyCounts(variable string) bool {
	return variable == Variable("admin-addr") || variable == Variable("allowed-origins")
}
