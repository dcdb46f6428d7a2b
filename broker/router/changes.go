package router

import (
	"maps"
	"slices"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// changes collects what one commit keeps. Where steps of one batch contradict,
// the last one counts.
type changes struct {
	bridge.Changes
	now      time.Time
	bytes    int // of messages, once for each delivery
	messages map[chat.ID]struct{}
	retained map[string]int                     // place in Retained, by topic
	received map[receivedKey]*bridge.Received   // nil: forgotten
	wills    map[bridge.SessionKey]*bridge.Will // nil: gone
	sent     map[bridge.SessionKey]uint64
	released map[bridge.DeliveryKey]struct{}
	done     map[bridge.DeliveryKey]struct{}
}

type receivedKey struct {
	key bridge.SessionKey
	id  uint16
}

func (c *changes) init() {
	c.messages, c.retained = make(map[chat.ID]struct{}), make(map[string]int)
	c.received = make(map[receivedKey]*bridge.Received)
	c.wills = make(map[bridge.SessionKey]*bridge.Will)
	c.sent = make(map[bridge.SessionKey]uint64)
	c.released, c.done = make(map[bridge.DeliveryKey]struct{}), make(map[bridge.DeliveryKey]struct{})
}

// reset empties c. It keeps no message alive.
func (c *changes) reset(now time.Time) {
	clear(c.messages)
	clear(c.retained)
	clear(c.received)
	clear(c.wills)
	clear(c.sent)
	clear(c.released)
	clear(c.done)
	clear(c.Messages)
	clear(c.Deliveries)
	clear(c.Retained)
	c.Changes = bridge.Changes{Messages: c.Messages[:0], Deliveries: c.Deliveries[:0],
		Released: c.Released[:0], Done: c.Done[:0], Retained: c.Retained[:0]}
	c.now, c.bytes = now, 0
}

// deliver adds a delivery.
func (c *changes) deliver(d bridge.Delivery) {
	c.Deliveries = append(c.Deliveries, d)
	c.bytes += d.Size
	if _, known := c.messages[d.Message.ID]; !known {
		c.messages[d.Message.ID] = struct{}{}
		c.Messages = append(c.Messages, d.Message)
	}
}

// retain replaces what is retained for the topic.
func (c *changes) retain(m *bridge.Message) {
	c.bytes += m.Size()
	if i, twice := c.retained[m.Topic]; twice {
		c.Retained[i] = m
		return
	}
	c.retained[m.Topic] = len(c.Retained)
	c.Retained = append(c.Retained, m)
}

func (c *changes) receive(key bridge.SessionKey, r bridge.Received) {
	c.received[receivedKey{key, r.PacketID}] = &r
}

func (c *changes) forget(key bridge.SessionKey, id uint16) { c.received[receivedKey{key, id}] = nil }

func (c *changes) release(k bridge.DeliveryKey) { c.released[k] = struct{}{} }

func (c *changes) drop(k bridge.DeliveryKey) { c.done[k] = struct{}{} }

func (c *changes) mark(key bridge.SessionKey, sent uint64) { c.sent[key] = sent }

func (c *changes) putWill(w *bridge.Will) { c.wills[w.Key] = w }

func (c *changes) dropWill(key bridge.SessionKey) { c.wills[key] = nil }

// collect writes what the maps hold into the lists.
func (c *changes) collect() {
	for k, r := range c.received {
		at := bridge.ReceivedAt{Key: k.key, Received: bridge.Received{PacketID: k.id}}
		if r != nil {
			at.Received = *r
			c.Received = append(c.Received, at)
		} else {
			c.Forgotten = append(c.Forgotten, at)
		}
	}
	for key, w := range c.wills {
		if w != nil {
			c.Wills = append(c.Wills, *w)
		} else {
			c.NoWills = append(c.NoWills, key)
		}
	}
	for key, n := range c.sent {
		c.Sent = append(c.Sent, bridge.SentMark{Key: key, N: n})
	}
	c.Released = slices.AppendSeq(c.Released, maps.Keys(c.released))
	c.Done = slices.AppendSeq(c.Done, maps.Keys(c.done))
}

func (c *changes) none() bool {
	return len(c.Deliveries) == 0 && len(c.Released) == 0 && len(c.Done) == 0 && len(c.Retained) == 0 &&
		len(c.Received) == 0 && len(c.Forgotten) == 0 && len(c.Wills) == 0 && len(c.NoWills) == 0 && len(c.Sent) == 0
}
