package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
)

func Example() {
	server := httptest.NewServer(http.HandlerFunc(serveNews)) // in place of `notiflux dev`
	defer server.Close()
	ctx := context.Background()

	c, err := client.New(server.URL, client.Options{Token: os.Getenv("NOTIFLUX_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for event, err := range c.Subscribe("news").Events(ctx) {
		if err != nil {
			fmt.Println(err) // a *client.LostError says that messages are missing
			break
		}
		if m, ok := event.(client.Message); ok {
			fmt.Println(m.Topic, m.Text())
		}
	}
	// Output:
	// news hello
	// messages of "news" after E:42 were lost by the server
}

// A program that shows the state of something handles each kind of event.
func ExampleSubscription_Events() {
	server := httptest.NewServer(http.HandlerFunc(serveNews)) // in place of `notiflux dev`
	defer server.Close()
	c, err := client.New(server.URL, client.Options{
		TokenSource: func(context.Context, client.TokenRequest) (string, error) { return os.Getenv("NOTIFLUX_TOKEN"), nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	news := c.SubscribeWith(client.SubscribeOptions{Last: 10}, "news")
	for event, err := range news.Events(context.Background()) {
		if lost, ok := errors.AsType[*client.LostError](err); ok {
			fmt.Println("load everything again:", lost)
			continue
		}
		if err != nil {
			fmt.Println(err)
			continue // the loop ends on its own if this was the last error
		}
		switch e := event.(type) {
		case client.Message:
			fmt.Println(e.Text())
		case client.Subscribed:
			fmt.Println("everything after", e.Position, "follows")
		case client.Disconnected:
			fmt.Println("connecting again")
		}
	}
	// Output:
	// everything after E:41 follows
	// hello
	// load everything again: messages of "news" after E:42 were lost by the server
	// world
	// the server closed the connection: 4000 that is all
}

func ExampleClient_PublishJSON() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // in place of `notiflux dev`
		fmt.Fprint(w, `{"topic":"news","position":"E:62"}`)
	}))
	defer server.Close()
	c, err := client.New(server.URL, client.Options{Token: os.Getenv("NOTIFLUX_TOKEN")})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	position, err := c.PublishJSON(context.Background(), "news", map[string]int{"goals": 3})
	if refusal, ok := errors.AsType[*client.Error](err); ok {
		fmt.Println("the server refuses it:", refusal.Code)
		return
	}
	if err != nil {
		fmt.Println("it may be published or not:", err)
		return
	}
	fmt.Println("published at", position)
	// Output: published at E:62
}

func serveNews(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"notiflux.v1.json"}})
	if err != nil {
		return
	}
	for at, frame := range []string{
		`{"type":"welcome","connection":"00","version":"0","ping":25,"limits":{}}`,
		`{"type":"subscribed","id":1,"topics":{"news":{"position":"E:41","recovered":true,"replay":1}}}`,
		message("news", 42, `"hello"`),
		`{"type":"gap","topic":"news","position":"E:60"}`,
		message("news", 61, `"world"`),
	} {
		if at == 1 {
			if _, _, err := conn.Read(r.Context()); err != nil {
				return
			}
		}
		if conn.Write(r.Context(), websocket.MessageText, []byte(frame)) != nil {
			return
		}
	}
	conn.Close(4000, "that is all")
}
