package httpapi

import (
	"net/http"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/transport"
	"github.com/ikornaselur/notiflux/internal/wire"
)

// streams is the routes whose responses do not end.
type streams struct {
	// Immutable after New.
	*API
	configs map[notiflux.Encoding]*transport.Config
}

func newStreams(a *API, c Config) *streams {
	s := &streams{API: a, configs: make(map[notiflux.Encoding]*transport.Config)}
	for _, e := range []notiflux.Encoding{notiflux.SSE, notiflux.SSEChunk, notiflux.NDJSON, notiflux.NDJSONChunk} {
		s.configs[e] = &transport.Config{Heartbeat: []byte(wire.Heartbeat(e)), Stats: c.WebSockets.Stats}
	}
	return s
}

// serve makes a stream of a request, on one of the loops. encoding is that of a
// response without chunks, chunked of one with them.
func (s *streams) serve(w http.ResponseWriter, r *http.Request, contentType string, encoding, chunked notiflux.Encoding) error {
	request, err := s.parseStream(r)
	if err != nil {
		return err
	}
	claims, err := s.authorizeReader(r, request.Topics...)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		if err := s.ready(); err != nil {
			return err
		}
		transport.SetStreamHeader(w.Header(), contentType)
		return nil
	}
	if err := s.clients.admit(); err != nil {
		return err
	}
	transport.SetStreamHeader(w.Header(), contentType)
	taken, err := transport.TakeOver(w, r)
	if err != nil {
		s.clients.slots.Release()
		s.log.Debug("stream broken off", "remote", r.RemoteAddr, "err", err)
		return nil // The connection is gone, so there is nobody to answer.
	}
	if taken.Chunked {
		encoding = chunked
	}
	s.clients.serve(taken.Conn, taken.Early, func(group *session.Group, c *loop.Conn, now time.Duration) loop.Client {
		stream := transport.NewStream(s.configs[encoding], c, taken.Head, now)
		stream.Serve(group.NewStream(stream, encoding, request.session(claims.Until())))
		return stream
	})
	taken.Wait()
	return nil
}

// session returns the request as a session takes it.
func (r streamRequest) session(until time.Time) session.Stream {
	stream := session.Stream{Latest: r.Latest, Until: until}
	for i, topic := range r.Topics {
		stream.Topics = append(stream.Topics, session.StreamTopic{Name: topic, ResumePoint: r.ResumePoints[i]})
	}
	return stream
}
