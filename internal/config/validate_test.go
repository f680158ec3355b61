package config_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

// unset removes a variable of whoever runs the tests, until the test ends.
func unset(t *testing.T, name string) {
	t.Helper()
	t.Setenv(name, "")
	if err := os.Unsetenv(name); err != nil {
		t.Fatal(err)
	}
}

func valid() config.Serve {
	c := config.Default()
	c.JWTPublicKeyB64 = "bm90IGp1ZGdlZCBoZXJl"
	return c
}

func TestValidateAccepts(t *testing.T) {
	tests := []struct {
		name string
		edit func(*config.Serve)
	}{
		{"the defaults with a key", func(*config.Serve) {}},
		{"a key file", func(c *config.Serve) { c.JWTPublicKeyB64, c.JWTPublicKeyFile = "", "keys.pem" }},
		{"an IPv6 address", func(c *config.Serve) { c.Host = "::1" }},
		{"an IPv6 address in brackets", func(c *config.Serve) { c.Host = "[::1]" }},
		{"admin hosts with spaces after the commas", func(c *config.Serve) { c.AdminHosts = []string{"a.example.com", " b.example.com", ""} }},
		{"a Unix socket for operators", func(c *config.Serve) { c.AdminAddr = new("unix:/run/admin.sock") }},
		{"a Unix socket with the longest path", func(c *config.Serve) { c.AdminAddr = new("unix:" + strings.Repeat("x", 103)) }},
		{"revocations in a file", func(c *config.Serve) { c.RevocationsFile, c.MaxTokenLife = "revocations", time.Hour }},
		{"revocations in a file, on a Unix socket", func(c *config.Serve) { c.RevocationsFile, c.AdminAddr = "revocations", new("unix:admin.sock") }},
		{"revocations in a file, on all addresses with a secret", func(c *config.Serve) {
			c.RevocationsFile, c.AdminAddr, c.AdminTokenFile = "revocations", new("0.0.0.0:8081"), "secret"
		}},
		{"any admin host", func(c *config.Serve) { c.AdminHosts = []string{"*"} }},
		{"any free port", func(c *config.Serve) { c.Port = 0 }},
		{"the admin listener off", func(c *config.Serve) { c.AdminAddr = new("") }},
		{"the admin listener on all addresses", func(c *config.Serve) { c.AdminAddr = new(":0") }},
		{"a certificate with its key", func(c *config.Serve) { c.TLSCert, c.TLSKey = "cert.pem", "key.pem" }},
		{"limits that just fit", func(c *config.Serve) {
			c.MaxMessageBytes, c.MaxBodyBytes = 8*config.MiB, 16*config.MiB
			c.HistoryBytes, c.MaxLagBytes = 8*config.MiB, 8*config.MiB
		}},
		{"the largest sizes", func(c *config.Serve) {
			c.MaxBodyBytes, c.MaxKeyBytes, c.MaxLagBytes = config.KiB*config.GiB, config.KiB*config.GiB, config.KiB*config.GiB
			c.MaxUnreadBytes, c.HistoryBytes, c.HistoryTotalBytes = config.KiB*config.GiB, config.KiB*config.GiB, config.KiB*config.GiB
		}},
		{"the least time to be idle", func(c *config.Serve) { c.IdleTimeout = time.Second }},
		{"portable loops, a log in JSON", func(c *config.Serve) { c.Loops, c.LogFormat = "portable", "json" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.edit(&c)
			if err := c.Problems().Err(); err != nil {
				t.Errorf("Problems() = %v, want nil", err)
			}
		})
	}
}

func TestValidateRefuses(t *testing.T) {
	tests := []struct {
		name string
		edit func(*config.Serve)
		want string // the line of the only problem begins with it
	}{
		{"no host", func(c *config.Serve) { c.Host = "" }, "--host (HOST) is empty"},
		{"no host in brackets", func(c *config.Serve) { c.Host = "[]" }, "--host (HOST) is empty"},
		{"a host with its port", func(c *config.Serve) { c.Host = "localhost:8080" }, `--host (HOST) is "localhost:8080"`},
		{"a host in a URL", func(c *config.Serve) { c.Host = "http://localhost" }, `--host (HOST) is "http://localhost"`},
		{"a bracket alone", func(c *config.Serve) { c.Host = "[::1" }, `--host (HOST) is "[::1"`},
		{"an admin host with its port", func(c *config.Serve) { c.AdminHosts = []string{"a.example.com:80"} }, `--admin-hosts (NOTIFLUX_ADMIN_HOSTS) has "a.example.com:80"`},
		{"a wildcard of admin hosts", func(c *config.Serve) { c.AdminHosts = []string{"*.example.com"} }, `--admin-hosts (NOTIFLUX_ADMIN_HOSTS) has "*.example.com"`},
		{"a negative port", func(c *config.Serve) { c.Port = -1 }, "--port (PORT) is -1"},
		{"a port too high", func(c *config.Serve) { c.Port = 65536 }, "--port (PORT) is 65536"},
		{"an admin address without a port", func(c *config.Serve) { c.AdminAddr = new("localhost") }, `--admin-addr (NOTIFLUX_ADMIN_ADDR) is "localhost"`},
		{"tokens that live for too long", func(c *config.Serve) { c.MaxTokenLife = math.MaxInt64 }, "--max-token-life (NOTIFLUX_MAX_TOKEN_LIFE) is 2562047h47m16.854775807s: use at most 876000h0m0s"},
		{"a Unix socket with a path too long", func(c *config.Serve) { c.AdminAddr = new("unix:/" + strings.Repeat("x", 120)) }, `--admin-addr (NOTIFLUX_ADMIN_ADDR) has a path of 121 bytes: a Unix socket allows 10`},
		{"an abstract Unix socket", func(c *config.Serve) { c.AdminAddr = new("unix:@notiflux") }, `--admin-addr (NOTIFLUX_ADMIN_ADDR) is "unix:@notiflux", an abstract socket`},
		{"a Unix socket without a path", func(c *config.Serve) { c.AdminAddr = new("unix:") }, `--admin-addr (NOTIFLUX_ADMIN_ADDR) is "unix:": add the path`},
		{"a negative life of tokens", func(c *config.Serve) { c.MaxTokenLife = -1 }, "--max-token-life (NOTIFLUX_MAX_TOKEN_LIFE) is -1ns"},
		{"revocations for several servers", func(c *config.Serve) { c.RevocationsFile, c.Broker = "x", "redis://a" }, "--revocations-file (NOTIFLUX_REVOCATIONS_FILE) works only if"},
		{"revocations without a way to revoke", func(c *config.Serve) { c.RevocationsFile, c.AdminAddr = "x", new("") }, "--revocations-file (NOTIFLUX_REVOCATIONS_FILE) needs the admin API"},
		{"revocations that everyone can make", func(c *config.Serve) { c.RevocationsFile, c.AdminAddr = "x", new(":8081") }, "--admin-token-file (NOTIFLUX_ADMIN_TOKEN_FILE) is missing"},
		{"an admin port too high", func(c *config.Serve) { c.AdminAddr = new(":70000") }, `--admin-addr (NOTIFLUX_ADMIN_ADDR) is ":70000"`},
		{"a certificate alone", func(c *config.Serve) { c.TLSCert = "cert.pem" }, "--tls-key (NOTIFLUX_TLS_KEY) is missing"},
		{"a certificate's key alone", func(c *config.Serve) { c.TLSKey = "key.pem" }, "--tls-cert (NOTIFLUX_TLS_CERT) is missing"},
		{"no public key", func(c *config.Serve) { c.JWTPublicKeyB64 = "" }, "--jwt-public-key-b64 (JWT_PUBLIC_KEY_B64) is missing"},
		{"two sources of keys", func(c *config.Serve) { c.JWTPublicKeyFile = "keys.pem" }, "--jwt-public-key-b64 (JWT_PUBLIC_KEY_B64) is set, and so is --jwt-public-key-file"},
		{"a JWKS without an issuer", func(c *config.Serve) { c.JWKSURL, c.JWKSAudience = "u", "a" }, "--jwks-issuer (NOTIFLUX_JWKS_ISSUER) is missing"},
		{"a JWKS without an audience", func(c *config.Serve) { c.JWKSURL, c.JWKSIssuer = "u", "i" }, "--jwks-audience (NOTIFLUX_JWKS_AUDIENCE) is missing"},
		{"an issuer without a JWKS", func(c *config.Serve) { c.JWKSIssuer = "i" }, "--jwks-issuer (NOTIFLUX_JWKS_ISSUER) is set, but --jwks-url"},
		{"an audience without a JWKS", func(c *config.Serve) { c.JWKSAudience = "a" }, "--jwks-audience (NOTIFLUX_JWKS_AUDIENCE) is set, but --jwks-url"},
		{"an issuer without keys", func(c *config.Serve) {
			c.JWTPublicKeyB64, c.JWTIssuer = "", "j"
			c.JWKSURL, c.JWKSIssuer, c.JWKSAudience = "u", "i", "a"
		}, "--jwt-issuer (NOTIFLUX_JWT_ISSUER) is set, but there are no keys"},
		{"an audience without keys", func(c *config.Serve) {
			c.JWTPublicKeyB64, c.JWTAudience = "", "j"
			c.JWKSURL, c.JWKSIssuer, c.JWKSAudience = "u", "i", "a"
		}, "--jwt-audience (NOTIFLUX_JWT_AUDIENCE) is set, but there are no keys"},
		{"a long issuer", func(c *config.Serve) { c.JWTIssuer = strings.Repeat("i", 256) }, "--jwt-issuer (NOTIFLUX_JWT_ISSUER) has 256 bytes: use at most 255"},
		{"the same issuer twice", func(c *config.Serve) {
			c.JWTIssuer, c.JWKSURL, c.JWKSIssuer, c.JWKSAudience = "i", "u", "i", "a"
		}, "--jwt-issuer (NOTIFLUX_JWT_ISSUER) is the same as --jwks-issuer"},
		{"no history", func(c *config.Serve) { c.HistoryMessages = 0 }, "--history-messages (NOTIFLUX_HISTORY_MESSAGES) is 0"},
		{"no history age", func(c *config.Serve) { c.HistoryAge = 0 }, "--history-age (NOTIFLUX_HISTORY_AGE) is 0s"},
		{"less history in all than per topic", func(c *config.Serve) { c.HistoryTotalBytes = config.KiB }, "--history-total-bytes (NOTIFLUX_HISTORY_TOTAL_BYTES) is 1KiB"},
		{"no messages", func(c *config.Serve) { c.MaxMessageBytes = 0 }, "--max-message-bytes (NOTIFLUX_MAX_MESSAGE_BYTES) is 0"},
		{"messages above the history", func(c *config.Serve) { c.HistoryBytes = 64*config.KiB - 1 }, "--history-bytes (NOTIFLUX_HISTORY_BYTES) is 65535: use at least 64KiB, which is --max-message-bytes"},
		{"messages above the lag", func(c *config.Serve) { c.MaxLagBytes = 64*config.KiB - 1 }, "--max-lag-bytes (NOTIFLUX_MAX_LAG_BYTES) is 65535: use at least 64KiB, which is --max-message-bytes"},
		{"messages above what may be unread", func(c *config.Serve) { c.MaxUnreadBytes = 64*config.KiB - 1 }, "--max-unread-bytes (NOTIFLUX_MAX_UNREAD_BYTES) is 65535: use at least 64KiB, which is --max-message-bytes"},
		{"messages above half the body", func(c *config.Serve) { c.MaxBodyBytes = 128*config.KiB - 1 }, "--max-body-bytes (NOTIFLUX_MAX_BODY_BYTES) is 131071: use at least 128KiB, which is twice --max-message-bytes"},
		{"bodies too large", func(c *config.Serve) { c.MaxBodyBytes = 1025 * config.GiB }, "--max-body-bytes (NOTIFLUX_MAX_BODY_BYTES) is 1025GiB: use at most 1024GiB"},
		{"memory for keys too large", func(c *config.Serve) { c.MaxKeyBytes = 1 << 62 }, "--max-key-bytes (NOTIFLUX_MAX_KEY_BYTES) is 4294967296GiB: use at most 1024GiB"},
		{"a lag too large", func(c *config.Serve) { c.MaxLagBytes = math.MaxInt64 }, "--max-lag-bytes (NOTIFLUX_MAX_LAG_BYTES) is 9223372036854775807: use at most 1024GiB"},
		{"unread bytes too many", func(c *config.Serve) { c.MaxUnreadBytes = math.MaxInt64 }, "--max-unread-bytes (NOTIFLUX_MAX_UNREAD_BYTES) is 9223372036854775807: use at most 1024GiB"},
		{"a history too large", func(c *config.Serve) { c.HistoryTotalBytes = math.MaxInt64 }, "--history-total-bytes (NOTIFLUX_HISTORY_TOTAL_BYTES) is 9223372036854775807: use at most 1024GiB"},
		{"too many messages of history", func(c *config.Serve) { c.HistoryMessages = math.MaxInt32 + 1 }, "--history-messages (NOTIFLUX_HISTORY_MESSAGES) is 2147483648: use at most 2147483647"},
		{"too many topics", func(c *config.Serve) { c.MaxTopics = math.MaxInt32 + 1 }, "--max-topics (NOTIFLUX_MAX_TOPICS) is 2147483648: use at most 2147483647"},
		{"too many topics per connection", func(c *config.Serve) { c.MaxTopicsPerConnection = math.MaxInt32 + 1 }, "--max-topics-per-connection (NOTIFLUX_MAX_TOPICS_PER_CONNECTION) is 2147483648: use at most 2147483647"},
		{"the PROXY protocol of no proxy", func(c *config.Serve) { c.ProxyProtocol = true }, "--proxy-protocol (NOTIFLUX_PROXY_PROTOCOL) needs --trusted-proxies (NOTIFLUX_TRUSTED_PROXIES)"},
		{"a rate per minute", func(c *config.Serve) { c.LimitFailedTokensPerAddress = -1 }, "--limit-failed-tokens-per-address (NOTIFLUX_LIMIT_FAILED_TOKENS_PER_ADDRESS) is -1: use a number a minute up to 1000000, or 0 for no limit"},
		{"a negative number of connections", func(c *config.Serve) { c.MaxConnectionsPerSubject = -1 }, "--max-connections-per-subject (NOTIFLUX_MAX_CONNECTIONS_PER_SUBJECT) is -1: use a number up to"},
		{"a negative rate", func(c *config.Serve) { c.LimitRequestsPerAddress = -1 }, "--limit-requests-per-address (NOTIFLUX_LIMIT_REQUESTS_PER_ADDRESS) is -1: use a number a second up to 1000000, or 0 for no limit"},
		{"a rate that is too high", func(c *config.Serve) { c.LimitConnectionsPerAddress = 1_000_001 }, "--limit-connections-per-address (NOTIFLUX_LIMIT_CONNECTIONS_PER_ADDRESS) is 1000001"},
		{"negative connections", func(c *config.Serve) { c.MaxConnections = -1 }, "--max-connections (NOTIFLUX_MAX_CONNECTIONS) is -1"},
		{"connections that the system does not have", func(c *config.Serve) { c.MaxConnections = 2_000_000 }, "--max-connections (NOTIFLUX_MAX_CONNECTIONS) is 2000000: the file descriptor limit of the process, "},
		{"no topics", func(c *config.Serve) { c.MaxTopics = 0 }, "--max-topics (NOTIFLUX_MAX_TOPICS) is 0"},
		{"no topics per connection", func(c *config.Serve) { c.MaxTopicsPerConnection = 0 }, "--max-topics-per-connection (NOTIFLUX_MAX_TOPICS_PER_CONNECTION) is 0"},
		{"unknown loops", func(c *config.Serve) { c.Loops = "kqueue" }, `--loops (NOTIFLUX_LOOPS) is "kqueue": give auto or portable`},
		{"no time to be idle", func(c *config.Serve) { c.IdleTimeout = 0 }, "--idle-timeout (NOTIFLUX_IDLE_TIMEOUT) is 0s"},
		{"too little time to be idle", func(c *config.Serve) { c.IdleTimeout = 1 }, "--idle-timeout (NOTIFLUX_IDLE_TIMEOUT) is 1ns: use at least 1s"},
		{"hardly less than the least to be idle", func(c *config.Serve) { c.IdleTimeout = time.Second - 1 }, "--idle-timeout (NOTIFLUX_IDLE_TIMEOUT) is 999.999999ms: use at least 1s"},
		{"no time to shut down", func(c *config.Serve) { c.ShutdownTimeout = -time.Second }, "--shutdown-timeout (NOTIFLUX_SHUTDOWN_TIMEOUT) is -1s"},
		{"an unknown log format", func(c *config.Serve) { c.LogFormat = "xml" }, `--log-format (NOTIFLUX_LOG_FORMAT) is "xml": give text or json`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.edit(&c)
			err := c.Problems().Err()
			if err == nil {
				t.Fatal("Problems() = nil, want an error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != 2 || !strings.HasPrefix(lines[1], "  "+tt.want) {
				t.Errorf("Problems() = %v, want one problem that begins with %q", err, tt.want)
			}
		})
	}
}

func TestValidateReportsAllTogether(t *testing.T) {
	err := new(config.Serve).Problems().Err()
	if err == nil {
		t.Fatal("Problems() = nil, want an error")
	}
	for _, flag := range []string{"host", "jwt-public-key-b64", "history-messages", "max-message-bytes", "max-topics", "loops", "shutdown-timeout"} {
		if !strings.Contains(err.Error(), "\n  "+config.Name(flag)+" is ") {
			t.Errorf("Problems() = %v, want a line for --%s", err, flag)
		}
	}
}

func TestPublicKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.pem")
	if err := os.WriteFile(file, []byte("pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	b64 := config.Serve{JWTPublicKeyB64: "cGVt"}
	if k, err := b64.PublicKeys(); err != nil || k.Base64 != "cGVt" || k.PEM != nil || k.Setting != config.Name("jwt-public-key-b64") {
		t.Errorf("PublicKeys() = %+v, %v, want the base64 as given", k, err)
	}
	fromFile := config.Serve{JWTPublicKeyFile: file}
	if k, err := fromFile.PublicKeys(); err != nil || string(k.PEM) != "pem" || k.Base64 != "" || k.Setting != config.Name("jwt-public-key-file") {
		t.Errorf("PublicKeys() = %+v, %v, want the file's text", k, err)
	}
}

func TestPublicKeysRefused(t *testing.T) {
	huge := filepath.Join(t.TempDir(), "huge.pem")
	if err := os.WriteFile(huge, make([]byte, 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{huge, filepath.Join(t.TempDir(), "none.pem"), t.TempDir()} {
		c := config.Serve{JWTPublicKeyFile: file}
		if _, err := c.PublicKeys(); err == nil || !strings.HasPrefix(err.Error(), config.Name("jwt-public-key-file")) {
			t.Errorf("PublicKeys() of %s: %v, want an error that names the setting", file, err)
		}
	}
}
