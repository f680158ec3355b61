package server_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/config"
	"github.com/ikornaselur/notiflux/internal/internaltest/authtest"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// The file with the public keys is read again when it changes. While it holds both the old
// and the new key, no token fails. An invalid file changes nothing.
func TestKeyFileRotates(t *testing.T) {
	pems := make([][]byte, 2)
	tokens := make([]string, 2)
	for i := range pems {
		signer := authtest.NewSigner(t)
		token, err := signer.Sign(auth.Grant{Subject: "u", Scopes: []auth.Scope{auth.Broadcast, auth.Subscribe}, Topics: []pubsub.Topic{"t"}, Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		pems[i], tokens[i] = signer.PublicPEM(), string(token)
	}
	file := filepath.Join(t.TempDir(), "keys.pem")
	write := func(parts ...[]byte) {
		t.Helper()
		if err := os.WriteFile(file+".new", bytes.Join(parts, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(pems[0])
	s := servertest.Start(t, func(c *config.Serve) { c.JWTPublicKeyFile = file })
	status := func(token string) int {
		r, err := s.HTTP.Post(s.URL+"/broadcast", "application/json", strings.NewReader(`{"topic":"t","message":1,"token":"`+token+`"}`))
		if err != nil {
			t.Error(err)
			return 0
		}
		r.Body.Close()
		return r.StatusCode
	}
	await := func(what string, reached func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !reached(); {
			if time.Now().After(end) {
				t.Fatalf("after a minute, %s", what)
			}
		}
	}
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if got := status(tokens[i]); got != want {
			t.Fatalf("token %d before the rotation: %d, want %d", i, got, want)
		}
	}

	// The old token is used all the time until the old key is to be withdrawn.
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if got := status(tokens[0]); got != http.StatusOK {
				t.Errorf("post %d during the rotation: %d", n, got)
				return
			}
		}
	})
	write([]byte("no keys"))
	await("the log has no warning", func() bool { return strings.Contains(s.Log(), "public keys not reloaded") })
	write(pems[0], pems[1])
	await("the new key does not work", func() bool { return status(tokens[1]) == http.StatusOK })
	close(stop)
	load.Wait()

	client := s.Connect()
	client.Say("/subscribe t " + tokens[0])
	client.Sync()
	write(pems[1])
	await("the old key works", func() bool { return status(tokens[0]) == http.StatusUnauthorized })
	client.Say("/subscribe t " + tokens[0])
	for client.Next() == "1" { // Messages that were published meanwhile come before the refusal.
	}
	if got := status(tokens[1]); got != http.StatusOK {
		t.Errorf("the new token after the rotation: %d", got)
	}
	if n := strings.Count(s.Log(), "public keys not reloaded"); n != 1 {
		t.Errorf("%d warnings, want one per change", n)
	}
}
