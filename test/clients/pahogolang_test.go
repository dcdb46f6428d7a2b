package clients_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

// pahoGolang is a client of paho.golang: MQTT 5 over TCP.
type pahoGolang struct {
	conn     net.Conn
	client   *paho.Client
	messages chan message
}

func dialPahoGolang(_ testing.TB, srv *server, s session) (client, bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := srv.dial(ctx, s)
	if err != nil {
		return nil, false, err
	}
	conn = packets.NewThreadSafeConn(conn) // as TLS is not
	c := &pahoGolang{conn: conn, messages: make(chan message, inboxSize)}
	c.client = paho.NewClient(paho.ClientConfig{Conn: conn, PacketTimeout: patience,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){c.received}})
	connect := &paho.Connect{ClientID: s.ID, KeepAlive: 60, CleanStart: !s.Durable,
		UsernameFlag: true, Username: s.User, PasswordFlag: true, Password: []byte(s.Token),
		Properties: &paho.ConnectProperties{RequestProblemInfo: true}}
	if s.Durable {
		hour := uint32(3600)
		connect.Properties.SessionExpiryInterval = &hour
	}
	if w := s.Will; w != nil {
		connect.WillMessage = &paho.WillMessage{Topic: w.Topic, Payload: []byte(w.Payload), QoS: w.QoS, Retain: w.Retain}
		p := properties(*w)
		connect.WillProperties = &paho.WillProperties{ContentType: p.ContentType, ResponseTopic: p.ResponseTopic,
			CorrelationData: p.CorrelationData, User: p.User}
	}
	ack, err := c.client.Connect(ctx, connect)
	if err != nil {
		if ack != nil {
			err = refusal{ack.ReasonCode}
		}
		return nil, false, err
	}
	return c, ack.SessionPresent, nil
}

func properties(m message) *paho.PublishProperties {
	p := &paho.PublishProperties{ContentType: m.ContentType, ResponseTopic: m.ResponseTopic}
	if m.Correlation != "" {
		p.CorrelationData = []byte(m.Correlation)
	}
	for _, pair := range m.User {
		p.User.Add(pair[0], pair[1])
	}
	return p
}

func (c *pahoGolang) received(r paho.PublishReceived) (bool, error) {
	p := r.Packet
	m := message{Topic: p.Topic, Payload: string(p.Payload), QoS: p.QoS, Retain: p.Retain,
		ContentType: p.Properties.ContentType, ResponseTopic: p.Properties.ResponseTopic,
		Correlation: string(p.Properties.CorrelationData)}
	for _, u := range p.Properties.User {
		m.User = append(m.User, [2]string{u.Key, u.Value})
	}
	c.messages <- m
	return true, nil
}

func (c *pahoGolang) subscribe(filter string, qos byte) (byte, error) {
	ack, err := c.client.Subscribe(context.Background(), &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	if ack == nil {
		return 0, err
	}
	return ack.Reasons[0], nil // the error says it again
}

func (c *pahoGolang) unsubscribe(filter string) error {
	ack, err := c.client.Unsubscribe(context.Background(), &paho.Unsubscribe{Topics: []string{filter}})
	if err == nil && ack.Reasons[0] != 0 {
		err = refusal{ack.Reasons[0]}
	}
	return err
}

func (c *pahoGolang) publish(m message) error {
	ack, err := c.client.Publish(context.Background(), &paho.Publish{Topic: m.Topic, Payload: []byte(m.Payload),
		QoS: m.QoS, Retain: m.Retain, Properties: properties(m)})
	switch {
	case ack != nil && ack.ReasonCode >= 0x80:
		return refusal{ack.ReasonCode}
	case err != nil:
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

func (c *pahoGolang) inbox() <-chan message { return c.messages }

func (c *pahoGolang) disconnect() error {
	err := c.client.Disconnect(&paho.Disconnect{})
	<-c.client.Done()
	return err
}

func (c *pahoGolang) kill() {
	_ = c.conn.Close() // it may be closed already
	<-c.client.Done()
}
