package client

import (
	"encoding/json"
	"strings"

	"github.com/eclipse/paho.golang/paho"
)

// received takes what the link brings. It never waits: the library reads
// nothing meanwhile.
func (c *Client) received(p paho.PublishReceived) (bool, error) {
	levels := strings.Split(p.Packet.Topic, "/")
	if len(levels) < 3 {
		return true, nil
	}
	var err error
	switch root, name, what := levels[0], levels[1], strings.Join(levels[2:], "/"); root {
	case "chat":
		err = c.receivedOfChat(name, what, p.Packet.Payload)
	case "users":
		err = c.receivedOfUser(name, what, p.Packet.Payload)
	}
	if err != nil {
		c.o.Logger.Warn("something came that cannot be read", "topic", p.Packet.Topic, "error", err)
	}
	return true, nil
}

func (c *Client) receivedOfChat(conversation, what string, payload []byte) error {
	switch what {
	case "messages":
		var e Entry
		if err := json.Unmarshal(payload, &e); err != nil {
			return err
		}
		e.ConversationID = conversation
		c.feed.in.putEntry(e, len(payload))
	case "typing":
		t := Typing{ConversationID: conversation}
		if err := json.Unmarshal(payload, &t); err != nil {
			return err
		}
		c.feed.in.putState("typing/"+conversation+"/"+t.UserID, t)
	case "receipts":
		r := Receipt{ConversationID: conversation}
		if err := json.Unmarshal(payload, &r); err != nil {
			return err
		}
		c.feed.in.putState("receipt/"+conversation+"/"+r.UserID, r)
	}
	return nil
}

func (c *Client) receivedOfUser(user, what string, payload []byte) error {
	switch what {
	case "presence":
		p := Presence{UserID: user}
		if err := json.Unmarshal(payload, &p); err != nil {
			return err
		}
		c.feed.in.putState("presence/"+user, p)
	case "notifications":
		var n Notification
		if err := json.Unmarshal(payload, &n); err != nil {
			return err
		}
		c.feed.in.putEntry(n, len(payload))
	case "unread":
		var u Unread
		if err := json.Unmarshal(payload, &u); err != nil {
			return err
		}
		c.feed.in.putState("unread", u)
	case "errors":
		return c.receivedError(payload)
	}
	return nil
}

// receivedError takes what the server has against something. A send that
// waits for its acknowledgement learns the code from it.
func (c *Client) receivedError(payload []byte) error {
	var told struct{ Code, Message, Topic, ClientID string }
	if err := json.Unmarshal(payload, &told); err != nil {
		return err
	}
	switch told.Code {
	case "token_expiring":
		select {
		case c.expiring <- struct{}{}:
		default:
		}
		return nil
	case "history_trimmed": // the entries say so themselves
		return nil
	}
	e := &Error{Code: told.Code, Message: told.Message, Topic: told.Topic, ClientID: told.ClientID}
	if c.sends.explain(e) {
		return nil
	}
	c.o.Logger.Warn("the server refused something", "code", e.Code, "message", e.Message, "topic", e.Topic)
	if !c.o.SendOnly {
		c.feed.in.tell(Problem{Err: e})
	}
	return nil
}
