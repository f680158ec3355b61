package httpapi

import (
	"cmp"
	"context"
	"net/http"
	"runtime"
	"strconv"

	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/router"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// outcomeBytes is the approximate size of one outcome in an answer, without its topic.
const outcomeBytes = 128

// maxSpent is how many tokens of one request may be refused after a signature check.
// Further signatures are not checked.
const maxSpent = 4

var errSpent = pubsub.Errorf(pubsub.OverCapacity, "the token of this message was not checked, because %d other tokens in this request were refused: send this message in another request", maxSpent)

var errNoBroadcastToken = pubsub.Errorf(pubsub.TokenMissing, "a token is required: send it in `token`, or in the header Authorization: Bearer <token>")

// Broadcast answers POST /broadcast: it publishes the messages in the body, and answers
// with the topic and position of each, or with its error.
func (a *API) Broadcast(w http.ResponseWriter, r *http.Request) error {
	if err := a.publishing.Acquire(); err != nil {
		return err
	}
	defer a.publishing.Release()
	err := a.broadcast(w, r)
	if err != nil {
		a.count(err)
	}
	return err
}

// FinishBroadcasts blocks until no broadcast is in progress or ctx ends. Only one goroutine
// may call it at a time.
func (a *API) FinishBroadcasts(ctx context.Context) { a.publishing.Wait(ctx) }

func (a *API) broadcast(w http.ResponseWriter, r *http.Request) error {
	if err := checkMedia(r.Header); err != nil {
		return err
	}
	u := a.newUpload(r)
	defer u.end()
	d, err := u.read(w)
	if err != nil {
		return err
	}
	b, err := d.decode(a.limits)
	if err == nil {
		err = b.takeKey(r.Header)
	}
	if err != nil {
		return router.WithDetail(err, "topic", b.onlyTopic())
	}
	a.authorize(b, r)
	charged, err := a.chargeAnswer(b)
	if err != nil {
		return err
	}
	defer func() { a.config.Unread.Release(charged) }()
	if !a.config.Broker.Publish(b.publications, d.notify) {
		<-d.published
	}
	if b.one && b.publications[0].Err != nil {
		return router.WithDetail(b.publications[0].Err, "topic", b.onlyTopic(), "subject", b.publications[0].Subject)
	}
	status := a.countResults(r, b)
	if b.one {
		d.answer = b.appendAnswer(d.answer[:0])
		// Let publishers that wait for this processor run first. Answers to requests that
		// arrived together then leave together, which costs less.
		runtime.Gosched()
		// A short answer needs no deadline, which makes it cheaper.
		setJSON(w.Header())
		if r.ProtoMajor >= 2 { // net/http sets no length if Handler flushes
			w.Header().Set("Content-Length", strconv.Itoa(len(d.answer)))
		}
		_, _ = w.Write(d.answer)
		return nil
	}
	buffer := a.answers.Get().(*[]byte)
	*buffer = b.appendAnswer((*buffer)[:0])
	u.release() // its client may take its time
	if size := cap(*buffer); size > max(charged, freeBytes) {
		a.config.Unread.Charge(size - charged)
		charged = size
	}
	if err := a.writeAnswer(w, status, *buffer); err == nil && cap(*buffer) <= maxPooledBytes {
		a.answers.Put(buffer)
	}
	return nil
}

// countResults counts and logs the outcome of each publication, and returns the status of
// the answer.
func (a *API) countResults(r *http.Request, b *broadcast) (status int) {
	status, logs := http.StatusOK, a.logsMessages(r.Context())
	for i := range b.publications {
		p := &b.publications[i]
		a.count(p.Err)
		if p.Err != nil {
			status = http.StatusMultiStatus
			router.LogRefusal(a.config.Log, r, r.URL.Path, router.WithDetail(p.Err, "topic", b.names[i].topic, "subject", p.Subject))
		} else if logs {
			a.logMessage(r, p)
		}
	}
	return status
}

// chargeAnswer charges approximately the size of the answer to Config.Unread. It does so
// before any message is published, because the request cannot be refused afterwards. It
// returns the number of bytes to release.
func (a *API) chargeAnswer(b *broadcast) (charged int, err error) {
	if b.one {
		return 0, nil
	}
	for i := range b.names {
		charged += outcomeBytes + len(b.names[i].shown())
	}
	if charged <= freeBytes {
		return 0, nil
	}
	if !a.config.Unread.Charge(charged) {
		a.config.Unread.Release(charged)
		return 0, errUnread
	}
	return charged, nil
}

// onlyTopic returns the topic of a single object, or "".
func (b *broadcast) onlyTopic() string {
	if b.array || len(b.names) != 1 {
		return ""
	}
	return b.names[0].topic
}

// release puts d back into the pool, unless it has grown too large.
func (a *API) release(d *decoder) {
	d.reset()
	if d.size() <= maxPooledBytes {
		a.decoders.Put(d)
	}
}

// authorize sets the error of each publication that its token does not allow. An element
// without a token uses that of the header.
func (a *API) authorize(b *broadcast, r *http.Request) {
	var last auth.Token // most elements have the same token, valid or not
	var claims *auth.Claims
	var err error
	spent := 0 // signature checks that refused a token
	for i := range b.publications {
		p, token := &b.publications[i], b.names[i].token
		if p.Err != nil {
			continue
		}
		if token != last || claims == nil && err == nil {
			last = token
			claims, err = a.claims(token, r, &spent)
		}
		if p.Err = err; err == nil {
			p.Remote, p.Issuer, p.Subject = r.RemoteAddr, claims.Issuer(), claims.Subject
			p.Err = cmp.Or(a.revoked(claims, p.Topic), claims.Allow(auth.Broadcast, p.Topic))
		}
	}
}

// claims returns the claims of a token, or of the header's token if it is empty. After
// maxSpent refused tokens, it checks no more signatures for the request: a body has room
// for hundreds of tokens, and each costs a check with every key.
func (a *API) claims(token auth.Token, r *http.Request, spent *int) (*auth.Claims, error) {
	if token == "" {
		var err error
		if token, err = bearer(r.Header); err != nil {
			return nil, err
		}
	}
	if token == "" {
		return nil, errNoBroadcastToken
	}
	claims, known, err := a.config.Verifier.Recall(token, r.RemoteAddr)
	switch {
	case known:
		return claims, err
	case *spent >= maxSpent:
		return nil, errSpent
	}
	claims, err = a.config.Verifier.Verify(token, r.RemoteAddr)
	if auth.CheckedSignature(err) {
		*spent++
	}
	return claims, err
}

// appendAnswer appends the body of the answer: one outcome or a list.
func (b *broadcast) appendAnswer(dst []byte) []byte {
	if b.one {
		return append(b.appendOutcome(dst, 0), '\n')
	}
	dst = append(dst, '[')
	for i := range b.publications {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = b.appendOutcome(dst, i)
	}
	return append(dst, "]\n"...)
}

func (b *broadcast) appendOutcome(dst []byte, i int) []byte {
	p := &b.publications[i]
	if p.Err != nil {
		return wire.AppendFailed(dst, b.names[i].shown(), pubsub.Refusal(p.Err))
	}
	return wire.AppendPublished(dst, p.Topic, p.Position)
}
