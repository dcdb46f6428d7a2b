package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unsafe"
)

// source gives out data in pieces of the sizes, over and over, and counts.
type source struct {
	data  []byte
	sizes []int
	reads int
	given int
}

func (s *source) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := len(s.data)
	if len(s.sizes) > 0 {
		n = min(n, s.sizes[s.reads%len(s.sizes)])
	}
	s.reads++
	n = copy(p, s.data[:n])
	s.data = s.data[n:]
	s.given += n
	return n, nil
}

func publishFrame(payload int) []byte {
	b, _ := AppendPublish(nil, Version311, &Publish{Topic: []byte("t"), Payload: bytes.Repeat([]byte("x"), payload)})
	return b
}

func TestReaderGivesPackets(t *testing.T) {
	var stream []byte
	var want []int
	for _, n := range []int{0, 10, 507, 508, 509, 600, 5000, 3, 70000, 1, 2 << 20, 12, 5 << 20, 1} {
		stream = append(stream, publishFrame(n)...)
		stream = AppendPingresp(stream)
		want = append(want, 3+n, 0)
	}
	for name, src := range map[string]io.Reader{
		"whole":    bytes.NewReader(stream),
		"halves":   iotest.HalfReader(bytes.NewReader(stream)),
		"with EOF": iotest.DataErrReader(bytes.NewReader(stream)),
		"pieces":   &source{data: stream, sizes: []int{1, 511, 512, 513, 7, 9000}},
	} {
		r := NewReader(src)
		for i, n := range want {
			p, err := r.Next(0)
			if err != nil || len(p.Body) != n || p.Long || p.Type() != [2]byte{TypePublish, TypePingresp}[i%2] {
				t.Fatalf("%s: packet %d of %d bytes: %d bytes, type %d, %v", name, i, n, len(p.Body), p.Type(), err)
			}
			if n > 3 && (p.Body[3] != 'x' || p.Body[n-1] != 'x') {
				t.Fatalf("%s: packet %d is not what was sent", name, i)
			}
		}
		if _, err := r.Next(0); !errors.Is(err, io.EOF) {
			t.Fatalf("%s: got %v at the end", name, err)
		}
		if len(r.buf) != smallBuffer {
			t.Errorf("%s: an idle reader holds %d bytes", name, len(r.buf))
		}
	}
}

// tcp is both ends of a TCP connection.
func tcp(t *testing.T) (client, server *net.TCPConn) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// From a TCP connection the reader gives the same as from any source, and
// while it waits it holds no buffer.
func TestReaderOfTCP(t *testing.T) {
	client, server := tcp(t)
	r := NewReader(server)
	sizes := []int{0, 10, 2044, 2045, 2046, 600, 70000, 3, 2 << 20, 1}
	go func() {
		for _, n := range sizes {
			f := publishFrame(n)
			_, _ = client.Write(f[:len(f)/2]) // the reader tells what does not come
			_, _ = client.Write(f[len(f)/2:])
		}
	}()
	for i, n := range sizes {
		p, err := r.Next(0)
		if err != nil || len(p.Body) != 3+n || n > 0 && (p.Body[3] != 'x' || p.Body[n+2] != 'x') {
			t.Fatalf("packet %d of %d bytes: %d bytes, %v", i, n, len(p.Body), err)
		}
	}
	for range 2 {
		_ = server.SetReadDeadline(time.Now())
		if _, err := r.Next(0); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v, want the deadline", err)
		}
		if r.buf != nil || r.big != nil {
			t.Errorf("an idle reader holds %d bytes", len(r.buf))
		}
		_ = server.SetReadDeadline(time.Time{})
		if _, err := client.Write(AppendPingresp(nil)); err != nil {
			t.Fatal(err)
		}
		if p, err := r.Next(0); err != nil || p.Type() != TypePingresp {
			t.Fatalf("after the deadline: %v, %v", p, err)
		}
	}
	client.Close()
	if _, err := r.Next(0); !errors.Is(err, io.EOF) {
		t.Errorf("got %v at the end", err)
	}
	server.Close()
	if _, err := NewReader(server).Next(0); err == nil {
		t.Error("a closed connection gave a packet")
	}
}

func TestReaderFixedHeader(t *testing.T) {
	for _, c := range []struct {
		name  string
		bytes string
		body  int
		long  bool
		err   error
	}{
		{"shortest", "\xC0\x00", 0, false, nil},
		{"one byte", "\x30\x01x", 1, false, nil},
		{"two bytes", "\x30\x80\x01" + strings.Repeat("x", 128), 128, false, nil},
		{"MQTT-1.5.5-1 zero in two bytes", "\xC0\x80\x00", 0, true, nil},
		{"MQTT-1.5.5-1 one in four bytes", "\xC0\x81\x80\x80\x00x", 1, true, nil},
		{"2.1.4 five bytes", "\x30\x80\x80\x80\x80\x01", 0, false, errRemainingLength},
		{"2.1.4 no end", "\x30\xff\xff\xff\xff\xff\xff", 0, false, errRemainingLength},
		{"nothing", "", 0, false, io.EOF},
		{"first byte alone", "\x30", 0, false, io.ErrUnexpectedEOF},
		{"length cut", "\x30\x80", 0, false, io.ErrUnexpectedEOF},
		{"body cut", "\x30\x05abc", 0, false, io.ErrUnexpectedEOF},
	} {
		r := NewReader(iotest.OneByteReader(strings.NewReader(c.bytes)))
		p, err := r.Next(0)
		if !errors.Is(err, c.err) || len(p.Body) != c.body || p.Long != c.long {
			t.Errorf("%s: %d bytes, long %v, %v", c.name, len(p.Body), p.Long, err)
		}
	}
	err := iotest.ErrReader(errors.New("reset"))
	if _, got := NewReader(err).Next(0); got == nil || got.Error() != "reset" {
		t.Errorf("the source's error became %v", got)
	}
	if _, got := NewReader(silent{}).Next(0); !errors.Is(got, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: %v", got)
	}
}

// silent is a source that breaks its contract.
type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, nil }

// The limit counts the whole packet, and nothing is read or allocated for one
// that is larger.
func TestReaderLimit(t *testing.T) {
	f := publishFrame(1000)
	if _, err := NewReader(bytes.NewReader(f)).Next(len(f)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	_, err := NewReader(bytes.NewReader(f)).Next(len(f) - 1)
	if !errors.Is(err, ErrTooLarge) {
		t.Errorf("over the limit: %v", err)
	}
	src := &source{data: append([]byte("\x30\xff\xff\xff\x7f"), make([]byte, 1<<16)...), sizes: []int{5}}
	r := NewReader(src)
	if _, err := r.Next(1 << 20); !errors.Is(err, ErrTooLarge) || src.given != 5 || len(r.buf) != smallBuffer {
		t.Errorf("%v after %d bytes, with a buffer of %d", err, src.given, len(r.buf))
	}
}

// A peer that announces a large packet and sends little costs little.
func TestReaderGrowsByWhatArrives(t *testing.T) {
	for _, sent := range []int{5, 400, 600, 3000, 10000, 100_000} {
		data := make([]byte, sent)
		copy(data, "\x30\xff\xff\x7f") // 2 MiB
		r := NewReader(&source{data: data, sizes: []int{99}})
		if _, err := r.Next(4 << 20); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatal(err)
		}
		if len(r.buf) > max(smallBuffer, 4*sent) {
			t.Errorf("%d bytes cost %d", sent, len(r.buf))
		}
		r.Release()
		if r.Buffered() != 0 || r.big != nil {
			t.Error("Release keeps something")
		}
	}
	if size := unsafe.Sizeof(Reader{}); size > 640 {
		t.Errorf("an idle reader costs %d bytes", size)
	}
}

// A body stays as it is until the next call.
func TestReaderBodyIsValidUntilNext(t *testing.T) {
	stream := append(publishFrame(400), publishFrame(300)...)
	r := NewReader(&source{data: stream, sizes: []int{500, 1000}})
	first, err := r.Next(0)
	if err != nil || r.Buffered() == 0 {
		t.Fatal(err, r.Buffered())
	}
	if !bytes.Equal(frame(first), publishFrame(400)) {
		t.Error("first packet differs")
	}
	if cap(first.Body) != len(first.Body) {
		t.Error("an append to the body would write over the next packet")
	}
	second, err := r.Next(0)
	if err != nil || !bytes.Equal(frame(second), publishFrame(300)) {
		t.Error("second packet differs", err)
	}
}

func TestReaderReset(t *testing.T) {
	var r Reader
	for range 3 {
		r.Reset(&source{data: publishFrame(3000), sizes: []int{2000}})
		if p, err := r.Next(0); err != nil || len(p.Body) != 3003 {
			t.Fatal(err)
		}
	}
}

func TestReaderDoesNotAllocate(t *testing.T) {
	for _, c := range []struct {
		name    string
		payload int
		bound   float64
	}{
		{"small", 100, 0},
		{"one buffer", 507, 0},
		{"pooled", 5000, poolMisses},
		{"large", 300_000, poolMisses},
	} {
		r := NewReader(&source{data: bytes.Repeat(publishFrame(c.payload), 200), sizes: []int{c.payload + 5}})
		allocs := testing.AllocsPerRun(150, func() {
			if _, err := r.Next(0); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > c.bound {
			t.Errorf("%s: %v allocations", c.name, allocs)
		}
	}
}

// endless gives out data over and over.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		m := copy(p[n:], e.data[e.at:])
		n += m
		e.at = (e.at + m) % len(e.data)
	}
	return n, nil
}

func BenchmarkReader(b *testing.B) {
	for name, payload := range map[string]int{"200B": 200, "1KB": 1000, "64KB": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			f := publishFrame(payload)
			r := NewReader(&endless{data: f})
			b.SetBytes(int64(len(f)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Next(0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
