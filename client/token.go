package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/ikornaselur/notiflux/client/internal/tokens"
)

// A TokenRequest says what [Options.TokenSource] is to return a token for.
type TokenRequest struct {
	Scope   string   // "subscribe", which also allows to read, or "broadcast"
	Topics  []string // that need it now; a token for more topics saves requests
	Refused string   // code with which the server refused the last token; empty: it did not
}

// Format writes the options without the token, for every verb.
func (o Options) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "client.Options REDACTED") }

// LogValue returns the options without the token.
func (o Options) LogValue() slog.Value { return slog.StringValue("REDACTED") }

func (o Options) tokens() *tokens.Cache {
	if o.TokenSource == nil {
		return tokens.New(o.Token, nil)
	}
	return tokens.New("", func(ctx context.Context, r tokens.Request) (string, error) {
		return o.TokenSource(ctx, TokenRequest(r))
	})
}
