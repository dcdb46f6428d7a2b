package hostile_test

import (
	"fmt"
	"strings"

	"github.com/parley-mqtt/parley/broker/wire"
)

func init() {
	roles["filters"] = filters
	roles["bundles"] = bundles
	roles["churn"] = churn
}

// asked is what a hostile subscriber wants. Its session is durable, so that
// the server has to store it.
func asked(i, length int) string {
	const level = "a-long-level/"
	return fmt.Sprintf("mallory/%06d/%s+/#", i, strings.Repeat(level, length/len(level)))
}

// window is how many packets a hostile client sends ahead of their answers.
const window = 200

// filters asks for N filters, one in each packet, and begins again.
func filters(c *cue) (any, error) { return subscribeAll(c, 1) }

// bundles asks for N filters, many in each packet, and begins again.
func bundles(c *cue) (any, error) { return subscribeAll(c, 500) }

func subscribeAll(c *cue, each int) (any, error) {
	p, err := join(c.Addr, login{user: "mallory", client: "subscriber", durable: true, sub: []string{"mallory/#"}})
	if err != nil {
		return nil, err
	}
	var packets [][]byte // made before, so that the attack is the server's work alone
	for i := 0; i < c.N; {
		names := make([]string, 0, each)
		for ; i < c.N && len(names) < each; i++ {
			names = append(names, asked(i, 100))
		}
		packets = append(packets, p.subscription(1, names...))
	}
	found := facts{}
	c.ready()
	for round := 0; round == 0 || !c.over(); round++ {
		next := 0
		err := p.pipeline(func() []byte {
			if next >= len(packets) || round > 0 && c.over() {
				return nil
			}
			next++
			return packets[next-1]
		}, func(ack wire.Packet) {
			if ack.Type() != wire.TypeSuback {
				return
			}
			codes := ack.Body[2:]
			codes = codes[1+int(codes[0]):] // properties are short: one byte of length
			for _, code := range codes {
				switch {
				case round > 0:
					found["again"]++
				case code == wire.CodeQuotaExceeded:
					found["refused"]++
				case code < wire.CodeUnspecified:
					found["granted"]++
				default:
					found["other"]++
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return found, p.nc.Close()
}

// churn adds N filters, as long as they may be, and removes them, all the time.
func churn(c *cue) (any, error) {
	p, err := join(c.Addr, login{user: "mallory", client: "churner", durable: true, sub: []string{"mallory/#"}})
	if err != nil {
		return nil, err
	}
	const each, longest = 20, 300
	var packets [][]byte
	for i := 0; i < 2*c.N; i += each {
		names := make([]string, each)
		for j := range names {
			names[j] = asked((i+j)%c.N, longest)
		}
		if i < c.N {
			packets = append(packets, p.subscription(1, names...))
		} else {
			packets = append(packets, p.unsubscription(names...))
		}
	}
	found := facts{}
	c.ready()
	for !c.over() {
		next := 0
		err := p.pipeline(func() []byte {
			if next >= len(packets) {
				return nil
			}
			next++
			return packets[next-1]
		}, func(ack wire.Packet) {
			for _, code := range ack.Body[len(ack.Body)-each:] {
				if code >= wire.CodeUnspecified || code == wire.CodeNoSubscriptionExisted {
					found["refused"]++
				} else if found["done"]++; ack.Type() == wire.TypeUnsuback {
					found["removed"]++
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return found, p.nc.Close()
}

// pipeline sends the packets that next makes, until it makes none, a window of
// them ahead of their answers. Each is answered by one packet.
func (p *peer) pipeline(next func() []byte, answered func(wire.Packet)) error {
	var batch []byte
	out, done := 0, false
	for !done || out > 0 {
		batch = batch[:0]
		for !done && out < window {
			packet := next()
			if done = packet == nil; !done {
				batch = append(batch, packet...)
				out++
			}
		}
		if len(batch) > 0 {
			if err := p.send(batch); err != nil {
				return err
			}
		}
		for out > 0 && (done || out > window/2) {
			got, err := p.next()
			if err != nil {
				return err
			}
			switch got.Type() {
			case wire.TypeDisconnect:
				return fmt.Errorf("DISCONNECT % x", got.Body)
			case wire.TypePublish:
			default:
				answered(got)
				out--
			}
		}
	}
	return nil
}
