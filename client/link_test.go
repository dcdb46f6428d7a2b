package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/client"
)

// A link on which no acknowledgement comes is as good as gone: it is cut, and
// what was sent is sent on the next one, and stands once.
func TestNoAnswer(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	alice := connect(t, client.WithAnswerTimeout(s.through("alice", p), time.Second))
	conversation(t, alice, "c1")
	lost := p.once(pubackPacket, false, drop)
	sent, err := alice.Send(t.Context(), "c1", client.Draft{Content: "once"})
	<-lost
	if err != nil || sent.Seq != 2 {
		t.Errorf("sent %+v, %v; want seq 2", sent, err)
	}
	if n := p.opened.Load(); n < 2 {
		t.Errorf("%d connections: the link was not cut", n)
	}
	h, err := alice.History(t.Context(), "c1", client.Range{})
	if err != nil || h.HeadSeq != 2 {
		t.Errorf("the head is %d, %v; want 2", h.HeadSeq, err)
	}
}

// With Options.TLS a private authority is trusted, by all ways to the server.
// Without it the status says what is wrong.
func TestTLS(t *testing.T) {
	s := startTLSServer(t)
	secure := strings.Replace(s.web, "127.0.0.1", "localhost", 1)
	for _, tt := range []struct{ name, url, rest string }{
		{"https", "https://" + secure, ""},
		{"wss", "wss://" + secure + "/mqtt", ""},
		{"mqtts", "mqtts://" + s.more[1], "https://" + secure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := s.options(tt.name)
			o.URL, o.RESTURL = tt.url, tt.rest
			stranger, err := client.New(o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stranger.Close() }()
			await(read(t, stranger), "a refusal", func(st client.Status) bool {
				return st.State == client.StateOffline && errors.Is(st.Err, client.ErrNetwork) && strings.Contains(st.Err.Message, "certificate")
			})

			o.TLS = s.authority.Trust()
			user := connect(t, o)
			conversation(t, user, tt.name)
			got := read(t, user)
			say(t, user, tt.name, 1)
			got.until(tt.name, 2)
		})
	}
}
