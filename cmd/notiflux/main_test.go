package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary a notiflux when it is run by that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"notiflux": main})
}

// TestScripts runs testdata/script: a file per behaviour. UPDATE=1 rewrites
// what they compare output with.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			env.Values[jobsKey{}] = jobs{}
			env.Setenv("PORT", "0")
			env.Setenv("NOTIFLUX_ADMIN_ADDR", "")     // off: scripts run at the same time
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each program takes a second to end
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":  start,
			"await":  await,
			"repeat": repeat,
			"finish": finish,
			"status": status,
			"decode": decode,
			"screen": screen,
		},
	})
}

func TestProgramsOfGoRun(t *testing.T) {
	tests := []struct {
		path string
		want bool
	}{
		{"/tmp/go-build1234567/b001/exe/notiflux", true},
		{"/home/me/.cache/go-build/0a/0a11223344556677889900aabbccddeeff0011223344556677889900aabbccdd-d/notiflux", true},
		{"/usr/local/bin/notiflux", false},
		{"/home/me/go-build/notiflux", false},
		{"/tmp/go-build1/other/notiflux", false},
	}
	for _, tt := range tests {
		if got := isGoRun(tt.path); got != tt.want {
			t.Errorf("isGoRun(%q) = %v, want %v", tt.path, got, tt.want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for word, want := range map[string]string{
		"/usr/bin/notiflux": "/usr/bin/notiflux",
		"/my tools/it's":    `'/my tools/it'\''s'`,
		"":                  "''",
	} {
		if got := shellQuote(word); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", word, got, want)
		}
	}
}
