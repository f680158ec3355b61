package listen

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ikornaselur/notiflux/internal/config"
)

// certificateEvery is the minimum time between two checks of the certificate's files. It
// limits disk accesses during many handshakes. A renewed certificate takes effect that much
// later.
const certificateEvery = time.Second

// A Certificate is the key pair of a TLS listener. It comes from two files, which it reads
// again when they change. It is safe for concurrent use.
type Certificate struct {
	// Immutable after LoadCertificate.
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	pair atomic.Pointer[tls.Certificate] // the newest valid pair

	mu sync.Mutex
	// Guarded by mu.
	looked time.Time             // when the files were last checked
	seen   [2]config.FileVersion // their versions at that time, whether valid or not
}

// LoadCertificate reads a certificate with its chain and its private key, both in PEM. The
// error names the files and says what would be right. now is the wall clock, called
// concurrently; nil means time.Now. Each reload is logged; a nil log discards.
func LoadCertificate(certFile, keyFile string, now func() time.Time, log *slog.Logger) (*Certificate, error) {
	if now == nil {
		now = time.Now
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Certificate{certFile: certFile, keyFile: keyFile, log: log, now: now}
	c.looked = c.now()
	// Check the versions before reading, so that the next check notices a change in between.
	c.seen = c.versions()
	if err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

// TLSConfig returns the configuration of an HTTPS listener that uses c: TLS 1.2 or
// later, HTTP/2 or HTTP/1.1.
func (c *Certificate) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: c.get,
		NextProtos:     []string{"h2", "http/1.1"},
	}
}

// get returns the key pair for one handshake. If the files have changed, it reads them. If
// they are not valid then, the old pair stays in use, with one warning per change.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.changed() {
		if err := c.read(); err != nil {
			c.log.Warn("certificate not reloaded; the old one stays in use", "err", err)
		} else {
			c.log.Info("certificate reloaded", "file", c.certFile)
		}
	}
	return c.pair.Load(), nil
}

// changed reports whether the files have changed. It reports each change once.
func (c *Certificate) changed() bool {
	// A handshake does not wait for the disk while another one checks.
	if !c.mu.TryLock() {
		return false
	}
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.looked) < certificateEvery {
		return false
	}
	c.looked = now
	versions := c.versions()
	if versions == c.seen {
		return false
	}
	c.seen = versions
	return true
}

func (c *Certificate) versions() [2]config.FileVersion {
	return [...]config.FileVersion{config.VersionOf(c.certFile), config.VersionOf(c.keyFile)}
}

func (c *Certificate) read() error {
	certificate, err := config.ReadRegular(c.certFile, config.MaxFileBytes)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	key, err := config.ReadRegular(c.keyFile, config.MaxFileBytes)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %s; use a PEM file with the certificate followed by its chain, and a PEM file with its unencrypted private key",
			c.certFile, c.keyFile, pairProblem(certificate, key, err))
	}
	c.pair.Store(&pair)
	return nil
}

// pairProblem says why a certificate and a key, both in PEM, cannot be used. It falls back
// to the text of err.
func pairProblem(certificate, key []byte, err error) string {
	certificates, keys := blocks(certificate), blocks(key)
	isKey := func(kind string) bool { return strings.HasSuffix(kind, "PRIVATE KEY") }
	switch {
	case !slices.Contains(certificates, "CERTIFICATE"):
		return "the first file holds no certificate" + instead(certificates)
	case !slices.ContainsFunc(keys, isKey):
		return "the second file holds no private key" + instead(keys)
	case slices.Contains(keys, "ENCRYPTED PRIVATE KEY"):
		return "the private key is encrypted"
	case strings.Contains(err.Error(), "does not match"):
		return "the private key does not belong to the certificate"
	}
	return strings.TrimPrefix(err.Error(), "tls: ")
}

// blocks returns the types of the PEM blocks in text, in order.
func blocks(text []byte) (types []string) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		types = append(types, block.Type)
	}
	return types
}

// instead describes what a PEM file contains instead of the right block.
func instead(types []string) string {
	if len(types) == 0 {
		return ": there is no PEM block in it"
	}
	return ", but " + strings.Join(types, ", ")
}
