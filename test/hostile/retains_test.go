package hostile_test

import (
	"bytes"
	"fmt"
	"sync"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

func init() {
	roles["retained at QoS 0"] = func(c *cue) (any, error) { return retain(c, 0) }
	roles["retained at QoS 1"] = func(c *cue) (any, error) { return retain(c, 1) }
	roles["retained, read slowly"] = slowReader
}

// retain has N topics retained, and begins again.
func retain(c *cue, qos byte) (any, error) {
	p, err := join(c.Addr, login{user: "mallory", client: "keeper", pub: []string{"mallory/#"}})
	if err != nil {
		return nil, err
	}
	found := facts{}
	c.ready()
	for round := 0; round == 0 || !c.over(); round++ {
		if err := p.retainAll(c, qos, round == 0, found); err != nil {
			return nil, err
		}
	}
	return found, p.nc.Close()
}

// retainAll has N topics retained, or fewer when all need not be there and it
// is over.
func (p *peer) retainAll(c *cue, qos byte, all bool, found facts) error {
	payload := bytes.Repeat([]byte("r"), 100)
	i, begun := 0, time.Now()
	var last bool
	err := p.pipeline(func() []byte {
		if last || !all && c.over() {
			return nil
		}
		var out []byte
		for more := true; more; {
			pub := wire.Publish{Topic: fmt.Appendf(nil, "mallory/retained/%d", i), Payload: payload, QoS: qos, Retain: true}
			if qos > 0 {
				pub.PacketID = p.nextID()
			}
			out, _ = wire.AppendPublish(out, wire.Version5, &pub)
			i++
			last = i >= c.N
			more = qos == 0 && i%16 != 0 && !last
		}
		if qos == 0 { // to know how far the server is
			out = append(out, wire.TypePingreq<<4, 0)
		}
		return out
	}, func(ack wire.Packet) {
		if len(ack.Body) > 2 && ack.Body[2] >= wire.CodeUnspecified {
			found["refused"]++
		}
	})
	found["sent"] += float64(i)
	found["seconds"] += time.Since(begun).Seconds()
	return err
}

// slowReader has N topics retained, and subscribes to all of them from several
// sessions that read a few bytes at a time.
func slowReader(c *cue) (any, error) {
	p, err := join(c.Addr, login{user: "mallory", client: "keeper", pub: []string{"mallory/#"}})
	if err != nil {
		return nil, err
	}
	found := facts{}
	if err := p.retainAll(c, 1, true, found); err != nil {
		return nil, err
	}
	c.ready()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	failures := make(chan error, 4)
	var mu sync.Mutex
	for i := range cap(failures) {
		readers.Go(func() {
			n, err := sip(c.Addr, i, stop)
			mu.Lock()
			found[fmt.Sprint("read ", i)] = float64(n)
			mu.Unlock()
			if err != nil {
				failures <- err
			}
		})
	}
	for range c.said { // until the end
	}
	close(stop)
	readers.Wait()
	select {
	case err := <-failures:
		return nil, err
	default:
		return found, p.nc.Close()
	}
}

// sip subscribes to everything and reads some bytes now and then, at a rate of
// 40 KB a second, and acknowledges at QoS 1. Every other one is durable.
func sip(addr string, i int, stop <-chan struct{}) (read int, err error) {
	p, err := join(addr, login{user: "mallory", client: fmt.Sprint("sipper ", i), durable: i%2 == 0, sub: []string{"#"}, buffer: 4096})
	if err != nil {
		return 0, err
	}
	defer p.nc.Close()
	if err := p.subscribe(byte(i/2), "#"); err != nil {
		return 0, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for size := 0; ; {
		got, err := p.next()
		if err != nil {
			return read, err
		}
		var pub wire.Publish
		if got.Type() == wire.TypePublish {
			if err := wire.DecodePublish(wire.Version5, got, &pub); err != nil {
				return read, err
			}
			read++
			size += len(got.Body)
		}
		if pub.QoS > 0 {
			if err := p.ack(wire.TypePuback, pub.PacketID); err != nil {
				return read, err
			}
		}
		if size >= 4096 {
			size = 0
			select {
			case <-stop:
				return read, nil
			case <-tick.C:
			}
		}
	}
}
