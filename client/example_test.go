package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"

	"github.com/ikornaselur/notiflux/client"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

func Example() {
	server := httptest.NewServer(http.HandlerFunc(serveNews)) // in place of a notiflux server
	defer server.Close()

	ctx := context.Background()
	c, err := client.Dial(ctx, server.URL, client.Options{
		TokenSource: func(context.Context) (client.Token, error) { return "what your back end signs", nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	for event, err := range c.Subscribe(ctx, client.Subscription{Topics: []pubsub.Topic{"news"}, Last: 10}) {
		if lost, ok := errors.AsType[*client.LostError](err); ok {
			fmt.Println("load the page again:", lost)
			continue
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		switch e := event.(type) {
		case client.Message:
			text, _ := e.Text()
			fmt.Println(text)
		case client.Subscribed:
			fmt.Println("everything after", e.Position, "follows")
		case client.Disconnected:
			fmt.Println("connecting again")
		}
	}
	// Output:
	// everything after E:41 follows
	// hello
	// load the page again: messages of "news" after E:42 were lost by the server
	// world
	// the server closed the connection: 4003 that is all
}

func ExampleCaller_Broadcast() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { // in place of a notiflux server
		fmt.Fprint(w, `{"topic":"news","position":"E:62"}`)
	}))
	defer server.Close()

	c, err := client.NewCaller(server.URL, client.Options{Token: "what your back end signs"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	position, err := c.Broadcast(ctx, client.Broadcast{Topic: "news", Message: map[string]int{"goals": 3}})
	if refusal, ok := errors.AsType[*pubsub.Error](err); ok {
		fmt.Println("the server will not:", refusal.Code)
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
	conn.Close(4003, "that is all")
}
