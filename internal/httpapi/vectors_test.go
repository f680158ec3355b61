package httpapi_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/internaltest/vectors"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A published is one message that a body asks to publish, as the vectors describe it.
type published struct {
	Topic   pubsub.Topic
	Message any
	Token   string
	Key     string
	Exclude string
}

// The vectors of package wire for broadcast bodies. Their token is a placeholder: the test
// first replaces it with a valid token, and then leaves it.
func TestBroadcastVectors(t *testing.T) {
	file := vectors.Load[struct {
		Name, Input string
		Parsed      []published
	}](t, "request-broadcast.json")
	s := newService(t, httpapi.Config{})
	good := token(t, s.signer, auth.Broadcast, "a", "b", "c")
	post := func(body string) *response {
		return s.do(t, "POST", "/broadcast", body, "Authorization", "Bearer "+good)
	}
	for _, v := range file.Valid {
		before := len(s.publisher.all())
		post(strings.ReplaceAll(v.Input, "x.y.z", good)).want(t, 200, "")
		var want, tokenless []published
		for _, p := range v.Parsed {
			if p.Token == "" {
				tokenless = append(tokenless, p)
			}
			p.Token = ""
			want = append(want, p)
		}
		if got := asPublished(t, s.publisher.all()[before:]); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", v.Name, got, want)
		}
		before = len(s.publisher.all())
		post(v.Input)
		if got := asPublished(t, s.publisher.all()[before:]); !reflect.DeepEqual(got, tokenless) {
			t.Errorf("%s, with a bad token: %+v, want %+v", v.Name, got, tokenless)
		}
	}
	for _, v := range file.Invalid {
		if r := post(v.Input); r.problem.Code != v.Code {
			t.Errorf("%s: %d %s, want %s", v.Name, r.status, r.body, v.Code)
		}
	}
}

func asPublished(t *testing.T, all []pubsub.Publication) (as []published) {
	t.Helper()
	for _, p := range all {
		one := published{Topic: p.Topic, Key: p.Key, Message: string(p.Body.Data)}
		if p.Body.JSON {
			if err := json.Unmarshal(p.Body.Data, &one.Message); err != nil {
				t.Fatal(err)
			}
		}
		if p.Exclude != 0 {
			one.Exclude = p.Exclude.String()
		}
		as = append(as, one)
	}
	return as
}
