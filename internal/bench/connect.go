package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/parley-mqtt/parley/broker/wire"
)

// atOnce is how many connections are set up at the same time.
const atOnce = 32

// connectTime bounds how long the set-up of one connection may take.
const connectTime = 30 * time.Second

// layout makes the streams of a load and the clients in them.
func layout(load *Load, run uint32) (streams []*stream, conns []*conn) {
	client := func(s *stream, name string, sends, reads bool) {
		c := &conn{fd: -1, user: s.id + "-" + name, stream: s, index: len(conns)}
		conns = append(conns, c)
		if sends {
			c.sender = newSender(s, uint32(len(s.senders)), load, run)
			s.senders = append(s.senders, c)
		}
		if reads {
			c.reader = &reader{}
			s.readers = append(s.readers, c)
		}
	}
	number := load.Conversations
	if load.fans() {
		number = 1
	}
	for i := range number {
		s := &stream{id: fmt.Sprintf("bench-%08x-%d", run, i), index: uint32(i)}
		if s.topic = "chat/" + s.id + "/messages"; load.Case == Topic {
			s.topic = "bench/" + s.id
		}
		streams = append(streams, s)
		if load.fans() {
			client(s, "pub", true, false)
			for j := range load.Subscribers {
				client(s, fmt.Sprint(j), false, true)
			}
			continue
		}
		for j := range load.Members {
			client(s, fmt.Sprint(j), true, load.Case == Chat)
		}
	}
	for _, s := range streams {
		for _, c := range s.readers {
			c.reader.next = make([]uint32, len(s.senders))
		}
	}
	return streams, conns
}

// connectAll connects all clients, subscribers subscribed. When it fails, no
// socket is left open.
func connectAll(ctx context.Context, t *Target, load *Load, conns []*conn) error {
	err := parallel(ctx, atOnce, len(conns), func(ctx context.Context, i int) error {
		if err := conns[i].connect(ctx, t, load); err != nil {
			return fmt.Errorf("connecting %s: %w", conns[i].user, err)
		}
		return nil
	})
	if err != nil {
		for _, c := range conns {
			if c.fd >= 0 {
				closeSocket(c.fd)
			}
		}
	}
	return err
}

func (c *conn) connect(ctx context.Context, t *Target, load *Load) error {
	token := ""
	if t.Parley != nil {
		var err error
		if token, err = t.Parley.token(c.user); err != nil {
			return err
		}
	}
	dialer := net.Dialer{Timeout: connectTime}
	nc, err := dialer.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Now()) })
	defer stop()
	_ = nc.SetDeadline(time.Now().Add(connectTime))

	code, err := ask(nc, appendConnect(nil, c.user, token, 0), wire.TypeConnack, 1)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("the server refused the connection with code %d", code)
	}
	if c.reader != nil {
		if code, err = ask(nc, appendSubscribe(nil, byte(load.QoS), c.stream.topic), wire.TypeSuback, 2); err != nil {
			return err
		}
		if code != byte(load.QoS) {
			return fmt.Errorf("the server answered the subscription to %s with 0x%02X", c.stream.topic, code)
		}
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return errors.New("not a TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	c.fd, err = detach(raw)
	return err
}

// ask writes a packet and waits for the answer of a type. It returns the byte
// of it that holds the code. It reads no more than the answer.
func ask(nc net.Conn, packet []byte, kind byte, at int) (code byte, err error) {
	if _, err := nc.Write(packet); err != nil {
		return 0, err
	}
	var head [2]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return 0, fmt.Errorf("waiting for %s: %w", wire.TypeName(kind), err)
	}
	if head[0]>>4 != kind || head[1] >= 0x80 || int(head[1]) <= at {
		return 0, fmt.Errorf("waiting for %s: a %s of %d bytes came", wire.TypeName(kind), wire.TypeName(head[0]>>4), head[1])
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(nc, body); err != nil {
		return 0, fmt.Errorf("waiting for %s: %w", wire.TypeName(kind), err)
	}
	return body[at], nil
}

// appendConnect appends a CONNECT of MQTT 3.1.1 with a clean session. With a
// token, it is the password. The keep-alive is in seconds, 0 is none.
func appendConnect(dst []byte, client, token string, keepAlive uint16) []byte {
	flags := byte(2)
	body := appendText(nil, "MQTT")
	if token != "" {
		flags |= 0xC0
	}
	body = binary.BigEndian.AppendUint16(append(body, wire.Version311, flags), keepAlive)
	body = appendText(body, client)
	if token != "" {
		body = appendText(appendText(body, client), token)
	}
	return appendPacket(dst, wire.TypeConnect<<4, body)
}

func appendSubscribe(dst []byte, qos byte, topics ...string) []byte {
	body := []byte{0, 1}
	for _, topic := range topics {
		body = append(appendText(body, topic), qos)
	}
	return appendPacket(dst, wire.TypeSubscribe<<4|2, body)
}

func appendPacket(dst []byte, first byte, body []byte) []byte {
	dst = append(dst, first)
	n := len(body)
	for ; n >= 0x80; n >>= 7 {
		dst = append(dst, byte(n)|0x80)
	}
	return append(append(dst, byte(n)), body...)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}
