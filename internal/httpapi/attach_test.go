package httpapi_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/memory"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// attachTime is how long a lateBroker takes to attach a topic.
const attachTime = 4 * time.Second

type lateBroker struct{ broker.Broker }

func (b lateBroker) Attach(a *broker.Attachment) bool {
	time.AfterFunc(attachTime, func() { b.Broker.Attach(a) })
	return false
}

// A poll that waits for the broker is refused when its time ends, for whatever reason.
func TestPollEndsWhileAttaching(t *testing.T) {
	for name, test := range map[string]struct {
		until, drain, leave time.Duration
		after               time.Duration
		status              int
		code                pubsub.Code
	}{
		"nothing":           {after: attachTime, status: 200},
		"until":             {until: 2 * time.Second, after: attachTime, status: 401, code: pubsub.TokenExpired},
		"draining":          {drain: time.Second, after: time.Second, status: 503, code: pubsub.Draining},
		"the client leaves": {leave: time.Second, after: time.Second, status: 503, code: pubsub.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, drain := new(reader), make(chan struct{})
				r.broker, r.topics = memory.New(memory.Config{Epoch: epoch}, topic.Config{})
				attacher := broker.NewAttacher(lateBroker{r.broker}, broker.AttacherConfig{})
				r.service = newHandler(t, httpapi.Config{Topics: r.topics, Broker: r.broker, Attacher: attacher, Draining: drain})
				grant := auth.Grant{Subject: "test", Scopes: []auth.Scope{auth.Subscribe}, Topics: []pubsub.Topic{"a"}, Expires: time.Now().Add(time.Hour)}
				if test.until > 0 {
					grant.Until = time.Now().Add(test.until)
				}
				signed, err := r.signer.Sign(grant)
				if err != nil {
					t.Fatal(err)
				}
				r.bearer = "Bearer " + string(signed)
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				if test.drain > 0 {
					time.AfterFunc(test.drain, func() { close(drain) })
				}
				if test.leave > 0 {
					time.AfterFunc(test.leave, leave)
				}
				w := r.wait(t, ctx, "topic=a&wait=20&since=E:0")
				time.Sleep(3 * time.Second)
				r.publish(t, "a", "secret")
				if test.status == 200 {
					w.want(t, test.after, "secret")
				} else {
					w.wantRefused(t, test.status, test.code)
				}
				if w.after != test.after {
					t.Errorf("answered after %v, want %v", w.after, test.after)
				}
				time.Sleep(attachTime)
				if waiting := attacher.Waiting(); waiting != 0 {
					t.Errorf("%d attachments remain", waiting)
				}
			})
		})
	}
}
