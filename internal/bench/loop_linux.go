package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// readBuffer is what one read takes at most. All connections share it.
const readBuffer = 256 << 10

// loop is the I/O of clients: one thread, one epoll, no allocation for a
// message.
type loop struct {
	d      driven
	p      *ports
	epoll  int
	timer  int // a timerfd: epoll itself counts in ms, which is too coarse for an open loop
	fired  bool
	epoch  time.Time
	buf    []byte
	events []unix.EpollEvent
}

// timerIndex marks the event of the timer. Others carry a connection's index.
const timerIndex = -1

// drive runs d over its connections until it has finished or ctx ends. It
// closes the sockets.
func drive(ctx context.Context, d driven, p *ports) (err error) {
	l := &loop{d: d, p: p, epoch: time.Now(), buf: make([]byte, readBuffer), events: make([]unix.EpollEvent, 64)}
	defer func() {
		for _, c := range p.conns {
			if c.fd >= 0 {
				closeSocket(c.fd)
			}
		}
	}()
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	defer func() { _ = unix.Close(l.epoll) }() // holds no data
	if l.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("timerfd: %w", err)
	}
	defer func() { _ = unix.Close(l.timer) }() // holds no data
	if err := l.add(l.timer, timerIndex); err != nil {
		return err
	}
	for _, c := range p.conns {
		if c.fd >= 0 {
			if err := l.add(c.fd, c.index); err != nil {
				return err
			}
		}
	}
	return l.run(ctx)
}

func (l *loop) add(fd, index int) error { return l.watch(fd, index, unix.EPOLLIN) }

func (l *loop) watch(fd, index int, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(index)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (l *loop) now() int64 { return int64(time.Since(l.epoch)) }

func (l *loop) run(ctx context.Context) error {
	now := l.now()
	l.d.start(now)
	l.settle()
	for looked := now; !l.d.finished(); {
		timeout, err := l.sleep(now)
		if err != nil {
			return err
		}
		n, errno := epollWait(l.epoll, l.events, timeout)
		if errno != 0 && errno != unix.EINTR {
			return fmt.Errorf("epoll: %w", errno)
		}
		for _, e := range l.events[:n] {
			l.handle(e)
		}
		now = l.now()
		l.d.tick(now)
		l.settle()
		if now-looked > int64(50*time.Millisecond) {
			if looked = now; ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// sleep returns how many ms epoll may wait, and sets the timer where that is
// too coarse.
func (l *loop) sleep(now int64) (int, error) {
	left := l.d.wake(now) - now
	if left <= 0 {
		return 0, nil
	}
	timed := l.d.exact()
	if !timed && !l.fired {
		return int((left + 999_999) / 1_000_000), nil
	}
	// A timer that has fired stays ready until it is set anew.
	var spec unix.ItimerSpec
	if timed {
		spec.Value = unix.NsecToTimespec(left)
	}
	l.fired = false
	if err := unix.TimerfdSettime(l.timer, 0, &spec, nil); err != nil {
		return 0, fmt.Errorf("timerfd: %w", err)
	}
	return 100, nil
}

func (l *loop) handle(e unix.EpollEvent) {
	if e.Fd == timerIndex {
		l.fired = true
		return
	}
	c := l.p.conns[e.Fd]
	if c.fd < 0 {
		return // it was closed after this event
	}
	if e.Events&unix.EPOLLOUT != 0 && !c.dead {
		l.flush(c)
	}
	if e.Events&^unix.EPOLLOUT != 0 && !c.dead {
		l.read(c)
	}
}

// read reads once: what is left keeps the socket ready, and the others get
// their turn.
func (l *loop) read(c *conn) {
	had := copy(l.buf, c.part)
	n, errno := read(c.fd, l.buf[had:])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		l.fail(c, errno)
		return
	case n == 0:
		l.fail(c, io.ErrUnexpectedEOF)
		return
	}
	got := l.buf[:had+n]
	used, err := l.d.consume(c, got, l.now())
	if err != nil {
		l.fail(c, err)
		return
	}
	c.part = append(c.part[:0], got[used:]...)
	if len(c.out) > 0 {
		l.flush(c)
	}
}

// settle writes, closes and opens what is asked for.
func (l *loop) settle() {
	l.flushAll()
	for _, e := range l.p.ends {
		l.end(e)
	}
	l.p.ends = l.p.ends[:0]
	for _, c := range l.p.opens {
		if err := l.open(c); err != nil {
			l.d.lost(c, fmt.Errorf("connecting %s: %w", c.user, err))
		}
	}
	l.p.opens = l.p.opens[:0]
}

// open begins a connection. What waits in c.out is sent when it is there.
func (l *loop) open(c *conn) error {
	family, to := socketAddress(l.p.addr)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err == nil {
		err = unix.Connect(fd, to)
	}
	if err == nil || errors.Is(err, unix.EINPROGRESS) {
		err = l.watch(fd, c.index, unix.EPOLLIN|unix.EPOLLOUT)
	}
	if err != nil {
		closeSocket(fd)
		return err
	}
	c.fd, c.dead, c.blocked, c.part, c.written = fd, false, true, c.part[:0], 0
	return nil
}

func socketAddress(to netip.AddrPort) (family int, address unix.Sockaddr) {
	if ip := to.Addr(); ip.Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// end closes a connection.
func (l *loop) end(e ending) {
	c := e.conn
	if c.fd < 0 {
		return
	}
	if e.cut {
		_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	closeSocket(c.fd) // epoll forgets it
	c.fd, c.out, c.written = -1, c.out[:0], 0
}

// flushAll writes for those that have something and were not read from.
func (l *loop) flushAll() {
	for _, c := range l.p.dirty {
		c.queued = false
		if len(c.out) > 0 && !c.dead {
			l.flush(c)
		}
	}
	l.p.dirty = l.p.dirty[:0]
}

// flush writes what the socket takes. What it does not take waits for
// EPOLLOUT.
func (l *loop) flush(c *conn) {
	for c.written < len(c.out) {
		n, errno := write(c.fd, c.out[c.written:])
		switch errno {
		case 0:
			c.written += n
		case unix.EINTR:
		case unix.EAGAIN:
			l.block(c, true)
			return
		default:
			l.fail(c, errno)
			return
		}
	}
	c.out, c.written = c.out[:0], 0
	l.block(c, false)
}

func (l *loop) block(c *conn, blocked bool) {
	if c.blocked == blocked {
		return
	}
	c.blocked = blocked
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.index)}
	if blocked {
		e.Events |= unix.EPOLLOUT
		l.p.blocked++
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_MOD, c.fd, &e); err != nil {
		l.fail(c, err)
	}
}

// fail gives a connection up. Its socket is closed at the end.
func (l *loop) fail(c *conn, err error) {
	l.d.lost(c, fmt.Errorf("connection of %s: %w", c.user, err))
	_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, c.fd, nil) // it may be gone already
}

// detach takes the socket away from the Go runtime, which would watch it too.
func detach(raw interface {
	Control(func(fd uintptr)) error
}) (int, error) {
	fd := -1
	var err error
	if e := raw.Control(func(own uintptr) {
		fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	}); e != nil {
		return -1, e
	}
	return fd, err
}

func closeSocket(fd int) { _ = unix.Close(fd) } // nothing was left to write
