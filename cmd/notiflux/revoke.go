package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/ikornaselur/notiflux/internal/pubsub"
)

type revokeCmd struct {
	Sub     *string       `placeholder:"SUB" help:"Revoke the tokens of this user."`
	Jti     *string       `placeholder:"ID" help:"Revoke the token with this claim jti."`
	Kid     *string       `placeholder:"KID" help:"Revoke the tokens that the key with this kid verified."`
	Issuer  *string       `placeholder:"ISSUER" help:"Only tokens of this issuer."`
	Before  string        `placeholder:"TIME" help:"Only tokens issued before this time, such as 2026-01-31T12:00:00Z; with --sub the default is now, so that the user can come back with a new token."`
	Topic   []string      `sep:"none" placeholder:"TOPIC" help:"Only for this topic; can be repeated."`
	Pattern []string      `sep:"none" placeholder:"PATTERN" help:"Only for topics with this beginning, followed by *; can be repeated."`
	For     time.Duration `placeholder:"DURATION" help:"How long the revocation lasts; by default as long as the server accepts tokens (--max-token-life), or 30 days."`

	Admin adminFlags `embed:""`
}

// Help is shown by -h below the first line.
func (*revokeCmd) Help() string {
	return "Tokens that match all conditions are refused from now on, and what clients hold by them ends, on all servers that share a broker. Success means that the revocation is stored; a note says if it lasts only until the server restarts, or if some servers did not answer. Prints the revocations and what ended, as JSON."
}

// Run revokes tokens.
func (c *revokeCmd) Run(t *terminal) error {
	if c.Sub == nil && c.Jti == nil && c.Kid == nil {
		return usagef("nothing says which tokens to revoke: add --sub, --jti or --kid")
	}
	if c.For < 0 {
		return usagef("--for is %v; use a duration above zero, such as 24h", c.For)
	}
	topics, err := parseEach("--topic", c.Topic, pubsub.ParseTopic)
	if err != nil {
		return err
	}
	patterns, err := parseEach("--pattern", c.Pattern, pubsub.ParsePattern)
	if err != nil {
		return err
	}
	body := map[string]any{}
	for name, text := range map[string]*string{"sub": c.Sub, "jti": c.Jti, "kid": c.Kid, "issuer": c.Issuer} {
		if text == nil {
			continue
		}
		if *text == "" { // Probably a variable that was not set: without it, many more could be revoked.
			return usagef("--%s is empty: set it, or leave it out", name)
		}
		body[name] = *text
	}
	if len(topics) > 0 {
		body["topics"] = topics
	}
	if len(patterns) > 0 {
		body["patterns"] = patterns
	}
	if c.Before != "" {
		before, err := time.Parse(time.RFC3339, c.Before)
		if err != nil {
			return usagef("--before is %q: use a time such as 2026-01-31T12:00:00Z", c.Before)
		}
		body["before"] = before
	}
	if c.For > 0 {
		body["expires"] = time.Now().Add(c.For).UTC()
	}
	var answer json.RawMessage
	if err := c.Admin.post("revocations", body, &answer); err != nil {
		return err
	}
	noteStars(t, topics)
	var outcome struct {
		Until string
		servers
	}
	if json.Unmarshal(answer, &outcome) == nil {
		if outcome.Until == "restart" {
			fmt.Fprintln(t.err, "notiflux: the revocation lasts until the server restarts: set its --revocations-file (NOTIFLUX_REVOCATIONS_FILE) to keep revocations")
		}
		outcome.note(t, "the revocation is stored, and takes effect there as soon as they read it from the broker")
	}
	return writeJSON(t.out, answer)
}

// servers are the numbers of servers in an answer of the admin API, if several share a broker.
type servers struct {
	Servers *struct{ Asked, Answered int }
}

// note says on standard error if not all servers answered, and what that means.
func (s servers) note(t *terminal, meaning string) {
	switch {
	case s.Servers == nil || s.Servers.Answered == s.Servers.Asked:
	case s.Servers.Asked == 0:
		fmt.Fprintf(t.err, "notiflux: the other servers could not be reached: %s\n", meaning)
	default:
		fmt.Fprintf(t.err, "notiflux: %d of %d servers did not answer: %s\n", s.Servers.Asked-s.Servers.Answered, s.Servers.Asked, meaning)
	}
}

type disconnectCmd struct {
	Sub        string  `placeholder:"SUB" help:"Disconnect this user."`
	Issuer     *string `placeholder:"ISSUER" help:"Only with tokens of this issuer."`
	Connection string  `placeholder:"NAME" help:"Disconnect this connection: the name that the client got in welcome or hello."`

	Admin adminFlags `embed:""`
}

// Help is shown by -h below the first line.
func (*disconnectCmd) Help() string {
	return "Closes the connections of a user, or one connection, on all servers that share a broker. The clients may connect again at once with another token, and even with the same one: to prevent that, use notiflux revoke. Prints how many connections were closed, as JSON."
}

// Run disconnects clients.
func (c *disconnectCmd) Run(t *terminal) error {
	if (c.Sub != "") == (c.Connection != "") {
		return usagef("give either --sub or --connection")
	}
	body := map[string]string{"sub": c.Sub}
	if c.Issuer != nil {
		body["issuer"] = *c.Issuer
	}
	if c.Connection != "" {
		body = map[string]string{"connection": c.Connection}
	}
	var answer json.RawMessage
	if err := c.Admin.post("disconnect", body, &answer); err != nil {
		return err
	}
	var outcome servers
	if json.Unmarshal(answer, &outcome) == nil {
		outcome.note(t, "it is not known whether the clients there were disconnected; try again")
	}
	return writeJSON(t.out, answer)
}
