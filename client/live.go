package client

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

// typingEvery is how often typing is said again. The server takes it back
// after 6 s.
const typingEvery = 3 * time.Second

// Typing tells the other members that the user types. Call it at every key:
// it is sent every few seconds. Without a connection it is not sent at all.
func (c *Client) Typing(conversation string, typing bool) {
	if !validID(conversation) {
		return
	}
	c.mu.Lock()
	conn := c.conn
	last, said := c.typing[conversation]
	if typing && said && time.Since(last) < typingEvery || !typing && !said || conn == nil {
		c.mu.Unlock()
		return
	}
	if typing {
		if len(c.typing) > 100 { // it is about the last few seconds
			clear(c.typing)
		}
		c.typing[conversation] = time.Now()
	} else {
		delete(c.typing, conversation)
	}
	c.mu.Unlock()
	payload := []byte(`{"typing":false}`)
	if typing {
		payload = []byte(`{"typing":true}`)
	}
	conn.say(c, "chat/"+conversation+"/typing", payload)
}

// MarkRead says up to which entry the user has read a conversation. It never
// goes back. It waits like Send.
func (c *Client) MarkRead(ctx context.Context, conversation string, seq uint64) error {
	if !validID(conversation) {
		return option("conversation", "is not the id of one")
	}
	payload, err := json.Marshal(map[string]uint64{"read": seq})
	if err != nil {
		return err
	}
	_, err = c.sends.transmit(ctx, "chat/"+conversation+"/receipts", payload, "")
	var e *Error
	if err != nil && !errors.As(err, &e) {
		return &Error{Code: CodeCanceled, Message: "given up; it may stand or not", Err: err}
	}
	return err
}

// SetPresence says how present this client is: Online, Away or Invisible. It
// holds until the next word, over reconnects.
func (c *Client) SetPresence(status string) error {
	if status != Online && status != Away && status != Invisible {
		return option("status", "must be online, away or invisible")
	}
	c.mu.Lock()
	c.presence = status
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		c.publishPresence(conn, status)
	}
	return nil
}

func (c *Client) publishPresence(conn *conn, status string) {
	conn.say(c, "users/"+c.UserID()+"/presence", []byte(`{"status":"`+status+`"}`))
}

// say publishes at QoS 0. When that fails the link is gone, which is noticed
// elsewhere.
func (c *conn) say(of *Client, topic string, payload []byte) {
	if _, err := c.cm.Publish(c.ctx, &paho.Publish{Topic: topic, Payload: payload}); err != nil {
		of.o.Logger.Debug("something was not said", "topic", topic, "error", err)
	}
}
