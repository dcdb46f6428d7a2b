package client_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parley-mqtt/parley/client"
)

// MQTT packet types, as the first four bits have them.
const (
	connectPacket   = 1
	connackPacket   = 2
	publishPacket   = 3
	pubackPacket    = 4
	subscribePacket = 8
	subackPacket    = 9
)

// deed is what the proxy does with a packet.
type deed int

const (
	pass   deed = iota
	cut         // the packet is lost, and the connection with it
	passed      // the packet arrives, and the connection is lost
	drop        // the packet is lost alone
)

// proxy stands between a client and a server's MQTT over TCP, sees the packets
// and cuts the link.
type proxy struct {
	t      testing.TB
	ln     net.Listener
	to     string
	mu     sync.Mutex
	rule   func(kind byte, fromClient bool) deed
	conns  map[net.Conn]bool
	wg     sync.WaitGroup
	opened atomic.Int64 // connections
}

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, ln: ln, to: to, conns: make(map[net.Conn]bool)}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		p.cutAll()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) url() string { return "mqtt://" + p.ln.Addr().String() }

// setRule says what is done with each packet from now on.
func (p *proxy) setRule(rule func(kind byte, fromClient bool) deed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// once does something with the next packet of a kind, and tells when it is
// done.
func (p *proxy) once(kind byte, fromClient bool, d deed) (done <-chan struct{}) {
	ch := make(chan struct{})
	var used atomic.Bool
	p.setRule(func(k byte, from bool) deed {
		if k == kind && from == fromClient && used.CompareAndSwap(false, true) {
			close(ch)
			return d
		}
		return pass
	})
	return ch
}

// cutAll cuts all connections that are open.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) serve() {
	for {
		in, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.opened.Add(1)
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		p.wg.Go(func() { p.carry(in, out, true) })
		p.wg.Go(func() { p.carry(out, in, false) })
	}
}

// carry carries packets one way.
func (p *proxy) carry(from, to net.Conn, fromClient bool) {
	defer func() {
		_, _ = from.Close(), to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	r := bufio.NewReader(from)
	for {
		packet, err := readPacket(r)
		if err != nil {
			return
		}
		p.mu.Lock()
		rule := p.rule
		p.mu.Unlock()
		d := pass
		if rule != nil {
			d = rule(packet[0]>>4, fromClient)
		}
		if d == cut {
			return
		}
		if d == drop {
			continue
		}
		if _, err := to.Write(packet); err != nil || d == passed {
			return
		}
	}
}

func readPacket(r *bufio.Reader) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	packet := binary.AppendUvarint([]byte{first}, n)
	head := len(packet)
	packet = append(packet, make([]byte, n)...)
	_, err = io.ReadFull(r, packet[head:])
	return packet, err
}

// restProxy stands between a client and a server's REST, and cuts answers in
// the middle.
type restProxy struct {
	*httptest.Server
	asked atomic.Int64             // questions of sync
	rule  atomic.Pointer[restRule] // nil passes all
	first atomic.Uint64            // entries of sync below it are left out, as when they are not held any more
}

// restRule says what becomes of a question: cut before it arrives, cut in the
// middle of its answer, or passed.
type restRule func(r *http.Request) deed

func newRESTProxy(t testing.TB, to string) *restProxy {
	t.Helper()
	p := &restProxy{}
	reverse := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	transport := &http.Transport{DisableKeepAlives: true}
	reverse.Transport = transport
	reverse.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }
	reverse.ModifyResponse = func(r *http.Response) error {
		if rule := p.rule.Load(); rule != nil && (*rule)(r.Request) == passed {
			r.Body = halved{r.Body}
		}
		if first := p.first.Load(); first > 0 && r.Request.URL.Path == "/v1/sync" {
			return trim(r, first)
		}
		return nil
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/sync" {
			p.asked.Add(1)
		}
		if rule := p.rule.Load(); rule != nil && (*rule)(r) == cut {
			panic(http.ErrAbortHandler)
		}
		reverse.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// trim leaves entries out of an answer of sync.
func trim(r *http.Response, first uint64) error {
	var s client.Synced
	err := json.NewDecoder(r.Body).Decode(&s)
	for i := range s.Conversations {
		c := &s.Conversations[i]
		c.Entries = slices.DeleteFunc(c.Entries, func(e client.Entry) bool { return e.Seq < first })
	}
	text, bad := json.Marshal(s)
	r.Body = io.NopCloser(bytes.NewReader(text))
	r.ContentLength = int64(len(text))
	r.Header.Set("Content-Length", strconv.Itoa(len(text)))
	return errors.Join(err, bad)
}

func (p *restProxy) setRule(rule restRule) { p.rule.Store(&rule) }

// halved is an answer that breaks off.
type halved struct{ io.ReadCloser }

func (h halved) Read(p []byte) (int, error) {
	if len(p) > 10 {
		p = p[:10]
	}
	n, err := h.ReadCloser.Read(p)
	if err == nil {
		err = errors.New("cut")
	}
	return n, err
}
