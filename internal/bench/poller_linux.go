package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	pollerBuffer = 256 << 10 // what is read at once: many messages of a busy connection
	pollerEvents = 1024      // connections that are looked at in one turn
)

// A poller reads all connections of a lane with one goroutine and one buffer. The runtime's
// poller waits for its epoll instance, which is then read without waiting: a thread that
// waits in the kernel would be more expensive to wake.
type poller struct {
	lane   *lane
	epoll  int
	file   *os.File // owns epoll
	raw    syscall.RawConn
	buf    []byte
	events []unix.EpollEvent
}

func newPoller(l *lane) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // or else os.NewFile would not poll it
		unix.Close(fd)
		return nil, fmt.Errorf("set non-blocking: %w", err)
	}
	p := &poller{lane: l, epoll: fd, file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	p.buf, p.events = make([]byte, pollerBuffer), make([]unix.EpollEvent, pollerEvents)
	return p, nil
}

// watch takes over a TCP connection and reports whether it did. The caller holds the lane's
// mu.
func (p *poller) watch(s *subscriber, conn net.Conn, index int) bool {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	fd := -1
	if err := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); err != nil || fd < 0 {
		return false
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(index)}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		unix.Close(fd)
		return false
	}
	s.conn = descriptor(fd)
	conn.Close() // the runtime's poller is not needed for it
	return true
}

// run reads until close.
func (p *poller) run() {
	for {
		n := 0
		err := p.raw.Read(func(fd uintptr) bool {
			var err error
			if n, err = unix.EpollWait(int(fd), p.events, 0); err != nil {
				n = 0 // EINTR
			}
			return n > 0
		})
		if err != nil {
			return
		}
		p.turn(p.events[:n])
	}
}

// turn reads each connection that has data once.
func (p *poller) turn(events []unix.EpollEvent) {
	l := p.lane
	l.mu.Lock()
	settled := 0
	for _, e := range events {
		s := l.all[e.Fd]
		if s.gone {
			continue
		}
		n, err := s.conn.(descriptor).Read(p.buf)
		settled += l.take(s, p.buf[:n])
		if err != nil && !errors.Is(err, unix.EAGAIN) {
			l.drop(s, fmt.Errorf("the connection broke: %w", err))
		}
	}
	l.mu.Unlock()
	l.flow.settle(settled)
}

func (p *poller) close() { p.file.Close() }

// A descriptor is a non-blocking socket.
type descriptor int

func (d descriptor) Read(b []byte) (int, error) {
	n, err := unix.Read(int(d), b)
	switch {
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (d descriptor) Write(b []byte) (int, error) { return unix.Write(int(d), b) }

func (d descriptor) Close() error { return unix.Close(int(d)) }
