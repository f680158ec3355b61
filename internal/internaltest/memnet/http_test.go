package memnet_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
)

// certificate returns one for the address, and the pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IPAddresses:  []net.IP{net.IPv4(10, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// net/http serves requests at once and shuts down in order: over HTTP/1 and over TLS
// with bodies larger than the window, and over HTTP/2.
func TestHTTP(t *testing.T) {
	cert, pool := certificate(t)
	for _, protocol := range []string{"HTTP/1.1", "HTTP/1.1 over TLS", "HTTP/2.0 over TLS"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { serveHTTP(t, protocol, cert, pool) })
		})
	}
}

func serveHTTP(t *testing.T, protocol string, cert tls.Certificate, pool *x509.CertPool) {
	n := memnet.New()
	l, err := n.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	config := memnet.LinkConfig{Latency: latency, Window: 1000}
	if protocol == "HTTP/2.0 over TLS" {
		config.Window = 1 << 20 // net/http holds locks while it writes.
	}
	link := n.Link(config)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Write(body)
		}),
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}},
	}
	transport := &http.Transport{
		DialContext:       link.DialContext,
		TLSClientConfig:   &tls.Config{RootCAs: pool},
		ForceAttemptHTTP2: protocol == "HTTP/2.0 over TLS",
	}
	client := &http.Client{Transport: transport, Timeout: time.Hour}
	url, serve := "http://"+address, server.Serve
	if strings.HasSuffix(protocol, "TLS") {
		url = "https://" + address
		serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := serve(l); err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	var requests sync.WaitGroup
	for i := range 5 {
		requests.Go(func() {
			for range 3 {
				body := strings.Repeat(fmt.Sprint(i), 10_000)
				r, err := client.Post(url, "text/plain", strings.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(r.Body)
				r.Body.Close()
				if string(got) != body || err != nil || !strings.HasPrefix(protocol, r.Proto) {
					t.Errorf("%s: got %d bytes, %v", r.Proto, len(got), err)
				}
			}
		})
	}
	requests.Wait()
	transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	running.Wait()
	synctest.Wait()
	if n := link.Open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}

// Whatever is written arrives, in order, and at the same times with the same seed.
func TestSameSeedSameTimes(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for seed := range uint64(20) {
		traces := make(map[string]bool)
		for run := range 4 {
			runtime.GOMAXPROCS(1 + run%2)
			traces[exchange(t, seed)] = true
		}
		if len(traces) != 1 {
			t.Errorf("seed %d: %d different traces", seed, len(traces))
		}
	}
}

// exchange has both ends write at random times, read in random pieces and meet
// stalls. It returns a digest of what each end read, and when.
func exchange(t *testing.T, seed uint64) (trace string) {
	synctest.Test(t, func(t *testing.T) {
		random := mathrand.New(mathrand.NewPCG(seed, 0))
		link, client, server := open(t, memnet.LinkConfig{Latency: latency, Window: 1 + random.IntN(500)})
		began := time.Now()
		var traces [2]strings.Builder
		var sent, received [2]bytes.Buffer
		var running sync.WaitGroup
		for i, c := range []*memnet.Conn{client, server} {
			writing, reading := mathrand.New(mathrand.NewPCG(seed, 1)), mathrand.New(mathrand.NewPCG(seed, 2))
			running.Go(func() {
				for range 50 {
					time.Sleep(time.Duration(writing.IntN(100)) * time.Millisecond)
					p := make([]byte, writing.IntN(1000))
					for i := range p {
						p[i] = byte(writing.Uint32())
					}
					sent[i].Write(p)
					write(t, c, string(p))
				}
				c.CloseWrite()
			})
			running.Go(func() {
				for {
					p := make([]byte, 1+reading.IntN(300))
					n, err := c.Read(p)
					received[1-i].Write(p[:n])
					fmt.Fprintf(&traces[i], "%v %x %v\n", time.Since(began), p[:n], err)
					if err != nil {
						return
					}
					time.Sleep(time.Duration(reading.IntN(20)) * time.Millisecond)
				}
			})
		}
		for range 5 {
			time.Sleep(time.Duration(random.IntN(1000))*time.Millisecond + time.Nanosecond) // not while an end is active
			link.Stall()
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
			link.Release()
		}
		running.Wait()
		for i := range sent {
			if !bytes.Equal(sent[i].Bytes(), received[i].Bytes()) {
				t.Errorf("seed %d: %d bytes were sent, %d received", seed, sent[i].Len(), received[i].Len())
			}
		}
		trace = fmt.Sprintf("%x", sha256.Sum256([]byte(traces[0].String()+traces[1].String())))
	})
	return trace
}
