// Command go-client prints the messages of a topic, or publishes one:
//
//	notiflux dev --topic news                        # prints one token to subscribe and one to publish
//	TOKEN=… go run ./examples/go-client
//	TOKEN=… go run ./examples/go-client -publish '{"goals":3}'
//
// With -state FILE it resumes after a restart: FILE holds the position of the last message
// that it has printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/ikornaselur/notiflux/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("go-client", flag.ContinueOnError)
	url := flags.String("url", "http://127.0.0.1:8080", "address of the server")
	topic := flags.String("topic", "news", "topic to use")
	publish := flags.String("publish", "", "message to publish instead of printing messages")
	state := flags.String("state", "", "file for the position to resume from")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := client.New(*url, client.Options{Token: os.Getenv("TOKEN")})
	if err != nil {
		return err
	}
	defer c.Close()
	if *publish != "" {
		position, err := c.Publish(ctx, *topic, []byte(*publish))
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "published at", position)
		return nil
	}
	return follow(ctx, c, *topic, *state, out)
}

// follow prints what happens to a topic until ctx ends or the server refuses it.
func follow(ctx context.Context, c *client.Client, topic, state string, out io.Writer) error {
	options := client.SubscribeOptions{}
	if stored, err := os.ReadFile(state); err == nil {
		options.Since = map[string]client.Position{topic: client.Position(stored)}
	}
	for event, err := range c.SubscribeWith(options, topic).Events(ctx) {
		if lost, ok := errors.AsType[*client.LostError](err); ok {
			// Messages are missing: a program that shows a state loads it again here.
			fmt.Fprintln(out, "lost:", lost)
			continue
		}
		if err != nil {
			return err
		}
		switch e := event.(type) {
		case client.Subscribed:
			fmt.Fprintln(out, "subscribed to", e.Topic)
		case client.Disconnected:
			fmt.Fprintln(out, "connecting again:", e.Err)
		case client.Message:
			fmt.Fprintln(out, e.Topic+":", e.Text())
			if state != "" {
				if err := os.WriteFile(state, []byte(e.Position), 0o600); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
