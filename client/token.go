package client

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"
)

const redacted = "REDACTED"

// A Token is what a server is shown: a JWT. It prints as REDACTED, whatever the
// verb and the logger; string(t) is the token itself.
type Token string

// String returns REDACTED.
func (Token) String() string { return redacted }

// Format writes REDACTED, for every verb.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// sourceTimeout is how long a token may take: longer than a service needs that
// means to answer.
const sourceTimeout = 30 * time.Second

// renew replaces a token that was refused. It is called by the owner of the token.
func (c *Client) renew(ctx context.Context) error {
	c.mu.Lock()
	stale := c.stale
	c.mu.Unlock()
	if !stale {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	token, err := c.source(ctx)
	if err != nil {
		return fmt.Errorf("get a token: %w", err)
	}
	c.token = token
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
	c.stale = false
	return nil
}
