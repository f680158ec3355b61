package adminapi

import (
	"net/http"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/explain"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// explain says what a token allows, and which settings topics have. It changes nothing.
func (a *API) explain(r *http.Request) (any, error) {
	var body struct {
		Token  string   `json:"token"`
		Topics []string `json:"topics"`
	}
	if err := a.decode(r, &body); err != nil {
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
	report := explain.Explain(a.config.Verifier, a.config.Revocations.Check, a.config.Now(), auth.Token(body.Token), names...)
	if a.config.Settings != nil {
		for i := range report.Topics {
			report.Topics[i].Settings = a.config.Settings(report.Topics[i].Name)
		}
	}
	return report, nil
}
