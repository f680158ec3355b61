package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

type subscribeCmd struct {
	Topic []string `arg:"" help:"Topics to subscribe to."`

	Since    string `placeholder:"POSITION" help:"Start after this position, as printed by --json; only with one topic."`
	Last     int    `placeholder:"N" help:"Start with up to N earlier messages of each topic."`
	Latest   bool   `help:"Skip older messages when the output cannot keep up."`
	Presence bool   `help:"Join the topics as a member, and print members, joins and leaves on standard error; with --json, as JSON objects on standard output."`
	JSON     bool   `name:"json" help:"Print JSON objects, with topic and position."`

	Client clientFlags `embed:""`
}

// Help is shown by -h below the first line.
func (*subscribeCmd) Help() string {
	return "Runs until it is interrupted. When the connection ends, it reconnects and resumes. Standard error reports when a topic is subscribed, when the connection ends, when messages were lost, and which topics the server refuses. Exits with 1 when the server refuses all topics, or closes the connection and tells the client not to reconnect."
}

// Run prints messages until a signal arrives.
func (c *subscribeCmd) Run(t *terminal) error {
	s, err := c.subscription()
	if err != nil {
		return err
	}
	base, options, err := c.Client.server(auth.Subscribe)
	if err != nil {
		return err
	}
	p := printer{out: t.out, err: t.err, json: c.JSON, subscribed: map[string]bool{}}
	return untilSignal(func(ctx context.Context) error {
		return quietly(ctx, p.subscribe(ctx, base, options, s, c.Topic))
	})
}

// subscription returns the options that the arguments stand for.
func (c *subscribeCmd) subscription() (o client.SubscribeOptions, err error) {
	for _, name := range c.Topic {
		if _, err := pubsub.ParseTopic(name); err != nil {
			return o, usagef("TOPIC: %w", err)
		}
	}
	o.Presence = c.Presence
	if o.Last, o.Latest = c.Last, c.Latest; o.Last < 0 {
		return o, usagef("--last is %d; use 0 or a larger number", o.Last)
	}
	if c.Since == "" {
		return o, nil
	}
	if len(c.Topic) > 1 {
		return o, usagef("--since is a position in one topic: subscribe to one topic")
	}
	if _, err := pubsub.ParsePosition(c.Since); err != nil {
		return o, usagef("--since: %q: %w", c.Since, err)
	}
	o.Since = map[string]client.Position{c.Topic[0]: client.Position(c.Since)}
	return o, nil
}

// A printer prints the events of subscriptions.
type printer struct {
	out, err io.Writer
	json     bool
	cut      bool // the connection has ended and is not yet back

	subscribed map[string]bool // topics already reported
}

// subscribe prints events until the iteration ends, and returns its last error.
func (p *printer) subscribe(ctx context.Context, base *url.URL, options client.Options, o client.SubscribeOptions, topics []string) error {
	c, err := client.New(base.String(), options)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Connect(ctx); err != nil {
		return unreachable("url", base, err)
	}
	var last error
	for event, err := range c.SubscribeWith(o, topics...).Events(ctx) {
		if err := p.print(event, err); err != nil {
			return err
		}
		last = err
	}
	if e, ok := errors.AsType[*client.Error](last); ok && e.Topic != "" {
		return errors.New("every subscription was denied")
	}
	return last
}

// print prints one result of the iteration. It returns an error only if writing fails.
func (p *printer) print(event client.Event, err error) error {
	if cut, ok := event.(client.Disconnected); ok {
		p.cut = true
		p.tell("notiflux: the connection ended: %v; reconnecting", cut.Err)
		return nil
	}
	lost, isLost := errors.AsType[*client.LostError](err)
	refused, isRefused := errors.AsType[*client.Error](err)
	isRefused = isRefused && refused.Topic != ""
	if p.cut && (err == nil || isLost || isRefused) {
		p.cut = false
		p.tell("notiflux: reconnected")
	}
	switch {
	case isLost && lost.Reason == client.Gap:
		p.tell("notiflux: messages of %s were lost after %v: the server lost them", lost.Topic, lost.Since)
		return p.object(object{Type: "gap", Topic: lost.Topic, Position: string(lost.Position)})
	case isLost && lost.Reason == client.Overflow:
		p.tell("notiflux: messages of %s were lost after %v: they arrived faster than they could be printed", lost.Topic, lost.Since)
		return p.object(object{Type: "lost", Topic: lost.Topic, Since: string(lost.Since), Position: string(lost.Position)})
	case isLost:
		p.tell("notiflux: messages of %s were lost after %v: the server no longer has them", lost.Topic, lost.Since)
		p.tellSubscribed(lost.Topic)
		return p.object(object{Type: "lost", Topic: lost.Topic, Since: string(lost.Since), Position: string(lost.Position)})
	case isRefused:
		p.tell("Subscribe to %s denied: %s", refused.Topic, refused.Message)
	}
	switch e := event.(type) {
	case client.Subscribed:
		p.tellSubscribed(e.Topic)
	case client.Skipped:
		return p.object(object{Type: "skipped", Topic: e.Topic, From: string(e.From), To: string(e.To)})
	case client.Message:
		return p.message(e)
	}
	return p.presence(event)
}

// tellSubscribed reports each topic once when its subscription begins.
func (p *printer) tellSubscribed(topic string) {
	if !p.subscribed[topic] {
		p.subscribed[topic] = true
		p.tell("notiflux: subscribed to %s", topic)
	}
}

// presence prints who is present, joins or leaves. It ignores other events.
func (p *printer) presence(event client.Event) error {
	switch e := event.(type) {
	case client.Joined:
		p.note("notiflux: %s joined %s", names(e.Members), e.Topic)
		return p.object(object{Type: "join", Topic: e.Topic, Members: members(e.Members)})
	case client.Left:
		p.note("notiflux: %s left %s", names(e.Members), e.Topic)
		return p.object(object{Type: "leave", Topic: e.Topic, Members: members(e.Members)})
	case client.Present:
		who := ""
		if len(e.Members) > 0 {
			who = ": " + names(e.Members)
		}
		if e.Count > len(e.Members) && who != "" {
			who += ", and more"
		}
		p.note("notiflux: %d present on %s%s", e.Count, e.Topic, who)
		return p.object(object{Type: "presence", Topic: e.Topic, Count: &e.Count, Subscribers: &e.Subscribers, Members: members(e.Members)})
	}
	return nil
}

// An object is a line of --json. Empty fields are omitted.
type object struct {
	Type        string   `json:"type"`
	Topic       string   `json:"topic"`
	Since       string   `json:"since,omitempty"`
	From        string   `json:"from,omitempty"`
	To          string   `json:"to,omitempty"`
	Position    string   `json:"position,omitempty"`
	Time        int64    `json:"time,omitempty"`
	Data        any      `json:"data,omitempty"`
	Count       *int     `json:"count,omitempty"`
	Subscribers *int     `json:"subscribers,omitempty"`
	Members     []member `json:"members,omitempty"`
}

// member is a member as printed by --json.
type member struct {
	Sub  string          `json:"sub"`
	Info json.RawMessage `json:"info,omitempty"`
}

func members(all []client.Member) []member {
	out := make([]member, len(all))
	for i, m := range all {
		out[i] = member{m.Sub, m.Info}
	}
	return out
}

// names lists members. It quotes them, because a token may contain control sequences.
func names(all []client.Member) string {
	var out []string
	for _, m := range all {
		out = append(out, strconv.Quote(m.Sub))
	}
	return strings.Join(out, ", ")
}

// note writes to standard error what --json prints as an object.
func (p *printer) note(format string, args ...any) {
	if !p.json {
		p.tell(format, args...)
	}
}

// message prints a message: a string as it is, any other value as JSON.
func (p *printer) message(m client.Message) error {
	if p.json {
		data := any(m.Text())
		if m.JSON {
			data = json.RawMessage(m.Data)
		}
		return p.object(object{Type: "message", Topic: m.Topic, Position: string(m.Position), Time: m.Time.UnixMilli(), Data: data})
	}
	if !m.JSON {
		_, err := fmt.Fprintln(p.out, m.Text())
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, m.Data); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.out, &compact)
	return err
}

// object prints a line of --json.
func (p *printer) object(o object) error {
	if !p.json {
		return nil
	}
	return writeJSON(p.out, o)
}

// tell writes a line to standard error and ignores errors.
func (p *printer) tell(format string, args ...any) { fmt.Fprintf(p.err, format+"\n", args...) }

// quietly returns nil instead of an error caused by an interrupt.
func quietly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
