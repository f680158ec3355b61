package listen

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A keyPair is the two files of a certificate, in a directory of the test.
type keyPair struct {
	certFile, keyFile string
	modified          time.Time
}

func newKeyPair(t *testing.T) *keyPair {
	dir := t.TempDir()
	return &keyPair{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), time.Now()}
}

// write replaces both files with a new self-signed pair for name.
func (k *keyPair) write(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotAfter:     time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	k.writeFile(t, k.certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
	k.writeFile(t, k.keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// writeFile gives each version a new time stamp, whatever the resolution of the file
// system.
func (k *keyPair) writeFile(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	k.modified = k.modified.Add(time.Second)
	if err := os.Chtimes(name, k.modified, k.modified); err != nil {
		t.Fatal(err)
	}
}

// A clock moves only when the test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// serveTLS accepts handshakes with c on a real socket, and returns its address.
func serveTLS(t *testing.T, c *Certificate) string {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", c.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // the client reports the result
			conn.Close()
		}
	})
	t.Cleanup(func() {
		listener.Close()
		accepting.Wait()
	})
	return listener.Addr().String()
}

// nameAt returns the name on the certificate that a handshake receives.
func nameAt(t *testing.T, addr string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// serveOld serves a certificate for old.example.com. It returns the files, the clock and
// the address.
func serveOld(t *testing.T, logged *bytes.Buffer) (files *keyPair, fake *clock, addr string) {
	t.Helper()
	files = newKeyPair(t)
	files.write(t, "old.example.com")
	c, err := LoadCertificate(files.certFile, files.keyFile, nil, slog.New(slog.NewTextHandler(logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	fake = &clock{now: time.Now()}
	c.now = fake.Now
	return files, fake, serveTLS(t, c)
}

func TestCertificateReloads(t *testing.T) {
	var logged bytes.Buffer
	files, fake, addr := serveOld(t, &logged)
	if got := nameAt(t, addr); got != "old.example.com" {
		t.Fatalf("first handshake got %s", got)
	}

	files.write(t, "new.example.com")
	if got := nameAt(t, addr); got != "old.example.com" {
		t.Errorf("files checked again within %v: got %s", certificateEvery, got)
	}
	fake.add(2 * certificateEvery)
	if got := nameAt(t, addr); got != "new.example.com" {
		t.Errorf("handshake after the change got %s", got)
	}
	if n := strings.Count(logged.String(), "certificate reloaded"); n != 1 {
		t.Errorf("%d lines report a reload, want 1: %s", n, &logged)
	}
}

func TestBadCertificateKeepsTheOldOne(t *testing.T) {
	var logged bytes.Buffer
	files, fake, addr := serveOld(t, &logged)
	warnings := func() int { return strings.Count(logged.String(), "level=WARN") }

	for i, spoil := range []func(){
		func() { files.writeFile(t, files.certFile, []byte("not a certificate")) },
		func() { os.Remove(files.keyFile) },
		func() { // the certificate of another key, as between the two writes of a renewal
			other := newKeyPair(t)
			other.write(t, "new.example.com")
			cert, err := os.ReadFile(other.certFile)
			if err != nil {
				t.Fatal(err)
			}
			files.writeFile(t, files.certFile, cert)
		},
	} {
		spoil()
		for range 3 {
			fake.add(2 * certificateEvery)
			if got := nameAt(t, addr); got != "old.example.com" {
				t.Errorf("spoiled %d: got %s, want the old certificate", i, got)
			}
		}
		if got, want := warnings(), i+1; got != want {
			t.Errorf("spoiled %d: %d warnings, want %d: %s", i, got, want, &logged)
		}
	}

	files.write(t, "new.example.com")
	fake.add(2 * certificateEvery)
	if got := nameAt(t, addr); got != "new.example.com" {
		t.Errorf("valid again: got %s", got)
	}
}

func TestManyHandshakesWhileReloading(t *testing.T) {
	files := newKeyPair(t)
	files.write(t, "old.example.com")
	c, err := LoadCertificate(files.certFile, files.keyFile, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	fake := &clock{now: time.Now()}
	c.now = fake.Now
	var handshakes sync.WaitGroup
	for range 8 {
		handshakes.Go(func() {
			for range 200 {
				fake.add(certificateEvery / 10)
				if pair, err := c.get(nil); err != nil || pair == nil {
					t.Errorf("get = %v, %v", pair, err)
				}
			}
		})
	}
	files.write(t, "new.example.com")
	handshakes.Wait()
	fake.add(2 * certificateEvery)
	pair, err := c.get(nil)
	if err != nil || pair.Leaf.Subject.CommonName != "new.example.com" {
		t.Errorf("get = %v, %v, want the new certificate", pair, err)
	}
}

func TestCertificateThatCannotBeRead(t *testing.T) {
	files := newKeyPair(t)
	files.write(t, "example.com")
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for _, names := range [][2]string{
		{missing, files.keyFile},
		{files.certFile, missing},
		{files.keyFile, files.certFile},
	} {
		_, err := LoadCertificate(names[0], names[1], nil, nil)
		if err == nil || !strings.Contains(err.Error(), names[0]) || !strings.Contains(err.Error(), names[1]) {
			t.Errorf("LoadCertificate(%q, %q) = %v, want an error that names both files", names[0], names[1], err)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	files := newKeyPair(t)
	files.write(t, "example.com")
	c, err := LoadCertificate(files.certFile, files.keyFile, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	addr := serveTLS(t, c)
	for version, ok := range map[uint16]bool{
		tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true,
	} {
		conn, err := tls.Dial("tcp", addr, &tls.Config{
			InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
		})
		if (err == nil) != ok {
			t.Errorf("%s: handshake = %v, want it to succeed: %v", tls.VersionName(version), err, ok)
		}
		if conn != nil {
			conn.Close()
		}
	}
}
