package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// through are the options of a client whose MQTT goes through a proxy.
func (s *server) through(user string, p *proxy) client.Options {
	o := s.options(user)
	o.URL, o.RESTURL = p.url(), "http://"+s.web
	return o
}

// The link is cut at every stage of a send: the message stands once.
func TestSendOverCuts(t *testing.T) {
	tests := []struct {
		name       string
		kind       byte
		fromClient bool
		deed       deed
	}{
		{"before the PUBLISH arrives", publishPacket, true, cut},
		{"after the PUBLISH arrives", publishPacket, true, passed},
		{"before the PUBACK arrives", pubackPacket, false, cut},
		{"after the PUBACK arrives", pubackPacket, false, passed},
	}
	s := startServer(t)
	owner := connect(t, s.options("owner"))
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxy(t, s.mqtt)
			c := fmt.Sprintf("c%d", i)
			conversation(t, owner, c, "alice")
			alice := connect(t, s.through("alice", p))
			done := p.once(tt.kind, tt.fromClient, tt.deed)
			sent, err := alice.Send(t.Context(), c, client.Draft{Content: "once"})
			if err != nil || sent.Seq != 3 {
				t.Errorf("sent %+v, %v; want seq 3", sent, err)
			}
			<-done
			next, err := alice.Send(t.Context(), c, client.Draft{Content: "next"})
			if err != nil || next.Seq != 4 {
				t.Errorf("the next one is %+v, %v; want seq 4", next, err)
			}
			h, err := owner.History(t.Context(), c, client.Range{})
			if err != nil || h.HeadSeq != 4 || h.Items[2].Content != "once" || h.Items[3].Content != "next" {
				t.Errorf("the log is %+v, %v; want each once", h, err)
			}
		})
	}
}

// The link is cut while it is made: the client gets there all the same.
func TestConnectOverCuts(t *testing.T) {
	s := startServer(t)
	for _, tt := range []struct {
		name       string
		kind       byte
		fromClient bool
		deed       deed
	}{
		{"before CONNECT", connectPacket, true, cut},
		{"after CONNECT", connectPacket, true, passed},
		{"before CONNACK", connackPacket, false, cut},
		{"before SUBSCRIBE", subscribePacket, true, cut},
		{"before SUBACK", subackPacket, false, cut},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxy(t, s.mqtt)
			done := p.once(tt.kind, tt.fromClient, tt.deed)
			alice := connect(t, s.through("alice", p))
			<-done
			if p.opened.Load() < 2 {
				t.Error("nothing was cut")
			}
			got := read(t, alice)
			await(got, "online", func(st client.Status) bool { return st.State == client.StateOnline })
		})
	}
}

// What was missed while the link was down is fetched, also when the fetching
// is cut in the middle, and what comes meanwhile follows it.
func TestCatchUpOverCuts(t *testing.T) {
	for _, tt := range []struct {
		name string
		deed deed
	}{{"the question is lost", cut}, {"the answer breaks off", passed}} {
		t.Run(tt.name, func(t *testing.T) {
			s := startServer(t)
			p, rest := newProxy(t, s.mqtt), newRESTProxy(t, s.web)
			alice := connect(t, s.options("alice"))
			conversation(t, alice, "c1", "bob")
			o := s.through("bob", p)
			o.RESTURL = rest.URL
			bob := connect(t, o)
			got := read(t, bob)
			await(got, "online", func(st client.Status) bool { return st.State == client.StateOnline })
			say(t, alice, "c1", 3)
			got.until("c1", 5)

			p.setRule(func(byte, bool) deed { return cut }) // nobody gets through
			p.cutAll()
			await(got, "offline", func(st client.Status) bool { return st.State == client.StateOffline && st.Err != nil })
			say(t, alice, "c1", 1200) // three answers of sync
			var cuts atomic.Int64
			rest.setRule(func(r *http.Request) deed {
				if r.URL.Path == "/v1/sync" && cuts.Add(1)%2 == 1 && cuts.Load() < 8 {
					return tt.deed
				}
				return pass
			})
			p.setRule(nil)
			say(t, alice, "c1", 5)
			inOrder(t, got.until("c1", 1210), 3)
			if cuts.Load() < 4 {
				t.Errorf("%d questions; nothing was cut", cuts.Load())
			}
		})
	}
}

// say sends messages, one after the other.
func say(t testing.TB, c *client.Client, conversation string, n int) {
	t.Helper()
	for i := range n {
		if _, err := c.Send(t.Context(), conversation, client.Draft{Content: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// What a client said of its presence holds over a loss of the link.
func TestPresenceOverCuts(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	alice, bob := connect(t, s.options("alice")), connect(t, s.through("bob", p))
	conversation(t, alice, "c1", "bob")
	got := read(t, bob)
	if err := bob.SetPresence(client.Away); err != nil {
		t.Fatal(err)
	}
	online := func() (n int) {
		for _, ev := range got.all() {
			if st, ok := ev.(client.Status); ok && st.State == client.StateOnline {
				n++
			}
		}
		return n
	}
	eventually(t, "bob is online", func() bool { return online() == 1 })
	p.cutAll()
	eventually(t, "bob is back", func() bool { return online() == 2 })
	eventually(t, "bob is away again", func() bool {
		who, err := alice.Presences(t.Context(), "bob")
		return err == nil && len(who) == 1 && who[0].Status == client.Away
	})
}

// Of two clients with one id the older ends, and says why. They do not fight.
func TestTakeover(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	o := s.through("alice", p)
	o.ClientID = "phone"
	first := connect(t, o)
	got := read(t, first)
	second := connect(t, o)
	select {
	case <-first.Done():
	case <-time.After(patience):
		t.Fatal("the first one goes on")
	}
	if err := first.Err(); !errors.Is(err, client.ErrTakenOver) {
		t.Errorf("the first one ended with %v", err)
	}
	<-got.done
	await(got, "the end", func(st client.Status) bool {
		return st.State == client.StateClosed && errors.Is(st.Err, client.ErrTakenOver)
	})
	if _, err := first.Send(t.Context(), "c1", client.Draft{Content: "x"}); !errors.Is(err, client.ErrTakenOver) {
		t.Errorf("the first one sends: %v", err)
	}
	if err := second.Ready(t.Context()); err != nil || p.opened.Load() != 2 {
		t.Errorf("%v, %d connections; want two", err, p.opened.Load())
	}
}

// A client whose session is ended again and again waits longer and longer.
func TestNoHotLoopWhenKicked(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	o := s.through("alice", p)
	o.MinBackoff, o.MaxBackoff = 20*time.Millisecond, 10*time.Second
	alice := connect(t, o)
	p.setRule(func(kind byte, fromClient bool) deed { // connected, and at once cut
		if kind == connackPacket {
			return passed
		}
		return pass
	})
	p.cutAll()
	before := p.opened.Load()
	got := read(t, alice)
	await(got, "a long wait", func(st client.Status) bool {
		return st.State == client.StateOffline && time.Until(st.RetryAt) > time.Second
	})
	if n := p.opened.Load() - before; n > 12 {
		t.Errorf("%d connections until the wait was a second", n)
	}
}

// A token is renewed in place, before it ends: the connection stays.
func TestTokenRenewedInPlace(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	o := s.through("alice", p)
	var asked atomic.Int64
	o.Token = func(context.Context) (string, error) {
		asked.Add(1)
		return parleytest.Token(t, acl.Claims{Subject: "alice", TTL: 6 * time.Second}), nil
	}
	alice := connect(t, o)
	conversation(t, alice, "c1")
	eventually(t, "two tokens more", func() bool { return asked.Load() >= 3 })
	if _, err := alice.Send(t.Context(), "c1", client.Draft{Content: "still here"}); err != nil {
		t.Error(err)
	}
	if n := p.opened.Load(); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

// A token that ends without another one ends the connection, and asks for the
// next one as it should be: once there is one, all goes on.
func TestTokenExpires(t *testing.T) {
	s := startServer(t)
	o := s.options("alice")
	var broken atomic.Bool
	o.Token = func(context.Context) (string, error) {
		if broken.Load() {
			return "", errors.New("the backend is down")
		}
		return parleytest.Token(t, acl.Claims{Subject: "alice", TTL: 2 * time.Second}), nil
	}
	alice := connect(t, o)
	conversation(t, alice, "c1")
	broken.Store(true)
	got := read(t, alice)
	await(got, "the connection ends", func(st client.Status) bool {
		return st.State == client.StateOffline && errors.Is(st.Err, client.ErrUnauthorized)
	})
	broken.Store(false)
	if _, err := alice.Send(t.Context(), "c1", client.Draft{Content: "back"}); err != nil {
		t.Error(err)
	}
}

// A token that is the only one, and refused, ends the client, and so does a
// source of which the server never took one.
func TestTokenRefused(t *testing.T) {
	s := startServer(t)
	always := func(context.Context) (string, error) { return foreign(t), nil } // another one each time
	for name, token := range map[string]client.TokenFunc{
		"of another secret":  client.StaticToken(foreign(t)),
		"of another, always": always,
		"ended":              client.StaticToken(expired(t)),
	} {
		o := s.options("alice")
		o.Token = token
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := client.Connect(ctx, o)
		cancel()
		if !errors.Is(err, client.ErrUnauthorized) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func foreign(t *testing.T) string {
	token, err := acl.Mint([]byte("another secret, of 32 bytes or more"), acl.Claims{Subject: "alice", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// expired is a token whose time is over; it is made to live a second.
func expired(t *testing.T) string {
	token := parleytest.Token(t, acl.Claims{Subject: "alice", TTL: time.Second})
	time.Sleep(2 * time.Second) // times in tokens are whole seconds
	return token
}

// The server is killed and started again in the middle of sends, several
// times: each message that was sent stands once, and comes once, in order.
func TestServerKilled(t *testing.T) {
	s := startServer(t)
	alice, bob := connect(t, s.options("alice")), connect(t, s.options("bob"))
	conversation(t, alice, "c1", "bob")
	got := read(t, bob)
	const n = 300
	var wg sync.WaitGroup
	half := make(chan struct{}, n)
	wg.Go(func() {
		for i := range n {
			if _, err := alice.Send(t.Context(), "c1", client.Draft{Content: fmt.Sprint(i)}); err != nil {
				t.Errorf("sending %d: %v", i, err)
				return
			}
			half <- struct{}{}
		}
	})
	for range 3 {
		for range 60 {
			<-half
		}
		s.kill()
		s.start()
	}
	wg.Wait()
	all := got.until("c1", n+2)
	inOrder(t, all, all[0].Seq)
	for i, e := range all[len(all)-n:] {
		if e.Content != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, e.Content)
		}
	}
}

// Who is removed gets its own leave as the last entry, and when it is back
// the entries from its join on.
func TestRemovedAndBack(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	alice, bob := connect(t, s.options("alice")), connect(t, s.through("bob", p))
	conversation(t, alice, "c1", "bob")
	got := read(t, bob)
	say(t, alice, "c1", 1)                                               // 3
	if err := alice.RemoveMember(t.Context(), "c1", "bob"); err != nil { // 4
		t.Fatal(err)
	}
	all := got.until("c1", 4)
	if last := all[len(all)-1]; last.Type != client.TypeLeave || last.UserID != "bob" {
		t.Errorf("the last entry is %+v", last)
	}
	say(t, alice, "c1", 2) // 5, 6
	if _, err := bob.Send(t.Context(), "c1", client.Draft{Content: "x"}); !errors.Is(err, client.ErrForbidden) {
		t.Errorf("who was removed sends: %v", err)
	}
	if err := alice.AddMember(t.Context(), "c1", "bob", ""); err != nil { // 7
		t.Fatal(err)
	}
	say(t, alice, "c1", 1) // 8
	got.until("c1", 8)

	// And once more, while the link is down.
	p.setRule(func(byte, bool) deed { return cut })
	p.cutAll()
	say(t, alice, "c1", 1)                                               // 9
	if err := alice.RemoveMember(t.Context(), "c1", "bob"); err != nil { // 10
		t.Fatal(err)
	}
	say(t, alice, "c1", 1)                                                // 11
	if err := alice.AddMember(t.Context(), "c1", "bob", ""); err != nil { // 12
		t.Fatal(err)
	}
	p.setRule(nil)
	say(t, alice, "c1", 1) // 13
	all = got.until("c1", 13)
	inOrder(t, all[:3], 2)
	var seqs string
	for _, e := range all[3:] {
		seqs += fmt.Sprint(" ", e.Seq)
	}
	if seqs != " 7 8 9 10 12 13" {
		t.Errorf("bob got%s after the first leave, want 7 8 9 10 12 13", seqs)
	}
	for _, ev := range got.all() {
		if gap, ok := ev.(client.Gap); ok {
			t.Errorf("told of a gap: %+v", gap)
		}
	}
}

// A reader that stops loses nothing: what does not fit is fetched later, when
// nothing more comes too. Sends go on meanwhile.
func TestSlowReader(t *testing.T) {
	s := startServer(t)
	alice := connect(t, s.options("alice"))
	conversation(t, alice, "c1", "bob")
	rest := newRESTProxy(t, s.web)
	o := s.options("bob")
	o.URL, o.RESTURL, o.Buffer = "mqtt://"+s.mqtt, rest.URL, 16
	bob := connect(t, o)
	for ev := range bob.Events() { // all is caught up, and bob stops to read
		if st, ok := ev.(client.Status); ok && st.State == client.StateOnline {
			break
		}
	}
	before := rest.asked.Load()
	say(t, alice, "c1", 1500)
	if _, err := bob.Send(t.Context(), "c1", client.Draft{Content: "I read nothing"}); err != nil {
		t.Fatal(err)
	}
	if n := rest.asked.Load(); n > before {
		t.Errorf("sync was asked %d times for nobody", n-before)
	}
	got := read(t, bob)
	inOrder(t, got.until("c1", 1503), 3)
	if n := rest.asked.Load() - before; n < 3 {
		t.Errorf("sync was asked %d times: the buffer was not bounded", n)
	}
}

// What the server does not hold any more is told of, and all goes on behind it.
func TestGapIsTold(t *testing.T) {
	s := startServer(t)
	p, rest := newProxy(t, s.mqtt), newRESTProxy(t, s.web)
	alice := connect(t, s.options("alice"))
	conversation(t, alice, "c1", "bob")
	o := s.through("bob", p)
	o.RESTURL = rest.URL
	got := read(t, connect(t, o))
	say(t, alice, "c1", 1) // 3
	got.until("c1", 3)
	p.setRule(func(byte, bool) deed { return cut })
	p.cutAll()
	say(t, alice, "c1", 5) // 4 to 8
	rest.first.Store(7)
	p.setRule(nil)
	all := got.until("c1", 8)
	inOrder(t, all[len(all)-2:], 7)
	await(got, "the gap", func(g client.Gap) bool { return g == client.Gap{ConversationID: "c1", First: 7} })
	say(t, alice, "c1", 1)
	inOrder(t, got.until("c1", 9)[len(all)-2:], 7)
}

// A conversation that is deleted and made again with the same id is another
// one, though its seqs were had before.
func TestConversationMadeAgain(t *testing.T) {
	s := startServer(t)
	alice, bob := connect(t, s.options("alice")), connect(t, s.options("bob"))
	conversation(t, alice, "c1", "bob")
	got := read(t, bob)
	say(t, alice, "c1", 5) // to 7
	n := len(got.until("c1", 7))
	if err := alice.DeleteConversation(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	conversation(t, alice, "c1", "bob")
	say(t, alice, "c1", 2) // 3, 4
	eventually(t, "the new entries come", func() bool {
		all := got.entries("c1")
		return len(all) > n && all[len(all)-1].Seq == 4
	})
	inOrder(t, got.entries("c1")[n:], got.entries("c1")[n].Seq)
}

// An entry that did not come is fetched when the next one does.
func TestGapIsFilled(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	alice, bob := connect(t, s.options("alice")), connect(t, s.through("bob", p))
	conversation(t, alice, "c1", "bob")
	got := read(t, bob)
	got.until("c1", 2)
	dropped := p.once(publishPacket, false, drop)
	say(t, alice, "c1", 2)
	inOrder(t, got.until("c1", 4), got.entries("c1")[0].Seq)
	<-dropped
}

// Events go on where a client of before was.
func TestAfter(t *testing.T) {
	s := startServer(t)
	alice, bob := connect(t, s.options("alice")), connect(t, s.options("bob"))
	conversation(t, alice, "c1", "bob")
	conversation(t, alice, "quiet", "bob")
	got := read(t, bob)
	say(t, alice, "c1", 2)
	got.until("c1", 4)
	cursor := bob.Cursor()
	_ = bob.Close()
	say(t, alice, "c1", 2) // 5, 6

	o := s.options("bob")
	o.After = cursor
	again := connect(t, o)
	got = read(t, again)
	await(got, "online", func(st client.Status) bool { return st.State == client.StateOnline })
	say(t, alice, "c1", 1) // 7
	say(t, alice, "quiet", 1)
	all := got.until("c1", 7)
	if all[0].Seq > 5 {
		t.Errorf("the first is %d; 5 is missing", all[0].Seq)
	}
	inOrder(t, all, all[0].Seq)
	got.until("quiet", 3)

	_ = again.Close()
	say(t, alice, "c1", 2) // 8, 9

	// What is new does not come before what was missed, whatever is in the way.
	rest := newRESTProxy(t, s.web)
	missed := make(chan struct{})
	rest.setRule(func(r *http.Request) deed {
		select {
		case <-missed:
			return pass
		default:
		}
		if r.URL.Query().Get("after") != "" {
			return cut
		}
		return pass
	})
	o.After, o.URL, o.RESTURL = again.Cursor(), "mqtt://"+s.mqtt, rest.URL
	third := connect(t, o)
	got = read(t, third)
	say(t, alice, "c1", 1) // 10
	eventually(t, "fetching has failed", func() bool { return rest.asked.Load() > 2 })
	close(missed)
	all = got.until("c1", 10)
	if inOrder(t, all, all[0].Seq); all[0].Seq > 8 {
		t.Errorf("the first is %d; 8 is missing", all[0].Seq)
	}
}

// A send whose context ends is given up; the same one again stands once.
func TestSendGivenUp(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	alice := connect(t, s.through("alice", p))
	conversation(t, alice, "c1")
	p.setRule(func(kind byte, fromClient bool) deed {
		if kind == pubackPacket {
			return cut
		}
		return pass
	})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	first := make(chan error, 1)
	go func() {
		_, err := alice.Send(ctx, "c1", client.Draft{Content: "x", ClientID: "a-1"})
		first <- err
	}()
	_, err := alice.Send(ctx, "c1", client.Draft{Content: "behind it"})
	var e *client.Error
	for _, err := range []error{err, <-first} {
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &e) || e.Code != client.CodeCanceled || e.ClientID == "" {
			t.Errorf("given up: %v", err)
		}
	}
	p.setRule(nil)
	if sent, err := alice.Send(t.Context(), "c1", client.Draft{Content: "x", ClientID: "a-1"}); err != nil || sent.ClientID != "a-1" {
		t.Errorf("again: %+v, %v", sent, err)
	}
	h, err := alice.History(t.Context(), "c1", client.Range{})
	n := 0
	for _, e := range h.Items {
		if e.ClientID == "a-1" {
			n++
		}
	}
	if err != nil || n != 1 {
		t.Errorf("it stands %d times, %v", n, err)
	}
}

// What a process left in the outbox is sent by the next one, once.
func TestOutbox(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	owner := connect(t, s.options("owner"))
	conversation(t, owner, "c1", "alice")
	dir := t.TempDir()
	open := func() client.Options {
		o := s.through("alice", p)
		outbox, err := client.OpenOutbox(dir)
		if err != nil {
			t.Fatal(err)
		}
		o.Outbox = outbox
		return o
	}
	alice := connect(t, open())
	committed := p.once(pubackPacket, false, cut)
	var wg sync.WaitGroup
	for _, text := range []string{"one", "two"} {
		wg.Go(func() {
			_, err := alice.Send(t.Context(), "c1", client.Draft{Content: text, ClientID: text})
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("sending %s: %v, want that it is closed", text, err)
			}
		})
		if text == "one" {
			<-committed // and not known to be
			p.setRule(func(byte, bool) deed { return cut })
		}
	}
	eventually(t, "both are kept", func() bool {
		o, _ := client.OpenOutbox(dir)
		all, err := o.Load()
		return err == nil && len(all) == 2
	})
	_ = alice.Close()
	wg.Wait()

	p.setRule(nil)
	next := connect(t, open())
	got := read(t, next)
	for _, id := range []string{"one", "two"} {
		r := await(got, id+" is sent", func(r client.Resent) bool { return r.Pending.ClientID == id })
		if r.Err != nil || r.Sent.Seq == 0 || r.Pending.ConversationID != "c1" || r.Pending.Content != id {
			t.Errorf("%+v", r)
		}
	}
	h, err := owner.History(t.Context(), "c1", client.Range{After: 2})
	if err != nil || len(h.Items) != 2 || h.Items[0].Content != "one" || h.Items[1].Content != "two" {
		t.Errorf("the log is %+v, %v; want each once, in order", h.Items, err)
	}
	o, _ := client.OpenOutbox(dir)
	if all, err := o.Load(); err != nil || len(all) != 0 {
		t.Errorf("the outbox still has %v, %v", all, err)
	}
}
