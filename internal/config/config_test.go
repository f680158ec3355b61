package config_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/ikornaselur/notiflux/internal/config"
)

// parse returns what the command line and the environment make of a Serve,
// without judging it.
func parse(t *testing.T, args ...string) (config.Serve, error) {
	t.Helper()
	var c config.Serve
	_, err := parser(t, &c).Parse(args)
	return c, err
}

func parser(t *testing.T, grammar any) *kong.Kong {
	t.Helper()
	p, err := kong.New(grammar)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range p.Model.Flags {
		for _, name := range f.Envs {
			unset(t, name)
		}
	}
	return p
}

func TestDefaultsOfTagsAreDefault(t *testing.T) {
	got, err := parse(t)
	if err != nil {
		t.Fatal(err)
	}
	if want := config.Default(); !reflect.DeepEqual(got, want) {
		t.Errorf("no arguments give %+v, want %+v", got, want)
	}
}

func TestVariablesFollowTheRule(t *testing.T) {
	flags := parser(t, new(config.Serve)).Model.Flags
	if len(flags) >= 60 { // those of tokens and limits are off by default, and few servers need any
		t.Errorf("there are %d settings, want fewer than 60", len(flags))
	}
	for _, f := range flags {
		if f.Name == "help" {
			continue
		}
		if want := []string{config.Variable(f.Name)}; !slices.Equal(f.Envs, want) {
			t.Errorf("--%s has the variables %q, want %q", f.Name, f.Envs, want)
		}
		if f.Help == "" || f.Group == nil {
			t.Errorf("--%s has the help %q and the group %v, want both", f.Name, f.Help, f.Group)
		}
	}
}

func TestNames(t *testing.T) {
	for flag, want := range map[string]string{
		"host":               "--host (HOST)",
		"port":               "--port (PORT)",
		"jwt-public-key-b64": "--jwt-public-key-b64 (JWT_PUBLIC_KEY_B64)",
		"max-topics":         "--max-topics (NOTIFLUX_MAX_TOPICS)",
	} {
		if got := config.Name(flag); got != want {
			t.Errorf("Name(%q) = %q, want %q", flag, got, want)
		}
	}
}

func TestAdminIsChosenWhenGiven(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		addr   string
		chosen bool
	}{
		{"not given", nil, "127.0.0.1:8081", false},
		{"the default place, given", []string{"--admin-addr=127.0.0.1:8081"}, "127.0.0.1:8081", true},
		{"another", []string{"--admin-addr", ":9000"}, ":9000", true},
		{"off", []string{"--admin-addr="}, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parse(t, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if addr, chosen := c.Admin(); addr != tt.addr || chosen != tt.chosen {
				t.Errorf("Admin() = %q, %v, want %q, %v", addr, chosen, tt.addr, tt.chosen)
			}
		})
	}
}

func TestAdminIsOffWithAnEmptyVariable(t *testing.T) {
	var c config.Serve
	p := parser(t, &c)
	t.Setenv("NOTIFLUX_ADMIN_ADDR", "")
	if _, err := p.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if addr, chosen := c.Admin(); addr != "" || !chosen {
		t.Errorf("Admin() = %q, %v, want \"\", true", addr, chosen)
	}
}

func TestAddress(t *testing.T) {
	c := config.Serve{Host: "::1", Port: 8080}
	if got, want := c.Address(), "[::1]:8080"; got != want {
		t.Errorf("Address() = %q, want %q", got, want)
	}
}

func TestAddressTakesBrackets(t *testing.T) {
	for host, want := range map[string]string{"[::1]": "[::1]:8080", "[fe80::1%eth0]": "[fe80::1%eth0]:8080", "localhost": "localhost:8080"} {
		c := config.Serve{Host: host, Port: 8080}
		if got := c.Address(); got != want {
			t.Errorf("Address() of %q = %q, want %q", host, got, want)
		}
	}
}

func TestBytes(t *testing.T) {
	tests := []struct {
		text   string
		want   config.Bytes
		string string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1024", config.KiB, "1KiB"},
		{"1500", 1500, "1500"},
		{"64KiB", 64 * config.KiB, "64KiB"},
		{"1024KiB", config.MiB, "1MiB"},
		{"2GiB", 2 * config.GiB, "2GiB"},
		{"9223372036854775807", 1<<63 - 1, "9223372036854775807"},
	}
	for _, tt := range tests {
		var b config.Bytes
		if err := b.UnmarshalText([]byte(tt.text)); err != nil || b != tt.want || b.String() != tt.string {
			t.Errorf("UnmarshalText(%q) = %v, %v, want %v (%s)", tt.text, b, err, int64(tt.want), tt.string)
		}
	}
}

func TestBytesRefused(t *testing.T) {
	for _, text := range []string{"", "KiB", "-1", "+1", "1.5MiB", "64 KiB", "64KB", "64kib", "1KiBKiB", "0x10", "9223372036854775808", "9007199254740992KiB"} {
		b := config.Bytes(7)
		if err := b.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "64KiB") {
			t.Errorf("UnmarshalText(%q) = %v, want an error that shows how to write it", text, err)
		}
		if b != 7 {
			t.Errorf("UnmarshalText(%q) was refused and set %v", text, b)
		}
	}
}

func FuzzBytes(f *testing.F) {
	for _, text := range []string{"0", "65536", "64KiB", "1MiB", "8GiB", "-1", "9223372036854775807"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var b, again config.Bytes
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		if b < 0 {
			t.Errorf("UnmarshalText(%q) = %d, want nothing negative", text, int64(b))
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%q is %v, which reads as %v, %v", text, b, again, err)
		}
	})
}
