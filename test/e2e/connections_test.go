package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// connection is what an operator sees of one, as far as tests look at it.
type connection struct {
	UserID        string
	ClientID      string
	Address       string
	Transport     string
	Protocol      string
	ConnectedAt   time.Time
	SessionExpiry uint32
	KeepAlive     int
	Subscriptions struct{ Count int }
	Inflight      struct{ Entries, Deliveries int }
	Waiting       struct{ Deliveries, Bytes int }
	Streams       struct {
		Count int
		Items []struct {
			ConversationID      string
			Position, Head, Lag int
		}
	}
}

// An operator sees every client, whatever it speaks and over what, and how far
// behind it is; and ends it.
func TestOperatorSeesConnections(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		srv := startServer(t, backend, options{})
		admin := parleytest.Token(t, acl.Claims{Subject: "root", Scope: "admin", TTL: time.Hour})
		srv.conversation("c1", "alice", "bob")
		type pageOf struct {
			Items      []connection
			NextCursor string
		}
		var want []string
		clients := map[string]*mqttest.Client{}
		transports := map[string]string{}
		for _, version := range []byte{4, 5} {
			for _, transport := range []string{"tcp", "ws"} {
				id := fmt.Sprintf("%d/%s %%2F", version, transport)
				c := operated(t, srv, version, transport, id)
				c.Subscribe("chat/c1/messages", "devices/#")
				clients[id], transports[id], want = c, transport, append(want, id)
			}
		}
		alice := mqttest.Dial(t, srv.mqtt)
		alice.Connect(mqttest.Options{ClientID: "a", User: "alice", Clean: true, Password: parleytest.Token(t,
			acl.Claims{Subject: "alice", TTL: time.Hour, Pub: []string{"devices/#"}})})
		alice.Publish("chat/c1/messages", "hello", 1)
		alice.Expect(packets.Puback)
		alice.Publish("devices/1", "12345", 1)
		alice.Expect(packets.Puback)
		for _, c := range clients { // nobody acknowledges
			c.Expect(packets.Publish)
			c.Expect(packets.Publish)
		}

		var seen []string
		for cursor := ""; ; {
			var page pageOf
			query := url.Values{"user": {"bob"}, "limit": {"3"}}
			if cursor != "" {
				query.Set("cursor", cursor)
			}
			status, err := srv.rest.do(http.MethodGet, "/v1/admin/connections?"+query.Encode(), admin, nil, &page)
			if err != nil || status != http.StatusOK {
				t.Fatalf("the list: status %d, %v", status, err)
			}
			for i := range page.Items {
				seen = append(seen, page.Items[i].ClientID)
			}
			if cursor = page.NextCursor; cursor == "" || len(seen) > len(want) {
				break
			}
		}
		if fmt.Sprint(seen) != fmt.Sprint(want) {
			t.Errorf("saw %q, want %q", seen, want)
		}
		for id, c := range clients {
			operate(t, srv, admin, id, transports[id], c)
		}
	})
}

// operated connects bob.
func operated(t *testing.T, srv *server, version byte, transport, id string) *mqttest.Client {
	t.Helper()
	var c *mqttest.Client
	if transport == "tcp" {
		c = mqttest.Dial(t, srv.mqtt)
	} else {
		stream, err := dialWebSocket(srv.web, "", "mqtt")
		if err != nil {
			t.Fatal(err)
		}
		c = mqttest.New(t, stream)
	}
	ack := c.Connect(mqttest.Options{Version: version, ClientID: id, User: "bob", Expiry: 3600, KeepAlive: 600,
		Password: parleytest.Token(t, acl.Claims{Subject: "bob", TTL: time.Hour, Sub: []string{"devices/#"}})})
	if ack.ReasonCode != 0 {
		t.Fatalf("%q: CONNACK %#x", id, ack.ReasonCode)
	}
	return c
}

// operate looks at a connection of bob, which has got an entry and a message,
// and ends it.
func operate(t *testing.T, srv *server, admin, id, transport string, c *mqttest.Client) {
	t.Helper()
	path := "/v1/admin/connection?" + url.Values{"user": {"bob"}, "client": {id}}.Encode()
	ask := func(method, token string, into any) int {
		t.Helper()
		status, err := srv.rest.do(method, path, token, nil, into)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		return status
	}
	var got connection
	if status := ask(http.MethodGet, admin, &got); status != http.StatusOK {
		t.Fatalf("%q: status %d", id, status)
	}
	protocol, expiry, code := "5", uint32(3600), byte(0x98)
	if c.Version < 5 {
		protocol, expiry, code = "3.1.1", 0xFFFFFFFF, 0
	}
	if got.UserID != "bob" || got.ClientID != id || got.Transport != transport || got.Protocol != protocol ||
		got.Address != c.Conn.LocalAddr().String() || time.Since(got.ConnectedAt) > time.Hour ||
		got.SessionExpiry != expiry || got.KeepAlive != 600 || got.Subscriptions.Count != 2 {
		t.Errorf("%q: saw %+v", id, got)
	}
	if got.Inflight.Entries != 1 || got.Inflight.Deliveries != 1 || got.Waiting.Deliveries != 1 || got.Waiting.Bytes < 5 {
		t.Errorf("%q: in flight %+v, waiting %+v", id, got.Inflight, got.Waiting)
	}
	if s := got.Streams; s.Count != 1 || len(s.Items) != 1 || s.Items[0].ConversationID != "c1" ||
		s.Items[0].Position != 3 || s.Items[0].Head != 3 || s.Items[0].Lag != 0 {
		t.Errorf("%q: follows %+v", id, s)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		for token, want := range map[string]int{"": http.StatusUnauthorized, srv.token("bob"): http.StatusForbidden} {
			if status := ask(method, token, nil); status != want {
				t.Errorf("%q: %s without the scope answers %d, want %d", id, method, status, want)
			}
		}
	}
	if status := ask(http.MethodDelete, admin, nil); status != http.StatusNoContent {
		t.Errorf("%q: DELETE answers %d", id, status)
	}
	if got := c.ExpectClosed(); got != code {
		t.Errorf("%q: closed with %#x, want %#x", id, got, code)
	}
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		if status := ask(method, admin, nil); status != http.StatusNotFound {
			t.Errorf("%q: %s after it has gone answers %d", id, method, status)
		}
	}
}
