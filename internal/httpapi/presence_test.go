package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func TestPresence(t *testing.T) {
	members := presence.New(presence.Config{})
	s := newService(t, httpapi.Config{Presence: members})
	bearer := "Bearer " + token(t, s.signer, auth.Subscribe, "a", "b", "many", "é&?")
	get := func(path string, headers ...string) *response { return s.do(t, "GET", path, "", headers...) }
	members.Join("a", pubsub.Member{Sub: "bob"})
	members.Join("a", pubsub.Member{Sub: "ann", Info: []byte(`{"name":"Ann"}`)})
	members.Join("é&?", pubsub.Member{Sub: `"\n<`})
	for i := range 1200 {
		members.Join("many", pubsub.Member{Sub: fmt.Sprint("u", i)})
	}
	for path, want := range map[string]string{
		"/presence?topic=a":               `{"topic":"a","count":2,"subscribers":0,"members":[{"sub":"ann","info":{"name":"Ann"}},{"sub":"bob"}]}`,
		"/presence?topic=b&other=x":       `{"topic":"b","count":0,"subscribers":0,"members":[]}`,
		"/presence?topic=%C3%A9%26%3F":    `{"topic":"é&?","count":1,"subscribers":0,"members":[{"sub":"\"\\n<"}]}`,
		"/presence?topic=a&topics=b&last": `{"topic":"a","count":2,"subscribers":0,"members":[{"sub":"ann","info":{"name":"Ann"}},{"sub":"bob"}]}`,
	} {
		r := get(path, "Authorization", bearer)
		if r.status != 200 || strings.TrimSpace(r.body) != want || r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("GET %s: %d %v\n%s\nwant\n%s", path, r.status, r.header, r.body, want)
		}
	}
	r := get("/presence?topic=many", "Authorization", bearer)
	if n := strings.Count(r.body, `{"sub":`); n != 1000 || !strings.HasPrefix(r.body, `{"topic":"many","count":1200,`) {
		t.Errorf("%d members are listed, want 1000: %.60s", n, r.body)
	}
	if r := s.do(t, "HEAD", "/presence?topic=a", "", "Authorization", bearer); r.status != 200 || r.body != "" {
		t.Errorf("HEAD: %d %q", r.status, r.body)
	}
	for path, code := range map[string]pubsub.Code{
		"/presence":                 pubsub.Malformed,
		"/presence?topic=a&topic=b": pubsub.Malformed,
		"/presence?topic=":          pubsub.TopicInvalid,
		"/presence?topic=%00a":      pubsub.TopicInvalid, // like the topics of presence events
	} {
		get(path).want(t, 400, code) // before the token is checked
	}
	get("/presence?topic=a").want(t, 401, pubsub.TokenMissing)
	get("/presence?topic=c", "Authorization", bearer).want(t, 403, pubsub.TopicDenied)
	get("/presence?topic=a", "Authorization", "Bearer "+token(t, s.signer, auth.Broadcast, "a")).want(t, 403, pubsub.ScopeDenied)
	s.do(t, "POST", "/presence?topic=a", "").want(t, 405, pubsub.MethodNotAllowed)
}
