package loop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// scratchBytes is the size of the read buffer that all sockets of a loop share.
	scratchBytes = 64 << 10
	// readsPerTurn limits the reads from one socket that always has bytes.
	readsPerTurn = 4
	// eventsPerAsk is the maximum number of events of one epoll call.
	eventsPerAsk = 256
	// notSentBytes is how much unsent data the kernel accepts for a socket. Messages beyond
	// it are only a cursor and take no kernel memory.
	notSentBytes = 64 << 10
	// wakeSlot is the slot of the eventfd.
	wakeSlot = -1
)

// epoll is the poller for plain TCP sockets on Linux. It needs no goroutine, no buffer and
// no timer per socket. Sockets are watched edge-triggered for all events at once, so that
// one epoll_ctl is enough for the life of a socket.
//
// The loop calls epoll without waiting. If there are no events, it parks in the runtime's
// own poller, on the epoll descriptor. On a single processor, a thread that blocks in
// epoll_wait has many times the latency.
type epoll struct {
	// Immutable after newPoller.
	loop  *Loop
	fd    int
	file  *os.File // of fd; registered with the runtime's poller
	conn  syscall.RawConn
	event int // eventfd that wake writes to

	// Owned by the loop.
	events   [eventsPerAsk]unix.EpollEvent
	ready    int // number of events not handled yet
	poll     func(uintptr) bool
	deadline time.Duration // current deadline of file, by the loop's clock; 0: none
	slots    []slot
	free     []int32
	scratch  []byte
}

// slot is the place of a socket in the table that events refer to. Its generation tells the
// events of a socket from those of its predecessor in the same slot.
type slot struct {
	socket     *epollSocket // nil: free
	generation int32
}

// epollSocket is a socket that epoll watches.
type epollSocket struct {
	conn     *Conn
	poller   *epoll
	fd       int32
	slot     int32
	queued   uint32 // bytes in the kernel that the peer had not taken at the last call of moved
	readable bool   // there may be bytes: no read has reached the end of them
	hungUp   bool   // the peer has ended its side; reading continues until a read returns no bytes
}

// newPoller returns the epoll of a loop.
func newPoller(l *Loop) (poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	// os.NewFile registers a descriptor with the runtime's poller only if it is
	// non-blocking.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: set non-blocking: %w", err)
	}
	e := &epoll{loop: l, fd: fd, file: os.NewFile(uintptr(fd), "epoll"), scratch: make([]byte, scratchBytes)}
	e.poll = func(uintptr) bool { return e.ask() }
	if e.conn, err = e.file.SyscallConn(); err == nil {
		err = e.file.SetReadDeadline(time.Time{})
	}
	if err != nil {
		e.file.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if e.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		e.file.Close()
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := e.watch(e.event, wakeSlot, 0, unix.EPOLLIN|unix.EPOLLET); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *epoll) watch(fd int, slot, generation int32, events uint32) error {
	if err := unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: slot, Pad: generation}); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

func (e *epoll) close() {
	e.file.Close()
	unix.Close(e.event)
}

// ask fetches the pending events without waiting, and reports whether there were any.
func (e *epoll) ask() bool {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), eventsPerAsk, 0, 0, 0)
	if errno != 0 {
		n = 0 // Interrupted: treated like no events.
	}
	e.ready = int(n)
	return n > 0
}

func (e *epoll) wait(timeout time.Duration) {
	deadline := time.Duration(0)
	if timeout >= 0 {
		deadline = e.loop.clock() + timeout
	}
	// Setting a deadline is expensive, and most of them are the same next tick as before.
	if d := deadline - e.deadline; d > time.Millisecond || d < -time.Millisecond {
		var at time.Time
		if deadline > 0 {
			at = e.loop.start.Add(deadline)
		}
		e.deadline = deadline
		_ = e.file.SetReadDeadline(at) // It succeeded in newPoller, so it does here.
	}
	if err := e.conn.Read(e.poll); err != nil {
		e.ready = 0
		e.deadline = 0 // The deadline has passed: the next wait needs a new one.
		_ = e.file.SetReadDeadline(time.Time{})
	}
}

func (e *epoll) wake() {
	one := uint64(1)
	// This fails only if the counter is full, and then the loop was already woken.
	_, _, _ = syscall.RawSyscall(unix.SYS_WRITE, uintptr(e.event), uintptr(unsafe.Pointer(&one)), 8)
}

func (e *epoll) take() {
	if e.ready == 0 {
		e.ask() // The loop did not wait, because it had something to do.
	}
	for e.ready > 0 {
		full := e.ready == eventsPerAsk
		for i := range e.events[:e.ready] {
			e.handle(&e.events[i])
		}
		e.ready = 0
		if full && !e.loop.outOfTime() {
			e.ask()
		}
	}
}

// handle handles an event.
func (e *epoll) handle(ev *unix.EpollEvent) {
	if ev.Fd == wakeSlot {
		return // Edge-triggered: the value of the counter does not matter.
	}
	s := e.slots[ev.Fd]
	if s.socket == nil || s.generation != ev.Pad {
		return // The event belongs to a dropped socket.
	}
	s.socket.handleEvents(ev.Events)
}

// adopt takes over the descriptor of a TCP connection.
func (e *epoll) adopt(c *Conn, nc net.Conn) socket {
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	fd := -1
	if cerr := raw.Control(func(original uintptr) {
		fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	}); cerr != nil || err != nil {
		return nil // Out of descriptors, or closed: the portable socket will report it.
	}
	s := &epollSocket{conn: c, poller: e, fd: int32(fd)}
	if n := len(e.free); n > 0 {
		s.slot = e.free[n-1]
		e.free = e.free[:n-1]
	} else {
		s.slot = int32(len(e.slots))
		e.slots = append(e.slots, slot{})
	}
	place := &e.slots[s.slot]
	place.socket = s
	// Best effort: without it the kernel holds more data for a client that does not read.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentBytes)
	if err := e.watch(fd, s.slot, place.generation, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET); err != nil {
		s.drop()
		return nil
	}
	nc.Close() // the original descriptor; the duplicate keeps the connection open
	return s
}

// handleEvents handles the events of one socket.
func (s *epollSocket) handleEvents(events uint32) {
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.hungUp = true
	}
	if events&unix.EPOLLOUT != 0 || s.hungUp {
		s.conn.writable()
	}
	if events&unix.EPOLLIN != 0 || s.hungUp {
		s.readable = true
		switch {
		case s.conn.resumed || s.conn.left != nil: // Reading continues later.
		case s.conn.loop.outOfTime():
			s.conn.requeue(urgent)
		default:
			s.more()
		}
	}
}

// more reads the received bytes, unless the client has not taken earlier ones.
func (s *epollSocket) more() {
	l := s.conn.loop
	for range readsPerTurn {
		if !s.readable || s.conn.left != nil || s.conn.gone {
			return
		}
		n, errno := s.receive()
		switch {
		case errno == unix.EAGAIN:
			s.readable = false
		case errno == unix.EINTR:
		case errno != 0:
			s.readable = false
			l.readEnd(s.conn, errno)
		case n == 0:
			s.readable = false
			l.readEnd(s.conn, io.EOF)
		default:
			// A short read has emptied the socket. New bytes cause a new event.
			s.readable = n == scratchBytes || s.hungUp
			l.read(s.conn, s.poller.scratch[:n])
		}
	}
	if s.readable && s.conn.left == nil {
		s.conn.requeue(unfinished)
	}
}

// receive and write make system calls without telling the scheduler, because neither
// blocks.
func (s *epollSocket) receive() (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(unix.SYS_READ, uintptr(s.fd), uintptr(unsafe.Pointer(&s.poller.scratch[0])), scratchBytes)
	return int(n), errno
}

func (s *epollSocket) write(p []byte) (int, bool, error) {
	for {
		n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
		switch {
		case errno == 0:
			return int(n), int(n) < len(p), nil
		case errno == unix.EAGAIN:
			return 0, true, nil
		case errno != unix.EINTR:
			return 0, false, errno
		}
	}
}

// moved checks how much the peer's kernel has acknowledged. The socket's own event comes
// only after a large part of its buffer has left.
func (s *epollSocket) moved() bool {
	n, ok := unacknowledged(int(s.fd))
	moved := ok && n < s.queued
	s.queued = n
	return moved
}

// full asks the kernel, because an event may be pending.
func (s *epollSocket) full() bool {
	fds := [1]unix.PollFd{{Fd: s.fd, Events: unix.POLLOUT}}
	n, err := unix.Poll(fds[:], 0)
	return err == nil && n == 0
}

// unacknowledged returns how many bytes the kernel holds for the peer of a TCP socket.
func unacknowledged(fd int) (n uint32, ok bool) {
	held, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return uint32(held), err == nil
}

// unacknowledgedBy is unacknowledged for a connection's socket, or for the connection below
// it (TLS).
func unacknowledgedBy(nc net.Conn) (n uint32, ok bool) {
	if over, isOver := nc.(interface{ NetConn() net.Conn }); isOver {
		nc = over.NetConn()
	}
	of, isOf := nc.(syscall.Conn)
	if !isOf {
		return 0, false
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = raw.Control(func(fd uintptr) { n, ok = unacknowledged(int(fd)) })
	return n, ok && err == nil
}

// keep copies bytes out of the scratch buffer.
func (s *epollSocket) keep(p []byte) []byte { return append([]byte(nil), p...) }

func (s *epollSocket) closeWrite() {
	// This fails only if the peer has ended the connection, which the next read reports.
	_ = unix.Shutdown(int(s.fd), unix.SHUT_WR)
}

func (s *epollSocket) remote() string {
	switch a, _ := unix.Getpeername(int(s.fd)); a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port)).String()
	}
	return "" // The peer is gone.
}

// drop closes the descriptor. Events of the socket that were already fetched have an old
// generation and are ignored.
func (s *epollSocket) drop() {
	place := &s.poller.slots[s.slot]
	place.socket = nil
	place.generation++
	s.poller.free = append(s.poller.free, s.slot)
	unix.Close(int(s.fd))
}
