package hostile_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

func init() {
	roles["no acknowledgements"] = func(c *cue) (any, error) { return silent(c, false) }
	roles["no reading"] = func(c *cue) (any, error) { return silent(c, true) }
}

// silentTopic is a conversation of the attacker's own.
const silentTopic = "chat/mallory/messages"

// silentSize is how large the messages are that the silent are sent.
const silentSize = 4096

// silent subscribes in every way that there is and acknowledges nothing, or
// does not even read, while Rate messages a second are published to each kind
// of topic.
func silent(c *cue, deaf bool) (any, error) {
	var (
		got     [8]atomic.Int64
		readers []*peer
		reading sync.WaitGroup
	)
	for i, way := range []struct {
		topic   string
		qos     byte
		durable bool
	}{
		{silentTopic, 1, true}, {silentTopic, 1, false}, {silentTopic, 0, false},
		{"mallory/#", 1, true}, {"mallory/#", 1, false}, {"mallory/#", 2, true}, {"mallory/#", 2, false}, {"mallory/#", 0, false},
	} {
		l := login{user: "mallory", client: fmt.Sprint("silent ", i), durable: way.durable, sub: []string{"mallory/#"}}
		if deaf {
			l.buffer = 4096
		}
		p, err := join(c.Addr, l)
		if err == nil {
			err = p.subscribe(way.qos, way.topic)
		}
		if err != nil {
			return nil, err
		}
		readers = append(readers, p)
		if deaf {
			continue
		}
		reading.Go(func() {
			for {
				packet, err := p.in.Next(0)
				if err != nil {
					return
				}
				const qos = 6 // the bits of a PUBLISH; QoS 0 has no window
				if packet.Type() == wire.TypePublish && (packet.Flags()&qos != 0 || way.qos == 0) {
					got[i].Add(1)
				}
			}
		})
	}
	writer, err := join(c.Addr, login{user: "mallory", client: "writer", pub: []string{"mallory/#"}})
	if err != nil {
		return nil, err
	}
	c.ready()
	sent, err := writer.pour(c)
	if err != nil {
		return nil, err
	}
	found := facts{"sent": float64(sent)}
	for i, p := range readers {
		_ = p.nc.Close()
		found[fmt.Sprint("got ", i)] = float64(got[i].Load())
	}
	reading.Wait()
	return found, writer.nc.Close()
}

// pour publishes to each kind of topic at the task's rate until it is over.
func (p *peer) pour(c *cue) (sent int, err error) {
	payload := bytes.Repeat([]byte("x"), silentSize)
	tick := time.NewTicker(time.Second / time.Duration(c.Rate))
	defer tick.Stop()
	for ; sent < c.N || !c.over(); sent++ {
		<-tick.C
		for _, to := range []struct {
			topic string
			qos   byte
		}{{silentTopic, 1}, {"mallory/2", 2}, {"mallory/1", 1}, {"mallory/0", 0}} {
			if err := p.publish(&wire.Publish{Topic: []byte(to.topic), Payload: payload, QoS: to.qos}); err != nil {
				return sent, err
			}
		}
		for acks := 0; acks < 4; acks++ { // PUBACK, PUBREC, PUBACK; PUBREL, PUBCOMP
			ack, err := p.next()
			if err != nil {
				return sent, err
			}
			if len(ack.Body) > 2 && ack.Body[2] >= wire.CodeUnspecified {
				return sent, fmt.Errorf("%s with 0x%02x", wire.TypeName(ack.Type()), ack.Body[2])
			}
			if ack.Type() == wire.TypePubrec {
				if err := p.send([]byte{wire.TypePubrel<<4 | 2, 2, ack.Body[0], ack.Body[1]}); err != nil {
					return sent, err
				}
			}
		}
	}
	return sent, nil
}
