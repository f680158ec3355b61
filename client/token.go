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
	Topics  []string // that need the token now; a token for more topics saves requests
	Refused string   // the server's code if it refused the last token; else empty
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
