package redis_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/broker"
	"github.com/ikornaselur/notiflux/internal/broker/brokertest"
	"github.com/ikornaselur/notiflux/internal/internaltest/redistest"
	"github.com/ikornaselur/notiflux/internal/pubsub"
	"github.com/ikornaselur/notiflux/internal/topic"
)

// operate runs a node that knows revocations, until they are outdated. It returns when the node
// can serve.
func operate(t *testing.T, s *redistest.Server, most int, outdated ...string) (b broker.Shared, known func() []string) {
	node := node(topic.New(topic.Config{Detach: func(pubsub.Topic) {}}), s.Addr)
	var mu sync.Mutex
	var all []string
	known = func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
	node.Operate(broker.Operator{
		Most: most, Known: known,
		Learn: func(texts []string) []string {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, texts...)
			slices.Sort(all)
			all = slices.DeleteFunc(slices.Compact(all), func(e string) bool { return slices.Contains(outdated, e) })
			return nil
		},
		Answer: func(request []byte, answer func([]byte)) { answer(request) },
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	awaitHealth(node)
	return node, known
}

// A node that can serve knows all revocations, however many there are, and a Redis that lost them
// gets all of them again.
func TestManyRevocations(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	const most = 3500
	var want []string
	for i := range most {
		want = append(want, fmt.Sprintf(`{"jti":"%06d"}`, i))
	}
	b, _ := operate(t, s, most, want[0])
	for part := range slices.Chunk(want, 100) {
		if err := b.Revoke(t.Context(), part, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Revoke(t.Context(), []string{"more"}, nil); err == nil || pubsub.Refusal(err).Code != pubsub.OverCapacity {
		t.Errorf("Revoke = %v beyond the limit, want %s", err, pubsub.OverCapacity)
	}
	if err := b.Revoke(t.Context(), []string{"more"}, want[:1]); err != nil {
		t.Errorf("Revoke = %v in place of an outdated one", err)
	}
	want = append([]string{"more"}, want[1:]...)
	other, known := operate(t, s, most)
	if got := known(); !slices.Equal(got, want) {
		t.Errorf("a node that can serve knows %d revocations, want %d", len(got), len(want))
	}
	s.Client("FLUSHALL")
	for strings.TrimSpace(s.Client("ZCARD", "notiflux:{0}:r")) != fmt.Sprint(most+1) {
		<-time.After(10 * time.Millisecond)
	}
	_, known = operate(t, s, most)
	if got := known(); !slices.Equal(got, want) {
		t.Errorf("after the loss, a node that can serve knows %d revocations, want %d", len(got), len(want))
	}
	request := strings.Repeat("x \x00", 1000)
	answers, asked, err := other.Ask(t.Context(), []byte(request))
	if err != nil || asked != 2 || len(answers) != 2 || string(answers[0]) != request {
		t.Errorf("Ask = %d answers of %d nodes, %v; want 2 of 2", len(answers), asked, err)
	}
}

// A revocation takes an offset, but is no message that subscribers to patterns would miss.
func TestRevocationsAreNoGap(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	b, _ := operate(t, s, 10)
	if err := brokertest.AttachAll(t.Context(), broker.NewAttacher(b, broker.AttacherConfig{}), []broker.Attachment{{Topic: pubsub.Pattern("a*").Topic()}}); err != nil {
		t.Fatal(err)
	}
	if err := b.Revoke(t.Context(), []string{"entry"}, nil); err != nil {
		t.Fatal(err)
	}
	offsets := strings.Fields(s.Client("HMGET", "notiflux:{0}:m", "announced", "last"))
	if len(offsets) != 2 || offsets[0] != offsets[1] {
		t.Errorf("the stream of all topics has everything up to, and the last offset is: %v", offsets)
	}
}
