package hostile_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

func init() {
	roles["half open"] = halfOpen
	roles["too large"] = tooLarge
}

// halfOpen keeps N connections that never come to the end of their CONNECT:
// each sends a byte a second until the server closes it, and is then replaced.
func halfOpen(c *cue) (any, error) {
	var (
		cut, dials atomic.Int64
		oldest     atomic.Int64 // ns that a connection lived
		peers      sync.WaitGroup
		stop       = make(chan struct{})
		failures   = make(chan error, c.N)
	)
	c.ready()
	for i := range c.N {
		peers.Go(func() {
			for {
				lived, err := dribble(c.Addr, time.Duration(i)*time.Second/time.Duration(c.N), stop)
				if err != nil {
					failures <- err
					return
				}
				dials.Add(1)
				if lived == 0 { // the end
					return
				}
				cut.Add(1)
				for old := oldest.Load(); int64(lived) > old && !oldest.CompareAndSwap(old, int64(lived)); {
					old = oldest.Load()
				}
			}
		})
	}
	for range c.said { // until the end
	}
	close(stop)
	peers.Wait()
	found := facts{"dials": float64(dials.Load()), "cut": float64(cut.Load()), "oldest": time.Duration(oldest.Load()).Seconds()}
	select {
	case err := <-failures:
		return found, err
	default:
		return found, nil
	}
}

// dribble opens a connection and says how long the server let it live; 0 when
// stop came first.
func dribble(addr string, late time.Duration, stop <-chan struct{}) (lived time.Duration, err error) {
	p, err := dial(addr, 0)
	if err != nil {
		return 0, err
	}
	defer p.nc.Close()
	begun := time.Now()
	connect := append([]byte{wire.TypeConnect << 4, 200, 1, 0, 4}, "MQTT\x05\x02\x00\x00\x00 never comes to an end"...)
	next := begun.Add(late)
	for i := 0; ; i++ {
		if _, err := p.nc.Write(connect[i%len(connect) : i%len(connect)+1]); err != nil {
			return time.Since(begun), nil
		}
		_ = p.nc.SetReadDeadline(next)
		_, err := p.nc.Read(make([]byte, 1))
		switch {
		case err == nil:
			return 0, errors.New("the server answered half a CONNECT")
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return time.Since(begun), nil
		}
		next = next.Add(time.Second)
		select {
		case <-stop:
			return 0, nil
		default:
		}
	}
}

// tooLarge announces packets of 256 MB and sends of them what the server takes,
// again and again.
func tooLarge(c *cue) (any, error) {
	found := facts{}
	c.ready()
	for i := 0; i < c.N || !c.over(); i++ {
		p, err := join(c.Addr, login{user: "mallory", client: fmt.Sprint("large ", i), pub: []string{"mallory/#"}})
		if err != nil {
			return nil, err
		}
		taken, code, err := p.stream()
		if err != nil {
			return nil, err
		}
		_ = p.nc.Close()
		found["cut"]++
		if code == wire.CodeTooLarge {
			found["0x95"]++
		}
		found["bytes"] = max(found["bytes"], float64(taken))
	}
	return found, nil
}

// stream sends a PUBLISH of the largest size that MQTT knows, and answers how
// many bytes of it were taken and the code of the DISCONNECT.
func (p *peer) stream() (taken int64, code byte, err error) {
	told := make(chan byte, 1)
	go func() {
		got, err := p.expect(wire.TypeDisconnect)
		if err != nil || len(got.Body) == 0 {
			told <- 0
			return
		}
		told <- got.Body[0]
	}()
	const largest = 268_435_455
	_ = p.nc.SetWriteDeadline(time.Now().Add(patience))
	chunk := make([]byte, 64<<10)
	copy(chunk, "\x30\xFF\xFF\xFF\x7F\x00\x09mallory/1")
	for taken < largest {
		sent, err := p.nc.Write(chunk)
		taken += int64(sent)
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return taken, 0, fmt.Errorf("the server neither took nor cut a packet of 256 MB: %w", err)
		}
		if err != nil {
			return taken, <-told, nil
		}
	}
	return taken, 0, errors.New("the server took a packet of 256 MB")
}
