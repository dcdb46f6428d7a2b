package conformance_test

import (
	"fmt"
	"strings"
	"testing"
)

// Filters match by level, letter by letter: nothing is normalized
// [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-4], [MQTT-3.3.2-3], and U+FEFF
// is a letter like others [MQTT-1.5.4-3].
func TestMatching(t *testing.T) {
	topics := []string{"a", "A", "/a", "a/", "a/b", "a//b", "a/b/c", "/", "a b", "\ufeffa", "caf\u00e9", "cafe\u0301", "a.b"}
	for _, tt := range []struct {
		filter string
		want   []string
	}{
		{"a", []string{"a"}},
		{"#", topics},
		{"+", []string{"a", "A", "a b", "\ufeffa", "caf\u00e9", "cafe\u0301", "a.b"}},
		{"/#", []string{"/a", "/"}},
		{"/+", []string{"/a", "/"}},
		{"+/+", []string{"/a", "a/", "a/b", "/"}},
		{"a/#", []string{"a", "a/", "a/b", "a//b", "a/b/c"}},
		{"a/+", []string{"a/", "a/b"}},
		{"a/+/b", []string{"a//b"}},
		{"+/b/#", []string{"a/b", "a/b/c"}},
		{"a/b/#", []string{"a/b", "a/b/c"}},
		{"\ufeffa", []string{"\ufeffa"}},
		{"caf\u00e9", []string{"caf\u00e9"}},
		{"a b", []string{"a b"}},
		{"b", nil},
	} {
		t.Run(fmt.Sprintf("%q", tt.filter), func(t *testing.T) {
			w := five(t)
			c, p := w.clean("c"), w.clean("p")
			c.subscribe(1, tt.filter)
			for _, topic := range topics {
				p.publish(topic, "x", 1)
			}
			for _, topic := range tt.want {
				c.receive(topic, "x", 1)
			}
			c.unsubscribe(tt.filter)
			c.nothingFrom(p)
		})
	}
}

// A filter whose wildcards stand wrong is refused alone [MQTT-4.7.1-1],
// [MQTT-4.7.1-2], [3.1.1: MQTT-4.7.1-3]; so is one that exceeds our bounds.
func TestRefusedFilterForms(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		for _, filter := range []string{"a#", "#/a", "a/#/b", "##", "a/b#", "a+", "+a/b", "a/++", "a/+b",
			strings.Repeat("a", 1025), strings.Repeat("a/", 32)} {
			code := c.suback(0, sub{filter, 1}, sub{"ok", 1}).ReasonCodes
			want := byte(0x8F)
			if w.version == 4 {
				want = 0x80
			}
			if code[0] != want || code[1] != 1 {
				w.t.Errorf("%.20q: SUBACK %x, want %02x01", filter, code, want)
			}
		}
		p.publish("ok", "x", 1)
		c.receive("ok", "x", 1)
		c.quiet()
	})
}

// A topic that exceeds our bounds is refused; one at the bound is not
// [MQTT-4.7.3-3].
func TestTopicBounds(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "#")
		for _, topic := range []string{strings.Repeat("a", 1025), strings.Repeat("a/", 32), strings.Repeat("a", 65535)} {
			code := p.attempt(topic, "x", 1)
			if w.version == 5 && code < 0x80 {
				w.t.Errorf("a topic of %d bytes: PUBACK 0x%02x", len(topic), code)
			}
		}
		for _, topic := range []string{strings.Repeat("a", 1024), strings.Repeat("a/", 31)} {
			p.publish(topic, "x", 1)
			c.receive(topic, "x", 1)
		}
		c.quiet()
	})
}

// Topics that begin with $ are the server's own, which publishes none: they
// are refused, and no filter reaches them [MQTT-4.7.2-1].
func TestDollarTopics(t *testing.T) {
	versions(t, func(w *world) {
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "#", "+/x")
		if code := p.attempt("$SYS/x", "no", 1); w.version == 5 && code != 0x87 {
			w.t.Errorf("PUBACK 0x%02x, want 0x87", code)
		}
		for _, filter := range []string{"$SYS/#", "$SYS/x", "$x"} {
			if code := c.suback(0, sub{filter, 1}).ReasonCodes[0]; code < 0x80 {
				w.t.Errorf("%s: SUBACK 0x%02x", filter, code)
			}
		}
		p.publish("a$/x", "yes", 1) // elsewhere it is a letter like others
		c.receive("a$/x", "yes", 1)
		c.quiet()
	})
}

// Ordinary filters never reach the chat: what is there is for who may see it.
func TestWildcardsDoNotReachTheChat(t *testing.T) {
	versions(t, func(w *world) {
		w.Conversation("c1", user, "other")
		c, p := w.clean("c"), w.clean("p")
		c.subscribe(1, "#", "+/c1/messages", "+/+/messages")
		p.publish("chat/c1/messages", "hello", 1)
		c.nothingFrom(p)
	})
}
