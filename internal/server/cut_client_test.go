package server_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/ikornaselur/notiflux/internal/internaltest/delivery"
	"github.com/ikornaselur/notiflux/internal/internaltest/rawclient"
	"github.com/ikornaselur/notiflux/internal/pubsub"
)

// A cutClient is a reader whose connection is cut again and again.
type cutClient struct {
	rawclient.Reader
	t     *testing.T
	url   string
	cutIn map[rawclient.Phase]int
}

// newCutClient returns client number i, without a url and a token.
func newCutClient(t *testing.T, recorder *delivery.Recorder, i int) *cutClient {
	return &cutClient{
		t: t,
		Reader: rawclient.Reader{
			Topics:    cutTopics,
			Random:    rand.New(rand.NewPCG(*seed, uint64(i))),
			Recording: recorder.Client(fmt.Sprint("client ", i)),
		},
		cutIn: make(map[rawclient.Phase]int),
	}
}

// connect opens a connection that is cut at a random byte, or ends when the client has
// reached its goal.
func (c *cutClient) connect(speak rawclient.Dialect, goal map[pubsub.Topic]pubsub.Position) {
	if c.t.Failed() {
		return
	}
	w, err := rawclient.Dial(c.url, 0, 20*time.Second)
	if err != nil {
		c.t.Error(err)
		return
	}
	defer w.Close()
	c.Goal, c.Live = goal, 0
	if goal == nil {
		w.In, w.Out, c.Live = c.budget()
		if c.Random.IntN(2) == 0 {
			w.Conn.(*net.TCPConn).SetLinger(0) // a reset instead of an orderly close
		}
	}
	err = c.Follow(w, speak)
	if goal == nil && errors.Is(err, rawclient.ErrCut) {
		c.cutIn[c.Phase]++
	} else if err != nil || goal == nil {
		c.t.Errorf("-seed=%d: a connection ended while %s: %v", *seed, c.Phase, err)
	}
}

// budget chooses at random where a connection is cut: in what the client sends, in the
// handshake, in the answer, in replayed messages, or in live messages.
func (c *cutClient) budget() (in, out, live int) {
	in, out = math.MaxInt, math.MaxInt
	switch c.Random.IntN(8) {
	case 0:
		out = c.Random.IntN(1000)
		in = c.Random.IntN(1000)
	case 1, 2, 3:
		live = 1 + c.Random.IntN(1000)
	default:
		in = c.Random.IntN([]int{200, 500, 1000, 4000}[c.Random.IntN(4)])
	}
	return in, out, live
}
