package presence_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/ikornaselur/notiflux/internal/presence"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// One member leaves and another joins, while a number of others is present.
func BenchmarkJoinLeave(b *testing.B) {
	for _, members := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprint("members=", members), func(b *testing.B) {
			r, _ := filled(b, 1, members, 0)
			m := pubsub.Member{Sub: "u0"}
			b.ReportAllocs()
			for b.Loop() {
				r.Join("0", m).Release()
			}
		})
	}
}

// All members join, leave and are forgotten, and each change is reported.
func BenchmarkStorm(b *testing.B) {
	for _, topics := range []int{1, 10_000} {
		b.Run(fmt.Sprint("topics=", topics, "/members=", 10_000), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, references := filled(b, topics, 10_000, 10_000)
				for _, s := range references {
					s.Release()
				}
				for r.Stats().Topics > 0 {
					runtime.Gosched()
				}
			}
		})
	}
}

func BenchmarkList(b *testing.B) {
	for _, members := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprint("members=", members), func(b *testing.B) {
			r, _ := filled(b, 1, members, 0)
			b.ReportAllocs()
			for b.Loop() {
				r.List("0", 1000)
			}
		})
	}
}

// filled returns a running registry with this many members over this many topics. It
// reports joins and leaves of topics with up to most members.
func filled(b *testing.B, topics, members, most int) (*presence.Registry, []*presence.Reference) {
	r := presence.New(presence.Config{GracePeriod: 1, BatchDelay: 1, MaxMembers: most})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	b.Cleanup(func() { cancel(); <-ended })
	references := make([]*presence.Reference, members)
	for i := range references {
		references[i] = r.Join(pubsub.Topic(fmt.Sprint(i%topics)), pubsub.Member{Sub: fmt.Sprint("u", i)})
	}
	return r, references
}
