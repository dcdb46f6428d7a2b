package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/packets"

	"github.com/parley-mqtt/parley/internal/chat"
)

// IDRule says where a message of the source has an identity of its own.
type IDRule struct {
	property string   // the name of a user property
	pointer  []string // the keys of a JSON pointer; nil is none
}

// ParseIDRule reads user-property:NAME or json:/POINTER; "" is no identity.
func ParseIDRule(text string) (IDRule, error) {
	if text == "" {
		return IDRule{}, nil
	}
	if name, ok := strings.CutPrefix(text, "user-property:"); ok && name != "" {
		return IDRule{property: name}, nil
	}
	pointer, ok := strings.CutPrefix(text, "json:/")
	if !ok {
		return IDRule{}, fmt.Errorf("%q is neither user-property:NAME nor json:/POINTER", text)
	}
	keys := strings.Split(pointer, "/")
	for i, key := range keys { // RFC 6901
		keys[i] = strings.ReplaceAll(strings.ReplaceAll(key, "~1", "/"), "~0", "~")
	}
	return IDRule{pointer: keys}, nil
}

// wanted says whether messages are to have an identity.
func (r *IDRule) wanted() bool { return r.property != "" || r.pointer != nil }

// of is the identity of a message, or "" where it has none.
func (r *IDRule) of(pb *packets.Publish) string {
	if r.property != "" {
		for _, p := range pb.Properties.User {
			if p.Key == r.property {
				return p.Value
			}
		}
		return ""
	}
	if r.pointer == nil {
		return ""
	}
	d := json.NewDecoder(bytes.NewReader(pb.Payload))
	d.UseNumber() // as it is written: large numbers stay different
	var value any
	if d.Decode(&value) != nil {
		return ""
	}
	for _, key := range r.pointer {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return ""
			}
			value = v[i]
		default:
			return ""
		}
	}
	switch v := value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// mapper turns messages of the source into what is written here. It is pure.
type mapper struct {
	routes  []Route
	content Template
	base64  bool // what is not text is written so; else it is refused
	ids     IDRule
}

// draft is a message on its way here.
type draft struct {
	topic        string
	conversation string // "" for an ordinary topic
	text         string // of a message in a conversation
	id           string // the clientId that its own identity makes; "" for none
}

// apply maps a message. An error says why it can never be written.
func (m *mapper) apply(pb *packets.Publish) (d draft, err error) {
	route := m.route(pb.Topic)
	if route == nil {
		return d, errors.New("no route takes the topic")
	}
	if d.topic, d.conversation, err = route.target(pb.Topic); err != nil {
		return d, err
	}
	if own := m.ids.of(pb); own != "" {
		d.id = ownID(pb.Topic, own)
	}
	if d.conversation == "" {
		return d, nil
	}
	d.text, err = m.text(pb)
	return d, err
}

// route is the first that takes the topic.
func (m *mapper) route(topic string) *Route {
	for i := range m.routes {
		if m.routes[i].takes(topic) {
			return &m.routes[i]
		}
	}
	return nil
}

func (m *mapper) text(pb *packets.Publish) (string, error) {
	if len(pb.Payload) > chat.MaxContent { // before it is copied
		return "", fmt.Errorf("the payload has %d bytes, more than the %d of a message", len(pb.Payload), chat.MaxContent)
	}
	payload := string(pb.Payload)
	if !utf8.ValidString(payload) || strings.ContainsRune(payload, 0) {
		if !m.base64 {
			return "", errors.New("the payload is not text")
		}
		payload = base64.StdEncoding.EncodeToString(pb.Payload)
	}
	text, err := m.content.expand(pb.Topic, payload)
	if err != nil {
		return "", err
	}
	_, err = chat.DecodeBody([]byte(text), true)
	return text, err
}

// body is the payload of a message in a conversation.
func body(text, clientID string) ([]byte, error) {
	return json.Marshal(struct {
		Content  string `json:"content"`
		ClientID string `json:"clientId"`
	}{text, clientID})
}

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ownID is the clientId of a message that has an identity within its topic. No
// length or letter of the identity matters.
func ownID(topic, own string) string {
	h := sha256.New()
	writeText(h, topic)
	writeText(h, own)
	return "id-" + base32Lower.EncodeToString(h.Sum(nil))[:32]
}

// digest tells messages apart that use the same packet identifier, one after
// the other. It leaves out what may differ when a message is sent again.
type digest [16]byte

func digestOf(pb *packets.Publish) (d digest) {
	h := sha256.New()
	writeText(h, pb.Topic)
	writeText(h, string(pb.Payload))
	if p := pb.Properties; p != nil {
		writeText(h, p.ContentType)
		writeText(h, p.ResponseTopic)
		writeText(h, string(p.CorrelationData))
		for _, u := range p.User {
			writeText(h, u.Key)
			writeText(h, u.Value)
		}
	}
	copy(d[:], h.Sum(nil))
	return d
}

// writeText writes a text so that no two lists of texts look the same.
func writeText(h interface{ Write([]byte) (int, error) }, s string) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(s)))
	_, _ = h.Write(n[:]) // a hash takes everything
	_, _ = h.Write([]byte(s))
}
