// Package mqttest is a raw MQTT client for tests, for 3.1.1 and 5: it sends
// what it is told, legal or not, reads only when asked, and never retries or
// acknowledges by itself.
package mqttest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/broker/wire"
)

// Patience is how long a client waits for a packet that must come.
const Patience = 20 * time.Second

// Client is one connection. It must be used from one goroutine at a time,
// but for Send and what is made of it.
type Client struct {
	tb      testing.TB
	Conn    net.Conn
	Version byte
	r       *bufio.Reader
	lastID  uint16
}

// Options are those of a CONNECT packet.
type Options struct {
	Version        byte // 4 or 5; 0 is 5
	ClientID       string
	User, Password string
	Clean          bool
	KeepAlive      uint16
	Expiry         uint32 // session expiry interval, MQTT 5
	ReceiveMaximum uint16
	MaxPacket      uint32
	Change         func(*packets.Packet) // anything else
}

// Dial opens a TCP connection, closed when the test ends.
func Dial(tb testing.TB, addr string) *Client {
	tb.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		tb.Fatalf("dial %s: %v", addr, err)
	}
	return New(tb, conn)
}

// New makes a client of a connection that is open.
func New(tb testing.TB, conn net.Conn) *Client {
	tb.Cleanup(func() { _ = conn.Close() })
	return &Client{tb: tb, Conn: conn, Version: 5, r: bufio.NewReaderSize(conn, 64<<10)}
}

// Connect sends CONNECT and answers the CONNACK.
func (c *Client) Connect(o Options) packets.Packet {
	c.tb.Helper()
	ack, err := c.TryConnect(o)
	if err != nil {
		c.tb.Fatalf("connect: %v", err)
	}
	return ack
}

// TryConnect is Connect, with an error where no CONNACK comes.
func (c *Client) TryConnect(o Options) (packets.Packet, error) {
	if err := c.Send(c.ConnectPacket(o)); err != nil {
		return packets.Packet{}, err
	}
	pk, err := c.Read(Patience)
	if err == nil && pk.FixedHeader.Type != packets.Connack {
		err = fmt.Errorf("got a %s, not a CONNACK", wire.TypeName(pk.FixedHeader.Type))
	}
	return pk, err
}

// ConnectPacket encodes a CONNECT and makes its version the client's.
func (c *Client) ConnectPacket(o Options) []byte {
	if c.Version = 5; o.Version != 0 {
		c.Version = o.Version
	}
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Connect},
		ProtocolVersion: c.Version,
		Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), Clean: o.Clean, Keepalive: o.KeepAlive,
			ClientIdentifier: o.ClientID, UsernameFlag: true, Username: []byte(o.User),
			PasswordFlag: o.Password != "", Password: []byte(o.Password)},
	}
	if c.Version == 5 {
		pk.Properties = packets.Properties{SessionExpiryInterval: o.Expiry, SessionExpiryIntervalFlag: o.Expiry > 0,
			ReceiveMaximum: o.ReceiveMaximum, MaximumPacketSize: o.MaxPacket}
	}
	if o.Change != nil {
		o.Change(&pk)
	}
	var buf bytes.Buffer
	if err := pk.ConnectEncode(&buf); err != nil {
		c.tb.Fatalf("encoding CONNECT: %v", err)
	}
	return buf.Bytes()
}

// Send writes raw bytes.
func (c *Client) Send(raw []byte) error {
	_ = c.Conn.SetWriteDeadline(time.Now().Add(Patience))
	_, err := c.Conn.Write(raw)
	return err
}

// MustSend is Send, and fails the test.
func (c *Client) MustSend(raw []byte) {
	c.tb.Helper()
	if err := c.Send(raw); err != nil {
		c.tb.Fatalf("send: %v", err)
	}
}

// ID answers the next packet identifier.
func (c *Client) ID() uint16 {
	if c.lastID++; c.lastID == 0 {
		c.lastID = 1
	}
	return c.lastID
}

// Publish encodes and sends a PUBLISH; its packet identifier is the answer.
func (c *Client) Publish(topic, payload string, qos byte) uint16 {
	c.tb.Helper()
	pub := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		pub.PacketID = c.ID()
	}
	c.PublishPacket(&pub)
	return pub.PacketID
}

// PublishPacket sends a PUBLISH.
func (c *Client) PublishPacket(pub *wire.Publish) {
	c.tb.Helper()
	raw, _ := wire.AppendPublish(nil, c.Version, pub)
	c.MustSend(raw)
}

// Ack sends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (c *Client) Ack(kind byte, id uint16) {
	c.tb.Helper()
	c.MustSend(wire.AppendAck(nil, c.Version, &wire.Ack{Type: kind, PacketID: id}, 0))
}

// Subscribe sends a SUBSCRIBE for filters at QoS 1 and answers the SUBACK.
// What else comes first is lost.
func (c *Client) Subscribe(filters ...string) packets.Packet {
	c.tb.Helper()
	return c.SubscribeWith(nil, 1, filters...)
}

// SubscribeWith is Subscribe with user properties and a QoS.
func (c *Client) SubscribeWith(user []packets.UserProperty, qos byte, filters ...string) packets.Packet {
	c.tb.Helper()
	c.MustSend(c.SubscribePacket(user, qos, filters...))
	return c.Expect(packets.Suback)
}

// SubscribePacket encodes a SUBSCRIBE.
func (c *Client) SubscribePacket(user []packets.UserProperty, qos byte, filters ...string) []byte {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1},
		ProtocolVersion: c.Version, PacketID: c.ID()}
	pk.Properties.User = user
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f, Qos: qos})
	}
	var buf bytes.Buffer
	if err := pk.SubscribeEncode(&buf); err != nil {
		c.tb.Fatalf("encoding SUBSCRIBE: %v", err)
	}
	return buf.Bytes()
}

// Unsubscribe sends an UNSUBSCRIBE and answers the UNSUBACK.
func (c *Client) Unsubscribe(filters ...string) packets.Packet {
	c.tb.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1},
		ProtocolVersion: c.Version, PacketID: c.ID()}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f})
	}
	var buf bytes.Buffer
	if err := pk.UnsubscribeEncode(&buf); err != nil {
		c.tb.Fatalf("encoding UNSUBSCRIBE: %v", err)
	}
	c.MustSend(buf.Bytes())
	return c.Expect(packets.Unsuback)
}

// Disconnect sends DISCONNECT, closes, and waits until the server has closed
// too: whatever it does at the end of a connection has begun then.
func (c *Client) Disconnect() {
	_ = c.Send([]byte{packets.Disconnect << 4, 0})
	_ = c.Conn.SetReadDeadline(time.Now().Add(Patience))
	_, _ = io.Copy(io.Discard, c.r)
	_ = c.Conn.Close()
}

// Ping sends PINGREQ and waits for PINGRESP, passing over other packets: what
// was sent before it has been read by the server then.
func (c *Client) Ping() {
	c.tb.Helper()
	c.MustSend([]byte{packets.Pingreq << 4, 0})
	c.Expect(packets.Pingresp)
}

// Next answers the next packet, which must come.
func (c *Client) Next() packets.Packet {
	c.tb.Helper()
	pk, err := c.Read(Patience)
	if err != nil {
		c.tb.Fatalf("waiting for a packet: %v", err)
	}
	return pk
}

// Expect answers the next packet of a type, passing over others.
func (c *Client) Expect(kind byte) packets.Packet {
	c.tb.Helper()
	for {
		pk, err := c.Read(Patience)
		if err != nil {
			c.tb.Fatalf("waiting for a %s: %v", wire.TypeName(kind), err)
		}
		if pk.FixedHeader.Type == kind {
			return pk
		}
	}
}

// ExpectClosed wants the server to close the connection, and answers the code
// of the DISCONNECT before it, 0 if there was none.
func (c *Client) ExpectClosed() (code byte) {
	c.tb.Helper()
	for {
		pk, err := c.Read(Patience)
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			c.tb.Fatal("the server did not close the connection")
		}
		if err != nil {
			return code
		}
		if pk.FixedHeader.Type == packets.Disconnect {
			code = pk.ReasonCode
		}
	}
}

// Quiet wants nothing but PINGRESP to come until the server has answered a
// ping: what it had to send at once would have come before.
func (c *Client) Quiet() {
	c.tb.Helper()
	c.MustSend([]byte{packets.Pingreq << 4, 0})
	if pk := c.Next(); pk.FixedHeader.Type != packets.Pingresp {
		c.tb.Fatalf("got a %s where nothing should come: %s", wire.TypeName(pk.FixedHeader.Type), pk.Payload)
	}
}

// Read answers the next packet, or an error after the time.
func (c *Client) Read(within time.Duration) (packets.Packet, error) {
	_ = c.Conn.SetReadDeadline(time.Now().Add(within))
	var pk packets.Packet
	first, err := c.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, fmt.Errorf("fixed header 0x%02x: %w", first, err)
	}
	n, _, err := packets.DecodeLength(c.r)
	if err != nil {
		return pk, err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining, pk.ProtocolVersion = n, c.Version
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		if len(body) == 1 { // the codec forgets it
			pk.ReasonCode = body[0]
		} else {
			err = pk.DisconnectDecode(body)
		}
	case packets.Auth:
		err = pk.AuthDecode(body)
	}
	return pk, err
}

// UserProperty answers the value of a user property, "" if there is none.
func UserProperty(pk packets.Packet, key string) string {
	for _, p := range pk.Properties.User {
		if p.Key == key {
			return p.Val
		}
	}
	return ""
}
