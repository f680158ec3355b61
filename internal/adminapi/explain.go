package adminapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/explain"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// explain says what a token allows. It changes nothing.
func (a *api) explain(r *http.Request) (any, error) {
	var body struct {
		Token  string   `json:"token"`
		Topics []string `json:"topics"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	if body.Token == "" {
		return nil, pubsub.Errorf(pubsub.Malformed, "there is no token: set token")
	}
	asked := topics{Topics: body.Topics}
	names, _, err := asked.parse()
	if err != nil {
		return nil, err
	}
	var revoked func(*auth.Claims, pubsub.Topic) error
	if a.config.Revocations != nil {
		revoked = a.config.Revocations.Check
	}
	return explain.Explain(a.config.Verifier, revoked, a.config.Now(), auth.Token(body.Token), names...), nil
}
