package server

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/ikornaselur/notiflux"
	"github.com/ikornaselur/notiflux/internal/auth"
	"github.com/ikornaselur/notiflux/internal/httpapi"
	"github.com/ikornaselur/notiflux/internal/listen"
	"github.com/ikornaselur/notiflux/internal/loop"
	"github.com/ikornaselur/notiflux/internal/session"
	"github.com/ikornaselur/notiflux/internal/transport"
)

// closing has every answer say that the connection ends, when the server shuts down or
// the connection is past the limit: an HTTP/2 client takes it as the end of its
// connection, too.
func (s *Server) closing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.isDraining() || listen.IsSpare(r) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// unlessSpare has handle answer requests on connections within the limit only.
func unlessSpare(handle func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if listen.IsSpare(r) {
			return errFull
		}
		return handle(w, r)
	}
}

var errFull = notiflux.Errorf(notiflux.OverCapacity, "connection limit reached: try again later")

// broadcast publishes; a shutdown waits for it.
func (s *Server) broadcast(w http.ResponseWriter, r *http.Request) error {
	if err := s.publishers.Acquire(); err != nil {
		return err
	}
	defer s.publishers.Release()
	return s.api.Broadcast(w, r)
}

// ended gives back the slot of a client whose connection a loop has closed.
func (s *Server) ended() {
	s.clients.Release()
	s.public.Release()
}

// admit takes a slot for a client, unless the server shuts down: a shutdown waits for
// the clients that have one.
func (s *Server) admit() error {
	if err := s.clients.Acquire(); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		s.clients.Release()
		return err
	}
	return nil
}

// websocket makes a client of a request, on one of the loops.
func (s *Server) websocket(w http.ResponseWriter, r *http.Request) error {
	h, err := s.upgrader.Upgrade(w, r)
	if _, refused := errors.AsType[*notiflux.Error](err); refused {
		return err
	}
	if err != nil {
		s.clients.Release()
		s.log.Debug("handshake broken off", "remote", r.RemoteAddr, "err", err)
		return nil // The connection is gone, so there is nobody to answer.
	}
	var credential session.Credential
	if h.Protocol == protocolJSON {
		credential = s.credential(auth.Token(h.Token), r.Header)
	}
	sockets, encoding := &s.sockets, notiflux.Text
	if h.Deflate {
		sockets, encoding = &s.deflating, notiflux.TextDeflated
	}
	s.serve(h.Conn, h.Early, func(group *session.Group, c *loop.Conn, now time.Duration) loop.Client {
		socket := transport.NewWebSocket(sockets, c, now)
		if h.Protocol == protocolJSON {
			socket.Serve(group.NewJSON(socket, h.Deflate, credential, now))
		} else {
			socket.Serve(group.New(socket, encoding))
		}
		return socket
	})
	return nil
}

// credential judges the token that a client connects with: that of its subprotocol,
// else of the header.
func (s *Server) credential(token auth.Token, h http.Header) (c session.Credential) {
	if token == "" {
		if token, c.Err = httpapi.Bearer(h); c.Err != nil || token == "" {
			return c
		}
	}
	c.Claims, c.Err = s.requests.Verify(token)
	return c
}

// serve gives a client to the next loop, unless its connection has ended.
func (s *Server) serve(nc net.Conn, early []byte, client func(*session.Group, *loop.Conn, time.Duration) loop.Client) {
	detached, err := s.public.Detach(nc)
	if err != nil {
		nc.Close()
		s.clients.Release()
		s.log.Debug("connection not handed over", "remote", nc.RemoteAddr(), "err", err)
		return
	}
	s.scavenger.Connected()
	shard := &s.shards[int(s.next.Add(1))%len(s.shards)]
	shard.loop.Serve(detached, early, func(c *loop.Conn, now time.Duration) loop.Client {
		return client(shard.group, c, now)
	})
}

// events answers with an event stream, lines with the same as lines of JSON.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	return s.stream(w, r, "text/event-stream", notiflux.SSE, notiflux.SSEChunk)
}

func (s *Server) lines(w http.ResponseWriter, r *http.Request) error {
	return s.stream(w, r, "application/x-ndjson", notiflux.NDJSON, notiflux.NDJSONChunk)
}

// stream makes a client of a request, on one of the loops, whose response does not
// end. encoding is that of a response without chunks, chunked of one with them.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, contentType string, encoding, chunked notiflux.Encoding) error {
	request, err := s.api.ParseStream(r)
	if err != nil {
		return err
	}
	claims, err := s.api.Authorize(r, request.Topics...)
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
	if err := s.admit(); err != nil {
		return err
	}
	transport.SetStreamHeader(w.Header(), contentType)
	taken, err := transport.TakeOver(w, r)
	if err != nil {
		s.clients.Release()
		s.log.Debug("stream broken off", "remote", r.RemoteAddr, "err", err)
		return nil // The connection is gone, so there is nobody to answer.
	}
	if taken.Chunked {
		encoding = chunked
	}
	s.serve(taken.Conn, taken.Early, func(group *session.Group, c *loop.Conn, now time.Duration) loop.Client {
		stream := transport.NewStream(s.streams[encoding], c, taken.Head, now)
		stream.Serve(group.NewStream(stream, encoding, reading(request, claims.Until())))
		return stream
	})
	taken.Wait()
	return nil
}

// reading is a request for a stream as a session takes it.
func reading(r httpapi.StreamRequest, until time.Time) session.Stream {
	stream := session.Stream{Latest: r.Latest, Until: until}
	for i, topic := range r.Topics {
		stream.Topics = append(stream.Topics, session.StreamTopic{Name: topic, ResumePoint: r.ResumePoints[i]})
	}
	return stream
}
