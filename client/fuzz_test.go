package client_test

import (
	"testing"

	"github.com/ikornaselur/notiflux/client"
)

// A client survives any answer of a server, and never accepts a part of an invalid one.
func FuzzHistory(f *testing.F) {
	for _, seed := range []string{
		`{"messages":[{"topic":"a","position":"E:1","time":1,"data":1}],"position":"E:1","recovered":true,"more":false}`,
		`{"messages":[{"topic":"a","position":"E:1","time":1,"data":"\ud800"}],"position":"E:1"}`,
		`{"position":"E"}`, `[]`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := client.ParseHistoryForTest(data)
		if err == nil && h.Position == "" {
			t.Errorf("ParseHistory(%q) gives no position", data)
		}
	})
}
