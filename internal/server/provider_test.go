package server_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/memnet"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/server"
)

// An identityProvider signs tokens, and publishes its keys with max-age=60 or in a file.
type identityProvider struct {
	t      *testing.T
	server *servertest.Server
	file   string // empty: over HTTP
	number atomic.Int64

	mu     sync.Mutex
	answer func(*http.Request) (*http.Response, error)
}

// newProvider starts a server in a synctest bubble that accepts tokens of a provider.
func newProvider(t *testing.T, file bool, change func(*config.Serve)) *identityProvider {
	t.Helper()
	n := memnet.New()
	l, err := n.Listen("10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	p := &identityProvider{t: t}
	if file {
		p.file = filepath.Join(t.TempDir(), "jwks.json")
	}
	p.publish(0)
	p.server = servertest.StartIn(t, server.Environment{Public: l, Keys: p}, func(c *config.Serve) {
		c.Loops = "portable" // epoll does not work in a bubble
		c.JWKSURL, c.JWKSIssuer, c.JWKSAudience = "https://id.example/keys", "https://id.example/", "rooms"
		if file {
			c.JWKSURL = "file:" + p.file
		}
		if change != nil {
			change(c)
		}
	})
	p.server.HTTP.Transport.(*http.Transport).DialContext = n.Link(memnet.LinkConfig{}).DialContext
	p.server.HTTP.Transport.(*http.Transport).MaxIdleConnsPerHost = 32
	synctest.Wait()
	return p
}

func providerKey(kid int) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(fmt.Sprint("provider", kid)))
	return ed25519.NewKeyFromSeed(seed[:])
}

// publish makes the provider publish these keys.
func (p *identityProvider) publish(kids ...int) {
	var keys []string
	for _, kid := range kids {
		public := providerKey(kid).Public().(ed25519.PublicKey)
		keys = append(keys, fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"%d","x":%q}`, kid, base64.RawURLEncoding.EncodeToString(public)))
	}
	text := `{"keys":[` + strings.Join(keys, ",") + `]}`
	if p.file != "" {
		if err := os.WriteFile(p.file+".new", []byte(text), 0o600); err != nil {
			p.t.Fatal(err)
		}
		if err := os.Rename(p.file+".new", p.file); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	p.say(func(*http.Request) (*http.Response, error) { return response(http.StatusOK, text), nil })
}

func response(status int, text string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Cache-Control": {"max-age=60"}}, Body: io.NopCloser(strings.NewReader(text))}
}

func (p *identityProvider) say(answer func(*http.Request) (*http.Response, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *identityProvider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	return answer(r)
}

// token returns a new token that is signed with a key.
func (p *identityProvider) token(kid int) string {
	p.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://id.example/", "aud": []string{"rooms", "other"}, "sub": "ann", "jti": fmt.Sprint(p.number.Add(1)),
		"iat": time.Now().Unix(), "exp": time.Now().Add(48 * time.Hour).Unix(), "scope": "openid broadcast", "topic": "t",
	})
	token.Header["kid"] = fmt.Sprint(kid)
	signed, err := token.SignedString(providerKey(kid))
	if err != nil {
		p.t.Error(err)
	}
	return signed
}

// post publishes a message and returns the status, and the code of an error.
func (p *identityProvider) post(token string) string {
	r, err := p.server.HTTP.Post(p.server.URL+"/broadcast", "application/json", strings.NewReader(`{"topic":"t","message":1,"token":"`+token+`"}`))
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	if r.StatusCode == http.StatusOK {
		return "200"
	}
	_, code, _ := strings.Cut(string(text), `"code":"`)
	code, _, _ = strings.Cut(code, `"`)
	return fmt.Sprint(r.StatusCode, " ", code)
}

// While the keys of a provider rotate, no valid token fails, even if it is signed with a new
// key as soon as that is published. A withdrawn key does not work a minute later, or with a
// file a second later.
func TestRotationUnderLoad(t *testing.T) {
	servertest.NotOnRedis(t, "its time is fake")
	for name, file := range map[string]bool{"JWKS": false, "file": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const every, rotations, clients = 90 * time.Second, 5, 8
				p := newProvider(t, file, nil)
				withdrawn := time.Minute + time.Millisecond
				if file {
					withdrawn = time.Second + time.Millisecond
				}
				var kid, posts atomic.Int64
				stop := make(chan struct{})
				var load sync.WaitGroup
				for i := range clients {
					load.Go(func() {
						time.Sleep(time.Duration(i) * 61 * time.Millisecond)
						for {
							select {
							case <-stop:
								return
							case <-time.After(487 * time.Millisecond):
							}
							current := int(kid.Load())
							if got := p.post(p.token(current)); got != "200" {
								t.Errorf("a token with key %d: %s", current, got)
							}
							posts.Add(1)
						}
					})
				}
				for n := 1; n <= rotations; n++ {
					old := p.token(n - 1)
					if got := p.post(old); got != "200" {
						t.Errorf("key %d before it is withdrawn: %s", n-1, got)
					}
					time.Sleep(every - 10*time.Second)
					p.publish(n-1, n)
					kid.Store(int64(n))
					time.Sleep(10 * time.Second)
					p.publish(n)
					time.Sleep(withdrawn)
					for _, token := range []string{old, p.token(n - 1)} {
						if got := p.post(token); got != "401 token_invalid" && got != "503 over_capacity" {
							t.Errorf("key %d after it was withdrawn: %s", n-1, got)
						}
					}
				}
				close(stop)
				load.Wait()
				if posts.Load() < rotations*clients*100 {
					t.Errorf("only %d posts", posts.Load())
				}
			})
		})
	}
}

// Whatever the provider's server does, tokens that were verified before work. New tokens of
// known keys work for a day.
func TestTokensWorkWithoutTheProvider(t *testing.T) {
	servertest.NotOnRedis(t, "its time is fake")
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"down": func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") },
		"slow": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"huge": func(*http.Request) (*http.Response, error) {
			return response(http.StatusOK, `{"keys":[]`+strings.Repeat(" ", 1<<20)+"}"), nil
		},
		"wrong": func(*http.Request) (*http.Response, error) {
			return response(http.StatusOK, `{"keys":[{"kty":"oct","k":"AA"}]}`), nil
		},
		"redirecting": func(*http.Request) (*http.Response, error) { return response(http.StatusFound, ""), nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newProvider(t, false, nil)
				known := p.token(0)
				check := func(when, token, want string) {
					t.Helper()
					if got := p.post(token); got != want {
						t.Errorf("%s: %s, want %s", when, got, want)
					}
				}
				check("before", known, "200")
				p.say(answer)
				for range 100 {
					time.Sleep(1007 * time.Millisecond)
					check("a known token", known, "200")
					check("a new token", p.token(0), "200")
				}
				// A token of an unknown key holds up nobody.
				var waiting sync.WaitGroup
				for range 100 {
					waiting.Go(func() { check("an unknown key", p.token(1), "503 over_capacity") })
				}
				for range 20 {
					time.Sleep(100 * time.Millisecond)
					check("beside tokens that wait", p.token(0), "200")
				}
				waiting.Wait()
				time.Sleep(24 * time.Hour)
				check("a known token after a day", known, "200")
				check("a new token after a day", p.token(0), "503 unavailable")
				check("the server's own token", p.server.Token("broadcast", "t"), "200")
				p.publish(0, 1)
				time.Sleep(31 * time.Second)
				check("a new token, with the provider back", p.token(1), "200")
			})
		})
	}
}

// A server without the keys of its provider is not ready, and says so to its tokens.
func TestProviderIsMissingAtStart(t *testing.T) {
	servertest.NotOnRedis(t, "its time is fake")
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, true, func(c *config.Serve) {
			os.Remove(strings.TrimPrefix(c.JWKSURL, "file:"))
			c.JWTPublicKeyFile = ""
		})
		ready := func() int {
			r, err := p.server.HTTP.Get(p.server.URL + "/readyz")
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			return r.StatusCode
		}
		if got, status := p.post(p.token(0)), ready(); got != "503 unavailable" || status != http.StatusServiceUnavailable {
			t.Errorf("without keys: %s, /readyz %d", got, status)
		}
		if got := p.post(p.server.Token("broadcast", "t")); got != "401 token_invalid" {
			t.Errorf("a token of another issuer: %s", got)
		}
		p.publish(0)
		time.Sleep(time.Second)
		synctest.Wait() // The keys are loaded at this time, too.
		if got, status := p.post(p.token(0)), ready(); got != "200" || status != http.StatusOK {
			t.Errorf("with keys: %s, /readyz %d", got, status)
		}
	})
}
