package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/webhook"
)

// What happens is told as the documentation says, in order, and signed.
func TestEvents(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s, e := parleytest.New(t, backend), newEndpoint(t, nil)
		dispatch(t, s, e)
		s.Conversation("c1", "alice", "bob")
		out := send(t, s, "c1", "alice", chat.Body{Content: "<hi> \"you\" 👍", ClientID: "a-1"})
		send(t, s, "c1", "bob", chat.Body{Type: chat.TypeReaction, Target: out.Seq, Emoji: "👍"})
		send(t, s, "c1", "alice", chat.Body{Type: chat.TypeEdit, Target: out.Seq, Content: "ho"})
		if err := s.Log.RenameConversation(t.Context(), bridge.Actor{UserID: "alice"}, "c1", "new"); err != nil {
			t.Fatal(err)
		}
		e.waitTook(4) // who has left is not named
		if err := s.Log.RemoveMember(t.Context(), bridge.Actor{UserID: "alice"}, "c1", "bob"); err != nil {
			t.Fatal(err)
		}
		took := e.waitTook(5)

		id, at := out.ID.String(), out.CreatedAt.Format(chat.TimeFormat)
		message := `{"id":"` + id + `","conversationId":"c1","seq":3,"type":"message","senderId":"alice",` +
			`"content":"<hi> \"you\" 👍","clientId":"a-1","createdAt":"` + at + `"}`
		want := []struct{ kind, data string }{
			{"member.joined", `{"userId":"alice","by":"alice","seq":1}`},
			{"member.joined", `{"userId":"bob","by":"alice","seq":2}`},
			{"message.created", message},
			{"user.offline_message", `{"userIds":["bob"],"message":` + message + `}`},
			{"member.left", `{"userId":"bob","by":"alice","seq":7}`},
		}
		for i, w := range want {
			d := took[i]
			if d.Type != w.kind || string(d.Data) != w.data || d.ConversationID != "c1" {
				t.Errorf("event %d: %s, want %s with %s", i, d.Body, w.kind, w.data)
			}
			wantSigned(t, d)
		}
		if got := string(took[2].Body); got != `{"id":"`+id+`:message.created","type":"message.created","createdAt":"`+at+
			`","conversationId":"c1","data":`+message+`}` {
			t.Errorf("got %s", got)
		}
	})
}

func wantSigned(t *testing.T, d delivery) {
	t.Helper()
	for key, want := range map[string]string{"Content-Type": "application/json", "User-Agent": "Parley",
		"Parley-Event": d.Type, "Parley-Delivery": d.ID} {
		if got := d.Header.Values(key); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	if _, sent := d.Header["Idempotency-Key"]; sent {
		t.Error("Idempotency-Key was sent")
	}
	signature := d.Header.Get("Parley-Signature")
	var at int64
	var sum string
	if n, err := fmt.Sscanf(signature, "t=%d,v1=%s", &at, &sum); n != 2 || err != nil {
		t.Fatalf("the signature is %q", signature)
	}
	if age := time.Since(time.Unix(at, 0)); age < -time.Second || age > time.Minute {
		t.Errorf("it was signed %v ago", age)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(fmt.Appendf(nil, "%d.%s", at, d.Body))
	if want := hex.EncodeToString(mac.Sum(nil)); sum != want {
		t.Errorf("the signature is %s, want %s", sum, want)
	}
}

// Only the events that are wanted are sent.
func TestFilter(t *testing.T) {
	s, e := parleytest.New(t, "sqlite"), newEndpoint(t, nil)
	dispatch(t, s, e, only(webhook.MemberLeft))
	s.Conversation("c", "alice", "bob")
	send(t, s, "c", "alice", say("hi"))
	if err := s.Log.RemoveMember(t.Context(), bridge.Actor{UserID: "bob"}, "c", "bob"); err != nil {
		t.Fatal(err)
	}
	took := e.waitTook(1)
	if len(took) != 1 || took[0].Type != webhook.MemberLeft || string(took[0].Data) != `{"userId":"bob","by":"bob","seq":4}` {
		t.Errorf("took %s", e.list())
	}
}

func TestCheckEvents(t *testing.T) {
	if err := webhook.CheckEvents([]string{"message.created", "member.joined", "member.left", "user.offline_message"}); err != nil {
		t.Error(err)
	}
	if err := webhook.CheckEvents([]string{"message.created", "message.sent"}); err == nil || !strings.Contains(err.Error(), `"message.sent"`) {
		t.Errorf("got %v", err)
	}
}

// Whatever goes wrong on the way, each conversation is told in order and once.
func TestOrderUnderFailures(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		e := newEndpoint(t, func(_ delivery, w http.ResponseWriter, _ *http.Request) int {
			switch rand.N(6) {
			case 0:
				return http.StatusInternalServerError
			case 1:
				return http.StatusServiceUnavailable
			case 2:
				return http.StatusGone
			case 3:
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil {
					conn.Close()
				}
				return 0
			}
			return http.StatusOK
		})
		d := dispatch(t, s, e, only(webhook.MessageCreated))
		const convs, messages = 7, 40
		var senders sync.WaitGroup
		for c := range convs {
			name := fmt.Sprint("c", c)
			s.Conversation(name, "alice")
			senders.Go(func() {
				for i := range messages {
					send(t, s, name, "alice", say(fmt.Sprint(i)))
				}
			})
		}
		senders.Wait()
		e.wait("all", func(_, took []delivery) bool { return len(took) >= convs*messages })
		d.stop()
		got := contents(t, e.took)
		for c := range convs {
			for i, content := range got[fmt.Sprint("c", c)] {
				if content != fmt.Sprint(i) {
					t.Fatalf("c%d: message %d is %q", c, i, content)
				}
			}
		}
		if len(e.took) != convs*messages {
			t.Errorf("took %d of %d", len(e.took), convs*messages)
		}
		if got := d.metric("parley_webhook_deliveries_total"); got != convs*messages {
			t.Errorf("the metric counts %v", got)
		}
		// A request on a connection that the endpoint closes may go out anew on
		// another, which is no failure.
		if got := int(d.metric("parley_webhook_failures_total")); got == 0 || got > len(e.tries)-len(e.took) {
			t.Errorf("the metric counts %v failures of %d", got, len(e.tries)-len(e.took))
		}
		if got := d.metric("parley_webhook_behind_entries"); got != 0 {
			t.Errorf("%v entries are behind", got)
		}
	})
}

// amnesiac cannot save places: as if the process died before.
type amnesiac struct{ bridge.Webhooks }

func (amnesiac) SaveWebhookPlaces(context.Context, []bridge.Cursor) error {
	return bridge.ErrUnavailable
}

// What was sent and not noted is sent again, under the same id; nothing is
// left out.
func TestAtLeastOnce(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s, e := parleytest.New(t, backend), newEndpoint(t, nil)
		d := dispatch(t, s, e, only(webhook.MessageCreated), func(c *webhook.Config) { c.Store = amnesiac{c.Store} })
		s.Conversation("c", "alice")
		for i := range 5 {
			send(t, s, "c", "alice", say(fmt.Sprint(i)))
		}
		first := e.waitTook(5)
		if err := d.Close(t.Context()); !errors.Is(err, bridge.ErrUnavailable) {
			t.Errorf("closing answered %v", err)
		}
		d.stopped = true

		d = dispatch(t, s, e, only(webhook.MessageCreated))
		send(t, s, "c", "alice", say("5"))
		all := e.waitTook(11)
		d.stop()
		if got := contents(t, all)["c"]; !reflect.DeepEqual(got, strings.Fields("0 1 2 3 4 0 1 2 3 4 5")) {
			t.Errorf("got %v", got)
		}
		for i, d := range first {
			if again := all[5+i]; again.ID != d.ID || !bytes.Equal(again.Body, d.Body) {
				t.Errorf("%s, and again %s", d.Body, again.Body)
			}
		}
	})
}

// A restart goes on where the last process ended, and finds what was committed
// while there was none.
func TestRestart(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s, e := parleytest.New(t, backend), newEndpoint(t, nil)
		s.Conversation("old", "alice")
		send(t, s, "old", "alice", say("before webhooks"))

		d := dispatch(t, s, e, only(webhook.MessageCreated))
		s.Conversation("new", "alice")
		send(t, s, "old", "alice", say("a"))
		send(t, s, "new", "alice", say("b"))
		e.waitTook(2)
		d.stop()

		s.Conversation("newer", "alice")
		for _, conv := range []string{"old", "new", "newer"} {
			send(t, s, conv, "alice", say("while off"))
		}
		d = dispatch(t, s, e, only(webhook.MessageCreated))
		took := e.waitTook(5)
		d.stop()
		want := map[string][]string{"old": {"a", "while off"}, "new": {"b", "while off"}, "newer": {"while off"}}
		if got := contents(t, took); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}

		dispatch(t, s, e, only(webhook.MessageCreated))
		send(t, s, "old", "alice", say("last"))
		if took = e.waitTook(6); took[5].says(t).Content != "last" {
			t.Errorf("a start with nothing to tell told %s", took[5].Body)
		}
	})
}

// An endpoint that answers nothing holds up no commit, and takes no memory for
// what it misses. When it answers again all is told.
func TestSlowEndpoint(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		release := make(chan struct{})
		e := newEndpoint(t, func(_ delivery, _ http.ResponseWriter, r *http.Request) int {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return http.StatusOK
		})
		const convs, messages, pending = 60, 10, 20
		d := dispatch(t, s, e, only(webhook.MessageCreated), func(c *webhook.Config) {
			c.Pending, c.Concurrency = pending, 4
			c.LookEvery = time.Hour // room is what makes it look
		})
		var senders sync.WaitGroup
		for c := range convs {
			name := fmt.Sprint("c", c)
			s.Conversation(name, "alice")
			senders.Go(func() {
				for i := range messages {
					send(t, s, name, "alice", say(fmt.Sprint(i)))
				}
			})
		}
		senders.Wait() // all are committed, though nothing was taken
		if len(e.took) > 0 {
			t.Fatalf("took %d", len(e.took))
		}
		if got := d.metric("parley_webhook_behind_entries"); got == 0 || got > pending*(messages+1) {
			t.Errorf("%v entries are known to be behind, of %d conversations", got, pending)
		}
		if got := d.metric("parley_webhook_oldest_seconds"); got <= 0 {
			t.Errorf("the oldest is %v seconds old", got)
		}
		if got := d.metric("parley_webhook_inflight"); got < 1 || got > 4 {
			t.Errorf("%v requests are under way", got)
		}
		close(release)
		got := contents(t, e.waitTook(convs*messages))
		for c, all := range got {
			if len(all) != messages {
				t.Errorf("%s got %v", c, all)
			}
		}
	})
}

// A request that takes too long is tried again.
func TestTimeout(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	var tries atomic.Int32
	e := newEndpoint(t, func(_ delivery, _ http.ResponseWriter, r *http.Request) int {
		if tries.Add(1) == 1 {
			<-r.Context().Done()
		}
		return http.StatusOK
	})
	d := dispatch(t, s, e, only(webhook.MessageCreated), func(c *webhook.Config) { c.Timeout = 100 * time.Millisecond })
	s.Conversation("c", "alice")
	send(t, s, "c", "alice", say("hi"))
	e.wait("the second try", func(tries, took []delivery) bool { return len(tries) == 2 })
	d.stop()
	if d.metric("parley_webhook_failures_total") != 1 || e.tries[0].ID != e.tries[1].ID {
		t.Errorf("%v failures, tries %s and %s", d.metric("parley_webhook_failures_total"), e.tries[0].ID, e.tries[1].ID)
	}
}

// An event that the endpoint refuses is tried for a while, then skipped and
// told to the operator, without what it says. What comes behind it waited.
func TestGiveUp(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		e := newEndpoint(t, func(d delivery, _ http.ResponseWriter, _ *http.Request) int {
			if strings.Contains(string(d.Body), "poison") {
				return http.StatusBadRequest
			}
			return http.StatusOK
		})
		var log syncBuffer
		d := dispatch(t, s, e, only(webhook.MessageCreated), func(c *webhook.Config) {
			c.GiveUp, c.Logger = 30*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
		})
		s.Conversation("c", "alice")
		bad := send(t, s, "c", "alice", say("poison"))
		send(t, s, "c", "alice", say("after"))
		took := e.waitTook(1)
		d.stop()
		if took[0].says(t).Content != "after" || len(e.tries) < 3 {
			t.Errorf("%d tries, took %s", len(e.tries), took[0].Body)
		}
		if got := d.metric("parley_webhook_given_up_total"); got != 1 {
			t.Errorf("%v were given up", got)
		}
		if text := log.String(); !strings.Contains(text, "given up") || !strings.Contains(text, bad.ID.String()+":message.created") ||
			strings.Contains(text, "poison") {
			t.Errorf("logged %s", text)
		}
	})
}

// What finds nobody is not given up: it waits in the log, where it costs
// nothing.
func TestAwayIsNotRefusal(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	var tries atomic.Int32
	e := newEndpoint(t, func(delivery, http.ResponseWriter, *http.Request) int {
		return []int{503, 429, 408, 502, 504, 503, 200}[min(tries.Add(1)-1, 6)]
	})
	d := dispatch(t, s, e, only(webhook.MessageCreated), func(c *webhook.Config) { c.GiveUp = time.Nanosecond })
	s.Conversation("c", "alice")
	send(t, s, "c", "alice", say("hi"))
	e.waitTook(1)
	d.stop()
	if got := d.metric("parley_webhook_given_up_total"); got != 0 || len(e.tries) != 7 {
		t.Errorf("%v were given up, %d tries", got, len(e.tries))
	}
}

// What was erased before it is told is told without what it said, also when it
// was read already.
func TestDeleted(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s := parleytest.New(t, backend)
		s.Conversation("c", "alice", "bob")
		entered, release := make(chan struct{}), make(chan struct{})
		var once sync.Once
		e := newEndpoint(t, func(delivery, http.ResponseWriter, *http.Request) int {
			once.Do(func() { close(entered); <-release })
			return http.StatusOK
		})
		d := dispatch(t, s, e)
		d.stop() // so that the next run reads all of it at once
		send(t, s, "c", "alice", say("one"))
		two := send(t, s, "c", "alice", say("secret two"))
		send(t, s, "c", "alice", say("three"))
		dispatch(t, s, e)
		<-entered
		send(t, s, "c", "alice", chat.Body{Type: chat.TypeDelete, Target: two.Seq})
		close(release)
		took := e.waitTook(5)
		for _, d := range took {
			if bytes.Contains(d.Body, []byte("secret")) {
				t.Errorf("told %s", d.Body)
			}
		}
		got := took[2].says(t)
		if took[2].Type != webhook.MessageCreated || got.ID != two.ID.String() || !got.Deleted || got.Content != "" {
			t.Errorf("the deleted message is told as %s", took[2].Body)
		}
		if took[3].says(t).Content != "three" || took[4].says(t).Message.Content != "three" {
			t.Errorf("after it came %s and %s", took[3].Body, took[4].Body)
		}
	})
}

// Those who have a live session, the sender, and those who joined later are
// not named. Nobody to name is no event.
func TestOffline(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s, e := parleytest.New(t, backend), newEndpoint(t, nil)
		s.Conversation("c", "alice", "bob", "carol", "dave")
		d := dispatch(t, s, e, only(webhook.UserOfflineMessage))
		bob := s.Connect("bob", mqttest.Options{ClientID: "b"})
		second := s.Connect("bob", mqttest.Options{ClientID: "b2"})
		send(t, s, "c", "alice", say("one"))
		wantOffline(t, e.waitTook(1)[0], "carol", "dave")

		second.Disconnect()
		second.ExpectClosed()
		send(t, s, "c", "carol", say("two"))
		wantOffline(t, e.waitTook(2)[1], "alice", "dave")

		s.Connect("alice", mqttest.Options{ClientID: "a"})
		s.Connect("dave", mqttest.Options{ClientID: "d"})
		send(t, s, "c", "carol", say("nobody is away"))
		send(t, s, "c", "alice", say("three"))
		wantOffline(t, e.waitTook(3)[2], "carol")
		bob.Disconnect()
		bob.ExpectClosed()
		waitGone(t, s, "bob")
		d.stop()

		send(t, s, "c", "alice", say("four"))
		if _, _, err := s.Log.PutMember(t.Context(), bridge.Actor{UserID: "alice"}, "c", "erin", chat.RoleMember); err != nil {
			t.Fatal(err)
		}
		dispatch(t, s, e, only(webhook.UserOfflineMessage))
		wantOffline(t, e.waitTook(4)[3], "bob", "carol")
	})
}

// Who has muted the conversation, wants nothing at all or has quiet hours now
// is not named. Nobody to name is no event.
func TestOfflineUnwilling(t *testing.T) {
	quiet := &bridge.QuietHours{From: "22:00", To: "07:00", TimeZone: "Europe/Vienna"}
	now := time.Date(2026, 1, 5, 22, 30, 0, 0, time.UTC) // 23:30 in Vienna
	parleytest.Each(t, func(t *testing.T, backend string) {
		s, e := parleytest.New(t, backend), newEndpoint(t, nil)
		s.Conversation("c", "alice", "muted", "disabled", "asleep", "awake", "other", "bob")
		prefer := func(user string, p bridge.Preferences) {
			t.Helper()
			if err := s.Log.SavePreferences(t.Context(), user, p); err != nil {
				t.Fatal(err)
			}
		}
		prefer("muted", bridge.Preferences{Enabled: true, MutedConversations: []string{"b", "c"}})
		prefer("disabled", bridge.Preferences{})
		prefer("asleep", bridge.Preferences{Enabled: true, Quiet: quiet})
		prefer("awake", bridge.Preferences{Enabled: true, Quiet: &bridge.QuietHours{From: "07:00", To: "22:00", TimeZone: "UTC"}})
		prefer("other", bridge.Preferences{Enabled: true, Muted: []string{"mention"}, MutedConversations: []string{"b"}})
		d := dispatch(t, s, e, only(webhook.UserOfflineMessage), func(c *webhook.Config) { c.Now = func() time.Time { return now } })
		send(t, s, "c", "alice", say("one"))
		wantOffline(t, e.waitTook(1)[0], "awake", "other", "bob")
		d.stop()

		prefer("muted", bridge.DefaultPreferences())
		for _, user := range []string{"awake", "other", "bob"} {
			prefer(user, bridge.Preferences{})
		}
		at := now.Add(8 * time.Hour) // 07:30 in Vienna
		d = dispatch(t, s, e, only(webhook.UserOfflineMessage), func(c *webhook.Config) { c.Now = func() time.Time { return at } })
		send(t, s, "c", "alice", say("two"))
		wantOffline(t, e.waitTook(2)[1], "muted", "asleep")
		d.stop()

		prefer("muted", bridge.Preferences{})
		prefer("asleep", bridge.Preferences{})
		dispatch(t, s, e, only(webhook.MessageCreated, webhook.UserOfflineMessage))
		send(t, s, "c", "alice", say("nobody wants this"))
		send(t, s, "c", "alice", say("nor this"))
		if took := e.waitTook(4); took[2].Type != webhook.MessageCreated || took[3].Type != webhook.MessageCreated {
			t.Errorf("somebody is named: %s", took[3].Body)
		}
	})
}

func waitGone(t *testing.T, s *parleytest.Server, user string) {
	t.Helper()
	for limit := time.Now().Add(patience); s.Broker.Connected(user); {
		if time.Now().After(limit) {
			t.Fatalf("%s is still connected", user)
		}
	}
}

func wantOffline(t *testing.T, d delivery, want ...string) {
	t.Helper()
	if got := d.says(t).UserIDs; !reflect.DeepEqual(got, want) {
		t.Errorf("%s names %v, want %v", d.Body, got, want)
	}
}

// Many who are away come in parts, each with an id of its own.
func TestOfflineParts(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	var failed atomic.Bool
	e := newEndpoint(t, func(d delivery, _ http.ResponseWriter, _ *http.Request) int {
		if strings.HasSuffix(d.ID, ":2") && failed.CompareAndSwap(false, true) {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	dispatch(t, s, e, only(webhook.UserOfflineMessage))
	members := []string{"alice"}
	for i := range 2500 {
		members = append(members, fmt.Sprint("u", i))
	}
	s.Conversation("c", members...)
	out := send(t, s, "c", "alice", say("hi"))
	named := make(map[string]int)
	for i, d := range e.waitTook(3) {
		if want := out.ID.String() + ":user.offline_message" + []string{"", ":2", ":3"}[i]; d.ID != want {
			t.Errorf("part %d has the id %s", i, d.ID)
		}
		got := d.says(t)
		if len(got.UserIDs) > 1000 || got.Message.Content != "hi" {
			t.Errorf("part %d names %d users of %q", i, len(got.UserIDs), got.Message.Content)
		}
		for _, u := range got.UserIDs {
			named[u]++
		}
	}
	if len(named) != 2500 || named["alice"] > 0 || named["u0"] != 1 || named["u2499"] != 1 || len(e.tries) != 4 {
		t.Errorf("%d are named, in %d tries", len(named), len(e.tries))
	}
}

// A redirect is not followed.
func TestRedirect(t *testing.T) {
	s := parleytest.New(t, "sqlite")
	other := newEndpoint(t, nil)
	e := newEndpoint(t, func(_ delivery, w http.ResponseWriter, _ *http.Request) int {
		w.Header().Set("Location", other.URL)
		return http.StatusTemporaryRedirect
	})
	d := dispatch(t, s, e)
	s.Conversation("c", "alice")
	e.wait("three tries", func(tries, _ []delivery) bool { return len(tries) >= 3 })
	d.stop()
	if len(other.tries) > 0 {
		t.Error("the redirect was followed")
	}
}

// A conversation that was deleted and made again is told from its start.
func TestMadeAgain(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		s, e := parleytest.New(t, backend), newEndpoint(t, nil)
		dispatch(t, s, e, only(webhook.MessageCreated))
		for round := range 5 {
			s.Conversation("c", "alice")
			for i := range 5 + round {
				send(t, s, "c", "alice", say(fmt.Sprint(round, "-", i)))
			}
			took := e.waitTook(5)
			if got := took[0].says(t).Content; got != fmt.Sprint(round, "-", 0) {
				t.Errorf("round %d begins with %s", round, got)
			}
			e.wait("all", func(_, took []delivery) bool { return len(took) == 5+round })
			if err := s.Log.DeleteConversation(t.Context(), bridge.Actor{UserID: "alice"}, "c"); err != nil {
				t.Fatal(err)
			}
			e.mu.Lock()
			e.took = nil
			e.mu.Unlock()
		}
	})
}

// flaky fails half of its calls.
type flaky struct {
	bridge.Store
	failing atomic.Bool
}

func (f *flaky) fails() error {
	if f.failing.Load() && rand.N(2) == 0 {
		return bridge.ErrUnavailable
	}
	return nil
}

func (f *flaky) Read(ctx context.Context, r []bridge.Range) ([][]chat.Entry, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	return f.Store.Read(ctx, r)
}

func (f *flaky) Members(ctx context.Context, id string, after uint64, limit int) ([]bridge.Member, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	return f.Store.Members(ctx, id, after, limit)
}

func (f *flaky) EachPreferences(ctx context.Context, users []string, each func(string, *bridge.Preferences)) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Store.EachPreferences(ctx, users, each)
}

func (f *flaky) WebhookPlaces(ctx context.Context, streams []chat.StreamID) ([]uint64, error) {
	if err := f.fails(); err != nil {
		return nil, err
	}
	return f.Store.WebhookPlaces(ctx, streams)
}

func (f *flaky) SaveWebhookPlaces(ctx context.Context, places []bridge.Cursor) error {
	if err := f.fails(); err != nil {
		return err
	}
	return f.Store.SaveWebhookPlaces(ctx, places)
}

// A database that fails now and then loses nothing and swaps nothing.
func TestFlakyStore(t *testing.T) {
	f := &flaky{}
	f.failing.Store(true)
	s := parleytest.New(t, "sqlite", parleytest.Options{Store: func(s bridge.Store) bridge.Store { f.Store = s; return f }})
	e := newEndpoint(t, nil)
	d := dispatch(t, s, e, only(webhook.MessageCreated, webhook.UserOfflineMessage), func(c *webhook.Config) { c.Store = f })
	s.Conversation("c", "alice", "bob")
	for i := range 20 {
		send(t, s, "c", "alice", say(fmt.Sprint(i)))
	}
	got := contents(t, e.waitTook(40))["c"]
	for i, content := range got {
		if content != fmt.Sprint(i) {
			t.Fatalf("got %v", got)
		}
	}
	f.failing.Store(false)
	d.stop()
}

// syncBuffer is a bytes.Buffer for many.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
