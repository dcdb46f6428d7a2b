package broker

import (
	"context"
	"slices"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/broker/router"
	"github.com/parley-mqtt/parley/broker/wire"
	"github.com/parley-mqtt/parley/internal/chat"
)

// readWill checks the will of a CONNECT: what the client may not publish, it
// may not leave behind either. The error may be shown.
func (c *conn) readWill(pk *packets.Packet) (*bridge.Will, error) {
	if !pk.Connect.WillFlag {
		return nil, nil
	}
	name := pk.Connect.WillTopic
	topic, err := chat.ParseTopic(name)
	if err == nil {
		err = c.b.fits("will topic", name)
	}
	if err == nil {
		err = c.identity().MayPublish(topic)
	}
	if err != nil {
		return nil, err
	}
	p := &pk.Connect.WillProperties
	w := &bridge.Will{Key: c.key, Retain: pk.Connect.WillRetain, Delay: p.WillDelayInterval}
	w.Topic, w.Payload, w.QoS = name, slices.Clone(pk.Connect.WillPayload), pk.Connect.WillQos
	switch topic.Kind {
	case chat.KindOrdinary:
	case chat.KindMessages:
		_, err = chat.DecodeBody(w.Payload, p.ContentType == "text/plain")
	case chat.KindPresence:
		_, err = chat.DecodeStatus(w.Payload)
	default:
		err = chat.Errorf(chat.CodeForbidden, "this topic takes no will")
	}
	switch {
	case err != nil:
		return nil, err
	case w.Retain && topic.Kind != chat.KindOrdinary && topic.Kind != chat.KindPresence:
		return nil, chat.Invalid("will retain", "this topic is not retained")
	}
	pub := wire.Publish{PayloadIsText: p.PayloadFormat == 1 && p.PayloadFormatFlag, ResponseTopic: optional(p.ResponseTopic),
		ContentType: optional(p.ContentType), CorrelationData: p.CorrelationData}
	for _, u := range pk.Connect.WillProperties.User {
		pub.User = wire.AppendUserProp(pub.User, u.Key, u.Val)
	}
	w.Props = pub.KeptProps(nil)
	w.HasExpiry, w.Expiry = p.MessageExpiryInterval > 0, p.MessageExpiryInterval
	return w, nil
}

func optional(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// publishWill publishes a will that is due, as a PUBLISH of its user would be,
// and calls done with what became of it. What is refused for good counts as
// done: it would be refused again.
func (b *Broker) publishWill(w *bridge.Will, done func(error)) {
	topic, err := chat.ParseTopic(w.Topic)
	if err != nil { // it was read at CONNECT
		done(nil)
		return
	}
	if topic.Kind == chat.KindMessages {
		b.submitWill(w, topic.ID, done)
		return
	}
	if topic.Kind != chat.KindOrdinary { // presence is made of sessions: the will adds nothing
		b.router.DropWillSoon(w.Key, done)
		return
	}
	m := &router.Message{Message: w.Message, Retain: w.Retain, From: w.Key}
	m.UserID, m.Published = w.Key.UserID, b.cfg.Now()
	if w.HasExpiry {
		m.Expires = m.Published.Add(time.Duration(w.Expiry) * time.Second)
	}
	b.router.Publish(&router.Publication{Message: m, Will: &w.Key, Done: published(done)})
}

// published adapts a function to router.Completer.
type published func(error)

func (f published) Published(_ *router.Publication, err error) { f(err) }

// submitWill commits a will that is a message of a conversation. It is sent
// under one clientId however often it is tried, so that it is there once.
func (b *Broker) submitWill(w *bridge.Will, conversation string, done func(error)) {
	body, err := chat.DecodeBody(w.Payload, false)
	if err != nil {
		body = chat.Body{Type: chat.TypeMessage, Content: string(w.Payload)}
	}
	if body.ClientID == "" {
		body.ClientID = bridge.ServerClientID(w.ID)
	}
	s := &willSend{done: func(err error) {
		e, shown := chat.AsError(err)
		if err != nil && (!shown || e.Code == chat.CodeUnavailable) {
			done(err)
			return
		}
		b.router.DropWillSoon(w.Key, done)
	}}
	s.Draft = chat.Draft{Stream: chat.ConversationStream(conversation), SenderID: w.Key.UserID, Body: body}
	s.Done = s
	b.log.Submit(&s.Submission)
}

type willSend struct {
	bridge.Submission
	done func(error)
}

func (s *willSend) Committed(*bridge.Submission) { s.done(s.Outcome.Err) }

// lastWill deals with the will when the connection has ended: a goodbye takes
// it back, anything else has it published, at once or after its delay. When
// the server stops it stays in the store, and is due when the next process
// starts. It returns when what is done at once is done, so that the session's
// next connection finds it so.
func (c *conn) lastWill() {
	w := c.will
	if w == nil {
		return
	}
	ctx, cancel := c.storeContext()
	defer cancel()
	var err error
	switch {
	case c.goodbyeSaid || c.forgotten.Load():
		err = c.b.router.DropWill(ctx, c.key)
	case c.b.stopped():
		return
	default:
		if expiry := c.session.expires(); expiry != bridge.NeverExpires {
			w.Delay = min(w.Delay, expiry)
		}
		err = c.b.router.Lost(ctx, w)
	}
	if err != nil {
		c.b.logger.Warn("dealing with a will failed", "user", c.key.UserID, "client", c.key.ClientID, "error", err)
	}
}

// settleWill deals with the will of the session's last connection, whose delay
// has not passed: that the session goes on takes it back, that it begins anew
// means that the old one has ended [MQTT-3.1.3-9]. Then it stores the will of
// this connection.
func (c *conn) settleWill(ctx context.Context, resumed bool) error {
	old, err := c.b.router.Returned(ctx, c.key)
	if err != nil {
		return err
	}
	if old != nil && (!resumed || !old.Due.After(c.b.cfg.Now())) {
		if err := c.b.router.EndWill(ctx, old); err != nil {
			return err
		}
	}
	switch {
	case c.will != nil:
		return c.b.router.KeepWill(ctx, c.will)
	case old != nil && resumed:
		return c.b.router.DropWill(ctx, c.key)
	}
	return nil
}

func (s *session) expires() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry
}
