package browser_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// proxy stands between browsers and a server, and cuts them off. It passes
// bytes on, so that nothing on either side knows of it.
type proxy struct {
	t    testing.TB
	to   string
	addr string

	mu    sync.Mutex
	ln    net.Listener // nil while it is cut
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// newProxy starts a proxy to an address. It ends with the test.
func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	p := &proxy{t: t, to: to, addr: proctest.FreePorts(t, 1)[0], conns: map[net.Conn]struct{}{}}
	p.mend()
	t.Cleanup(func() {
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "http://" + p.addr }

// cut ends all connections, and has new ones refused until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln != nil {
		_ = p.ln.Close()
		p.ln = nil
	}
	for c := range p.conns {
		_ = c.Close()
	}
}

// mend lets connections through again.
func (p *proxy) mend() {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	ln, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.ln = ln
	p.wg.Go(func() { p.accept(ln) })
}

func (p *proxy) accept(ln net.Listener) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return // it was cut
		}
		p.wg.Go(func() { p.pass(ln, in) })
	}
}

// pass carries the bytes of one connection, both ways, until one side ends.
func (p *proxy) pass(ln net.Listener, in net.Conn) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", p.to)
	if err != nil {
		return // the server is down: it shows as a connection that ends
	}
	defer func() { _ = out.Close() }()
	if !p.keep(ln, in, out) {
		return
	}
	defer p.forget(in, out)
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		p.wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1]) // its end is what matters
			done <- struct{}{}
		})
	}
	<-done
}

// keep has connections cut with the others, unless that was done meanwhile.
func (p *proxy) keep(ln net.Listener, conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ln != ln {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

func (p *proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}
