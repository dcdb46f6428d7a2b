package hostile_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// peer is one MQTT 5 connection. Sending and receiving may be done by two
// goroutines.
type peer struct {
	nc  net.Conn
	in  *wire.Reader
	out []byte
	id  uint16
}

// login says who a peer is.
type login struct {
	user, client string
	durable      bool
	pub, sub     []string // the token's filters of ordinary topics
	window       uint16   // Receive Maximum, 0 is as much as the server sends
	buffer       int      // bytes that the kernel receives ahead, 0 is its default
}

// join connects a peer.
func join(addr string, l login) (*peer, error) {
	p, err := dial(addr, l.buffer)
	if err != nil {
		return nil, err
	}
	token, err := acl.Mint([]byte(parleytest.Secret), acl.Claims{Subject: l.user, TTL: 4 * time.Hour, Pub: l.pub, Sub: l.sub})
	if err == nil {
		err = p.connect(l, token)
	}
	if err != nil {
		_ = p.nc.Close()
		return nil, fmt.Errorf("connecting %s: %w", l.user, err)
	}
	return p, nil
}

func dial(addr string, buffer int) (*peer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if buffer > 0 {
		_ = nc.(*net.TCPConn).SetReadBuffer(buffer)
	}
	return &peer{nc: nc, in: wire.NewReader(nc)}, nil
}

func (p *peer) connect(l login, token string) error {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: wire.Version5,
		Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: !l.durable, ClientIdentifier: l.client,
			PasswordFlag: true, Password: []byte(token)}}
	pk.Properties.ReceiveMaximum = l.window
	if l.durable {
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
	}
	var buf bytes.Buffer
	if err := pk.ConnectEncode(&buf); err != nil {
		return err
	}
	if err := p.send(buf.Bytes()); err != nil {
		return err
	}
	ack, err := p.expect(wire.TypeConnack)
	if err != nil {
		return err
	}
	if len(ack.Body) < 2 || ack.Body[1] != wire.CodeSuccess {
		return fmt.Errorf("CONNACK % x", ack.Body)
	}
	return nil
}

// send writes bytes.
func (p *peer) send(b []byte) error {
	_ = p.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := p.nc.Write(b)
	return err
}

// next answers the next packet. Its body is valid until the next call.
func (p *peer) next() (wire.Packet, error) {
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	return p.in.Next(0)
}

// expect answers the next packet of a type, passing over others.
func (p *peer) expect(kind byte) (wire.Packet, error) {
	for {
		got, err := p.next()
		if err != nil || got.Type() == kind {
			return got, err
		}
	}
}

// nextID answers the next packet identifier.
func (p *peer) nextID() uint16 {
	if p.id++; p.id == 0 {
		p.id = 1
	}
	return p.id
}

// publish sends a PUBLISH. It is not answered here.
func (p *peer) publish(pub *wire.Publish) error {
	if pub.QoS > 0 {
		pub.PacketID = p.nextID()
	}
	p.out, _ = wire.AppendPublish(p.out[:0], wire.Version5, pub)
	return p.send(p.out)
}

// ack sends an acknowledgement.
func (p *peer) ack(kind byte, id uint16) error {
	return p.send(wire.AppendAck(nil, wire.Version5, &wire.Ack{Type: kind, PacketID: id}, 0))
}

// subscription encodes a SUBSCRIBE.
func (p *peer) subscription(qos byte, filters ...string) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1},
		ProtocolVersion: wire.Version5, PacketID: p.nextID()}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: qos})
	}
	var buf bytes.Buffer
	_ = pk.SubscribeEncode(&buf) // it fails for want of an identifier alone
	return buf.Bytes()
}

// unsubscription encodes an UNSUBSCRIBE.
func (p *peer) unsubscription(filters ...string) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1},
		ProtocolVersion: wire.Version5, PacketID: p.nextID()}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f})
	}
	var buf bytes.Buffer
	_ = pk.UnsubscribeEncode(&buf)
	return buf.Bytes()
}

// subscribe subscribes and wants every filter granted.
func (p *peer) subscribe(qos byte, filters ...string) error {
	if err := p.send(p.subscription(qos, filters...)); err != nil {
		return err
	}
	ack, err := p.expect(wire.TypeSuback)
	if err != nil {
		return err
	}
	for _, code := range ack.Body[len(ack.Body)-len(filters):] {
		if code >= wire.CodeUnspecified {
			return fmt.Errorf("subscribing to %v: 0x%02x", filters, code)
		}
	}
	return nil
}
