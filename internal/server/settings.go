package server

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker/redis"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/forwarded"
	"github.com/ikornaselur/notiflux/internal/jwks"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/origin"
)

// Check returns all problems of c, and of the files that it names, in one error from
// [config.Problems]. It opens no listener.
func Check(c config.Serve) error {
	_, err := parseSettings(&c, nil, nil)
	return err
}

// TrustsProxy reports whether a server with this list of trusted proxies trusts a peer.
func TrustsProxy(trusted []string, peer net.Addr) bool {
	proxies, _ := forwarded.Parse(trusted)
	return proxies.Trust(peer)
}

// parsed holds the settings that refer to files or have their own syntax.
type parsed struct {
	keys    *auth.Keys
	keyFile config.FileVersion
	jwks    jwks.Address // zero: no identity provider
	public  *auth.Public
	origins origin.List
	proxies forwarded.Proxies
	tls     *listen.Certificate // nil: off
	redis   *redis.Config       // without its sink; nil: the broker is in memory
}

// parseSettings reads the files that c names, and returns all problems in one error. A nil
// now means time.Now; a nil log discards.
func parseSettings(c *config.Serve, now func() time.Time, log *slog.Logger) (parsed, error) {
	var all parsed
	var err error
	problems := c.Problems()
	if (c.JWTPublicKeyB64 != "") != (c.JWTPublicKeyFile != "") { // otherwise Problems reports it
		if all.keys, all.keyFile, err = publicKeys(c); err != nil {
			problems = append(problems, err.Error())
		}
	}
	if c.JWKSURL != "" {
		if all.jwks, err = jwks.ParseAddress(c.JWKSURL); err != nil {
			problems = append(problems, config.Name("jwks-url")+" "+err.Error())
		}
	}
	if all.public, err = auth.ParsePublic(c.PublicTopics); err != nil {
		problems = append(problems, config.Name("public-topics")+": "+err.Error())
	}
	if all.origins, err = origin.Parse(c.AllowedOrigins); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			problems = append(problems, config.Name("allowed-origins")+" "+line)
		}
	}
	if c.AdminTokenFile != "" {
		if _, err := adminToken(c.AdminTokenFile); err != nil {
			problems = append(problems, err.Error())
		}
	}
	var wrong []error
	if all.proxies, wrong = forwarded.Parse(c.TrustedProxies); len(wrong) > 0 {
		for _, err := range wrong {
			problems = append(problems, config.Name("trusted-proxies")+" "+err.Error())
		}
	}
	if c.TLSCert != "" && c.TLSKey != "" {
		if all.tls, err = listen.LoadCertificate(c.TLSCert, c.TLSKey, now, log); err != nil {
			problems = append(problems, config.Name("tls-cert")+", "+config.Name("tls-key")+": "+err.Error())
		}
	}
	if c.Broker != config.MemoryBroker && c.Broker != "" { // otherwise Problems reports it
		if all.redis, err = redisConfig(c, log); err != nil {
			problems = append(problems, config.Name("broker")+": "+err.Error())
		}
	}
	return all, problems.Err()
}

func redisConfig(c *config.Serve, log *slog.Logger) (*redis.Config, error) {
	o, err := redis.ParseURL(c.Broker)
	if err != nil {
		return nil, err
	}
	return &redis.Config{Options: o, Prefix: c.BrokerPrefix, Messages: c.HistoryMessages, Age: c.HistoryAge, Limits: TopicLimits(c.Topics()), Log: log}, nil
}

// publicKeys parses the keys that verify tokens, and returns the version of their file.
func publicKeys(c *config.Serve) (*auth.Keys, config.FileVersion, error) {
	text, err := c.PublicKeys()
	if err != nil {
		return nil, text.Version, err
	}
	parse := func() (*auth.Keys, error) { return auth.ParseKeysBase64(text.Base64) }
	if text.PEM != nil {
		parse = func() (*auth.Keys, error) { return auth.ParseKeys(text.PEM) }
	}
	keys, err := parse()
	if err != nil {
		return nil, text.Version, errors.New(text.Setting + ": " + err.Error())
	}
	return keys, text.Version, nil
}
