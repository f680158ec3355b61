package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
)

// A TokenRequest says for what [Options.TokenSource] has to return a token.
type TokenRequest struct {
	Scope   string   // "subscribe" for subscribing and reading, or "broadcast"
	Topics  []string // topics that need a token now; one that allows more topics saves requests
	Refused string   // the server's code if it refused the last token; else empty

	// Patterns are patterns of topics that need a token now, from
	// [Client.SubscribePattern]. Topics is empty then.
	Patterns []string
}

// Format writes a placeholder for every verb, so that the token is not printed.
func (o Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "client.Options REDACTED") }

// LogValue returns a placeholder, so that the token is not logged.
func (o Options) LogValue() slog.Value { return slog.StringValue("REDACTED") }

func (o Options) tokens() *tokens.Cache {
	if o.TokenSource == nil {
		return tokens.New(o.Token, nil)
	}
	return tokens.New("", func(ctx context.Context, r tokens.Request) (string, error) {
		topics, patterns := r.Split()
		return o.TokenSource(ctx, TokenRequest{Scope: r.Scope, Topics: topics, Refused: r.Refused, Patterns: patterns})
	})
}
