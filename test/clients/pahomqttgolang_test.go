package clients_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// pahoMQTTGolang is a client of paho.mqtt.golang: 3.1.1 over TCP.
type pahoMQTTGolang struct {
	conn     net.Conn
	client   mqtt.Client
	messages chan message
}

func dialPahoMQTTGolang(_ testing.TB, srv *server, s session) (client, bool, error) {
	c := &pahoMQTTGolang{messages: make(chan message, inboxSize)}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + srv.Addr).SetProtocolVersion(4).
		SetClientID(s.ID).SetCleanSession(!s.Durable).SetUsername(s.User).SetPassword(s.Token).
		SetAutoReconnect(false).SetConnectTimeout(patience).
		SetDefaultPublishHandler(c.received).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			var err error
			c.conn, err = srv.dial(ctx, s)
			return c.conn, err
		})
	if w := s.Will; w != nil {
		o.SetBinaryWill(w.Topic, []byte(w.Payload), w.QoS, w.Retain)
	}
	c.client = mqtt.NewClient(o)
	token := c.client.Connect().(*mqtt.ConnectToken)
	if err := await(token); err != nil {
		if code := token.ReturnCode(); code > 0 {
			err = refusal{code}
		}
		return nil, false, err
	}
	return c, token.SessionPresent(), nil
}

// await waits for an answer of the server.
func await(token mqtt.Token) error {
	if !token.WaitTimeout(patience) {
		return errors.New("the server did not answer")
	}
	return token.Error()
}

func (c *pahoMQTTGolang) received(_ mqtt.Client, m mqtt.Message) {
	c.messages <- message{Topic: m.Topic(), Payload: string(m.Payload()), QoS: m.Qos(), Retain: m.Retained()}
}

func (c *pahoMQTTGolang) subscribe(filter string, qos byte) (byte, error) {
	token := c.client.Subscribe(filter, qos, nil).(*mqtt.SubscribeToken)
	err := await(token)
	for _, code := range token.Result() { // under a name that is not always the filter
		return code, nil // the error says it again
	}
	return 0, err
}

func (c *pahoMQTTGolang) unsubscribe(filter string) error { return await(c.client.Unsubscribe(filter)) }

func (c *pahoMQTTGolang) publish(m message) error {
	return await(c.client.Publish(m.Topic, m.QoS, m.Retain, m.Payload))
}

func (c *pahoMQTTGolang) inbox() <-chan message { return c.messages }

func (c *pahoMQTTGolang) disconnect() error {
	c.client.Disconnect(uint(patience.Milliseconds()))
	return nil
}

func (c *pahoMQTTGolang) kill() {
	_ = c.conn.Close() // it may be closed already
	c.client.Disconnect(0)
}
