package broker_test

import (
	"context"
	"runtime"
	"slices"
	"testing"

	"github.com/gobwas/ws"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
)

// What FuzzLiveRaw's mode says, beside how large the pieces are in which the
// server gets to see the bytes.
const (
	modeFive      = 1 << iota // the client that has connected has version 5
	modeConnected             // the bytes come after its CONNECT
	modeWeb                   // they come in one frame of a WebSocket
	modeFrames                // with modeWeb: they are the frames
)

// FuzzLiveRaw: no bytes on a connection, before or after its CONNECT, over TCP
// or in a WebSocket, bring about a panic, leave anything behind, or disturb
// another connection.
func FuzzLiveRaw(f *testing.F) {
	g := newStage(f)
	client := mqttest.New(f, newScripted(0))
	logins := map[byte][]byte{}
	for _, v := range []byte{wire.Version311, wire.Version5} {
		logins[v] = client.ConnectPacket(mqttest.Options{Version: v, ClientID: "a", User: "mallory", Password: "mallory",
			Clean: true, KeepAlive: 60})
	}
	client.Version = wire.Version5
	five := slices.Concat(client.SubscribePacket(nil, 1, "chat/shared/messages", "fuzz/#"), publishFrame(5), []byte{0xE0, 0})
	client.Version = wire.Version311
	four := slices.Concat(client.SubscribePacket(nil, 1, "chat/+/messages"), publishFrame(4), []byte{0xC0, 0, 0xE0, 0})
	for _, mode := range []byte{0, modeWeb, modeWeb | modeFrames, 1 << 4, 7<<4 | modeWeb} {
		f.Add(mode, slices.Concat(logins[wire.Version5], five))
		f.Add(mode, slices.Concat(logins[wire.Version311], four))
		f.Add(mode|modeConnected|modeFive, five)
		f.Add(mode|modeConnected, four)
	}
	f.Add(byte(modeWeb|modeFrames), ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame([]byte("ping")))))
	f.Add(byte(modeWeb|modeFrames|modeConnected), ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(nil))))
	f.Fuzz(func(t *testing.T, mode byte, data []byte) {
		g.before()
		web, version := mode&modeWeb != 0, byte(wire.Version311)
		if mode&modeFive != 0 {
			version = wire.Version5
		}
		l := g.open(t, int(mode>>4), web)
		if mode&modeConnected != 0 {
			l.version = version
			l.send(t, logins[version], web)
		}
		l.send(t, data, web && mode&modeFrames == 0)
		l.end(t)
		g.after(t)
	})
}

func publishFrame(version byte) []byte {
	pub := wire.Publish{Topic: []byte("chat/shared/messages"), Payload: []byte(`{"content":"hi"}`), QoS: 2, PacketID: 7}
	out, _ := wire.AppendPublish(nil, version, &pub)
	return out
}

// send feeds bytes, in a frame or as they are.
func (l *live) send(tb testing.TB, b []byte, frame bool) {
	tb.Helper()
	if frame {
		b = ws.MustCompileFrame(ws.MaskFrame(ws.NewBinaryFrame(b)))
	}
	l.feed(tb, b)
}

// maxSteps bounds a sequence.
const maxSteps = 32

// FuzzLiveSequence: no sequence of packets, whole or in part, on three
// connections of a few sessions brings about a panic, leaves anything behind,
// or disturbs another connection; and each client gets only packets that it
// may get.
func FuzzLiveSequence(f *testing.F) {
	g := newStage(f)
	for _, version := range []byte{0, 1} {
		for _, seed := range seeds(version) {
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		g.before()
		p := &play{g: g, tape: choices}
		for range maxSteps {
			if len(p.tape) == 0 {
				break
			}
			p.step(t)
		}
		for _, l := range p.clients {
			if l != nil {
				l.end(t)
			}
		}
		g.after(t)
	})
}

// play is a sequence that is carried out.
type play struct {
	g       *stage
	tape    tape
	clients [3]*live
}

// The kinds of steps.
const (
	stepConnect = iota
	stepPublish
	stepSubscribe
	stepAck
	stepPing
	stepUnsubscribe
	stepDisconnect
	stepAuth
	stepHangUp
	stepBytes
	stepMember
	stepSettle
	stepEnd
)

// step takes one step. A client that has no connection gets one first.
func (p *play) step(t *testing.T) {
	choice := p.tape.next()
	kind, at := int(choice)%stepEnd, int(choice)/stepEnd%len(p.clients)
	switch kind {
	case stepMember:
		p.member(t)
		return
	case stepSettle:
		p.settle(t)
		return
	}
	l := p.clients[at]
	if l == nil || ended(l) {
		if l != nil {
			l.end(t)
		}
		l = p.g.open(t, 0, false)
		p.clients[at] = l
		kind = stepConnect
	}
	var packet []byte
	switch kind {
	case stepConnect: // also a second one
		var version byte
		var limit int
		if packet, version, limit = p.tape.login(); l.version == 0 {
			l.version, l.limit = version, limit
		}
	case stepPublish:
		packet = p.tape.publish(l)
	case stepSubscribe:
		packet = p.tape.subscribe(l, wire.TypeSubscribe)
	case stepUnsubscribe:
		packet = p.tape.subscribe(l, wire.TypeUnsubscribe)
	case stepAck:
		packet = p.tape.ack(l)
	case stepPing:
		packet = []byte{wire.TypePingreq << 4, 0}
	case stepDisconnect:
		packet = p.tape.goodbye(l, wire.TypeDisconnect)
	case stepAuth:
		packet = p.tape.goodbye(l, wire.TypeAuth)
	case stepHangUp:
		l.end(t)
		return
	case stepBytes:
		packet = p.tape.upTo(int(p.tape.next() % 32))
	}
	l.feed(t, packet)
	l.check(t)
}

func ended(l *live) bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

// settle lets what was sent be committed and delivered, as far as that needs
// no luck.
func (p *play) settle(t *testing.T) {
	p.g.undisturbed(t, chatTopic) // commits are in order
	for range 10 {
		runtime.Gosched()
	}
	for _, l := range p.clients {
		if l != nil {
			l.check(t)
		}
	}
}

// member changes something about the conversation.
func (p *play) member(t *testing.T) {
	ctx, owner, log := context.Background(), bridge.Actor{UserID: "mallory"}, p.g.server.Log
	user := pick(&p.tape, "trudy", "mallory")
	var err error
	switch pick(&p.tape, 0, 1, 2, 3) {
	case 0:
		_, _, err = log.PutMember(ctx, owner, "shared", user, chat.RoleMember)
	case 1:
		err = log.RemoveMember(ctx, owner, "shared", user)
	case 2:
		err = log.DeleteConversation(ctx, owner, "shared")
	case 3:
		_, _, err = log.CreateConversation(ctx, "mallory", "shared", "", []string{"trudy", "witness"})
	}
	if _, expected := chat.AsError(err); err != nil && !expected {
		t.Fatal(err)
	}
}

// seeds are sequences that make sense. version is a choice: 0 is 5, 1 is
// 3.1.1.
func seeds(version byte) [][]byte {
	const second = stepEnd // the second client's steps
	connect := func(client, clientID, flags, expiry, will byte) []byte {
		return []byte{client + stepConnect, version, client / second * 2, clientID, 0, flags, expiry, 0, 0, 1, 0, 0, will}
	}
	const clean = 2
	a, b := connect(0, 0, clean, 0, 0), connect(second, 1, clean, 0, 0)
	durable := connect(0, 0, 0, 1, 0)
	subscribe := func(client, filter, options byte) []byte {
		return []byte{client + stepSubscribe, 0, 0, 0, 0, filter, options}
	}
	publish := func(client, flags, topic, payload byte) []byte {
		return []byte{client + stepPublish, flags, topic, payload, 0, 0, 0, 0, 0, 0, stepSettle}
	}
	ack := func(client, kind, of byte) []byte { return []byte{client + stepAck, kind, of, 0} }
	const puback, pubrec, pubcomp, pubrel, own, first = 0, 1, 2, 3, 0, 16
	return [][]byte{
		slices.Concat(a, b, subscribe(0, 0, 1), publish(second, 2, 0, 0), ack(0, puback, first)),
		slices.Concat(a, b, subscribe(0, 1, 2), publish(second, 4, 1, 2), ack(second, pubrel, own), ack(0, pubrec, first), ack(0, pubcomp, first)),
		slices.Concat(durable, subscribe(0, 0, 1), subscribe(0, 1, 2), []byte{stepHangUp}, b, publish(second, 2, 0, 0), publish(second, 2, 1, 2), durable),
		slices.Concat(durable, b, subscribe(0, 0, 1), publish(second, 2, 0, 0), durable, []byte{stepHangUp}, durable, ack(0, puback, first)),
		slices.Concat(a, b, subscribe(0, 5, 2), subscribe(second, 5, 2), publish(0, 2, 1, 2), publish(0, 3, 1, 2), []byte{stepHangUp}),
		slices.Concat(a, publish(0, 3, 1, 2), b, subscribe(second, 1, 2), publish(0, 3, 1, 1)), // retained, removed
		slices.Concat(connect(0, 0, clean|2<<3, 0, 1), b, subscribe(second, 1, 2), []byte{stepHangUp}),
		slices.Concat(a, subscribe(0, 0, 1), []byte{stepMember, 1, 1}, publish(0, 2, 0, 0), []byte{stepMember, 1, 0}, publish(0, 2, 0, 0)),
		slices.Concat(a, subscribe(0, 0, 1), []byte{stepMember, 0, 2}, publish(0, 2, 0, 0), []byte{stepMember, 0, 3}, publish(0, 2, 0, 0)),
		slices.Concat(a, []byte{stepUnsubscribe, 0, 0, 0, 0}, []byte{stepPing}, []byte{stepAuth, 0, 3, 0, 0, 0}),
		slices.Concat(durable, subscribe(0, 0, 1), []byte{stepDisconnect, 0, 1, 1, 1, 0}, connect(0, 0, clean, 0, 0)),
	}
}
