package client_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/internaltest/servertest"
)

// The programs in the README run unchanged, except for the address of the server.
func TestReadmePrograms(t *testing.T) {
	s := servertest.Start(t, nil)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := regexp.MustCompile("(?s)```go\n(package main\n.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(programs) != 2 {
		t.Fatalf("the README has %d programs, want one that subscribes and one that publishes", len(programs))
	}
	command := func(name, program, token string) *exec.Cmd {
		source, binary := filepath.Join(t.TempDir(), name+".go"), filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(source, []byte(strings.ReplaceAll(program, "http://127.0.0.1:8080", s.URL)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
			t.Fatalf("build the program that %s: %v\n%s", name, err, out)
		}
		c := exec.Command(binary)
		c.Env = append(os.Environ(), "TOKEN="+token)
		c.Stderr = os.Stderr
		return c
	}
	subscribe := command("subscribes", programs[0][1], subscribeToken(s, "news"))
	publish := command("publishes", programs[1][1], broadcastToken(s, "news"))

	out, err := subscribe.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := subscribe.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = subscribe.Process.Kill() // it runs for as long as it may
		_ = subscribe.Wait()
	}()
	c := connect(t, s.URL, client.Options{Token: subscribeToken(s, "news")}, hurry)
	defer c.Close()
	for {
		if present, err := c.Presence(t.Context(), "news"); err != nil || present.Subscribers > 0 {
			break
		}
	}
	if err := publish.Run(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if lines.Scan(); lines.Text() != "news hello" {
		t.Errorf("the program that subscribes printed %q, want %q", lines.Text(), "news hello")
	}
}
