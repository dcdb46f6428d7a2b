package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

func TestSendAndReceive(t *testing.T) {
	s := startServer(t)
	overTCP := s.options("bob")
	overTCP.URL, overTCP.RESTURL = "mqtt://"+s.mqtt, "http://"+s.web
	alice, bob := connect(t, s.options("alice")), connect(t, overTCP)
	got := read(t, bob)
	conversation(t, alice, "c1", "bob")

	sent, err := alice.Send(t.Context(), "c1", client.Draft{Content: "hi", ClientID: "a-1"})
	if err != nil || sent.Seq != 3 || sent.ID == "" || sent.ClientID != "a-1" || sent.CreatedAt.IsZero() {
		t.Fatalf("sent %+v, %v", sent, err)
	}
	again, err := alice.Send(t.Context(), "c1", client.Draft{Content: "hi", ClientID: "a-1"})
	if err != nil || again.Seq != 3 || again.ID != sent.ID {
		t.Fatalf("sent again %+v, %v; want what stands", again, err)
	}
	if _, err := alice.Edit(t.Context(), "c1", 3, "hi bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.React(t.Context(), "c1", 3, "👍", false); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.React(t.Context(), "c1", 3, "👍", true); err != nil {
		t.Fatal(err)
	}
	if sent, err = alice.Delete(t.Context(), "c1", 3); err != nil {
		t.Fatal(err)
	}
	all := got.until("c1", sent.Seq)
	inOrder(t, all, all[0].Seq)
	var types []string
	for _, e := range all[len(all)-5:] {
		types = append(types, e.Type)
	}
	if got := strings.Join(types, " "); got != "message edit reaction reaction delete" {
		t.Errorf("the entries are %s", got)
	}
	if alice.UserID() != "alice" {
		t.Errorf("the user is %q", alice.UserID())
	}
}

func TestRefusals(t *testing.T) {
	s := startServer(t)
	alice, bob := connect(t, s.options("alice")), connect(t, s.options("bob"))
	conversation(t, alice, "c1")
	tests := []struct {
		name string
		do   func() error
		want error
	}{
		{"not a member", func() error { _, err := bob.Send(t.Context(), "c1", client.Draft{Content: "x"}); return err }, client.ErrForbidden},
		{"empty", func() error { _, err := alice.Send(t.Context(), "c1", client.Draft{}); return err }, client.ErrInvalid},
		{"not UTF-8", func() error {
			_, err := alice.Send(t.Context(), "c1", client.Draft{Content: "a\xff"})
			return err
		}, client.ErrInvalid},
		{"no target", func() error { _, err := alice.React(t.Context(), "c1", 77, "👍", false); return err }, client.ErrNotFound},
		{"bad id", func() error { _, err := alice.Send(t.Context(), "a/b", client.Draft{Content: "x"}); return err }, client.ErrInvalid},
		{"REST", func() error { _, err := bob.Conversation(t.Context(), "c1"); return err }, client.ErrForbidden},
	}
	for _, tt := range tests {
		err := tt.do()
		var e *client.Error
		if !errors.Is(err, tt.want) || !errors.As(err, &e) || e.Message == "" {
			t.Errorf("%s: %v, want %v with a message", tt.name, err, tt.want)
		}
	}
}

func TestREST(t *testing.T) {
	s := startServer(t)
	alice, bob := connect(t, s.options("alice")), connect(t, s.options("bob"))
	ctx := t.Context()
	conversation(t, alice, "c1", "bob")
	for _, text := range []string{"one", "two", "three"} {
		if _, err := alice.Send(ctx, "c1", client.Draft{Content: text, Mentions: []string{"bob"}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := bob.React(ctx, "c1", 3, "👍", false); err != nil {
		t.Fatal(err)
	}
	h, err := alice.History(ctx, "c1", client.Range{Before: 5, Limit: 2})
	if err != nil || len(h.Items) != 2 || h.Items[0].Seq != 3 || h.HeadSeq != 6 || h.FirstSeq != 1 {
		t.Errorf("history %+v, %v", h, err)
	}
	if h, err := alice.History(ctx, "c1", client.Range{FromStart: true, Limit: 1}); err != nil || len(h.Items) != 1 || h.Items[0].Seq != 1 {
		t.Errorf("history from the start %+v, %v", h, err)
	}
	m, err := alice.Messages(ctx, "c1", client.Range{})
	if err != nil || len(m.Items) != 3 || len(m.Items[0].Reactions) != 1 || m.Items[0].Reactions[0].UserIDs[0] != "bob" {
		t.Errorf("messages %+v, %v", m, err)
	}
	list, err := bob.Conversations(ctx, client.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Unread != 3 || list.Items[0].LastMessage.Content != "three" {
		t.Errorf("conversations %+v, %v", list, err)
	}
	if err := bob.MarkRead(ctx, "c1", 5); err != nil {
		t.Error(err)
	}
	receipts, err := alice.Receipts(ctx, "c1")
	if err != nil || len(receipts) != 2 {
		t.Errorf("receipts %+v, %v", receipts, err)
	}
	if found, err := bob.Search(ctx, "two", "", client.ListOptions{}); err != nil || len(found.Items) != 1 {
		t.Errorf("found %+v, %v", found, err)
	}
	if members, err := bob.Members(ctx, "c1", client.ListOptions{}); err != nil || len(members.Items) != 2 {
		t.Errorf("members %+v, %v", members, err)
	}
	if n, err := bob.Notifications(ctx, client.ListOptions{Unread: true}); err != nil || len(n.Items) != 3 {
		t.Errorf("notifications %+v, %v", n, err)
	}
	if left, err := bob.MarkNotificationsRead(ctx, client.ReadNotifications{UpTo: 2}); err != nil || left != 1 {
		t.Errorf("%d are unread, %v; want 1", left, err)
	}
	if who, err := bob.Presences(ctx, "alice"); err != nil || len(who) != 1 || who[0].Status != client.Online {
		t.Errorf("presences %+v, %v", who, err)
	}
	if err := alice.RenameConversation(ctx, "c1", "Lunch"); err != nil {
		t.Error(err)
	}
	if err := bob.ArchiveConversation(ctx, "c1", true); err != nil {
		t.Error(err)
	}
	if err := alice.AddMember(ctx, "c1", "carol", client.RoleAdmin); err != nil {
		t.Error(err)
	}
	if err := alice.RemoveMember(ctx, "c1", "carol"); err != nil {
		t.Error(err)
	}
	if err := alice.DeleteConversation(ctx, "c1"); err != nil {
		t.Error(err)
	}
}

func TestLiveEvents(t *testing.T) {
	s := startServer(t)
	alice, bob := connect(t, s.options("alice")), connect(t, s.options("bob"))
	conversation(t, alice, "c1", "bob")
	got := read(t, alice)
	await(got, "alice is online", func(st client.Status) bool { return st.State == client.StateOnline })
	await(got, "bob is there", func(p client.Presence) bool { return p.UserID == "bob" && p.Status == client.Online })

	bob.Typing("c1", true)
	await(got, "bob types", func(ty client.Typing) bool {
		return ty == client.Typing{ConversationID: "c1", UserID: "bob", Typing: true}
	})
	if err := bob.SetPresence(client.Away); err != nil {
		t.Fatal(err)
	}
	await(got, "bob is away", func(p client.Presence) bool { return p.UserID == "bob" && p.Status == client.Away })
	if err := bob.MarkRead(t.Context(), "c1", 1); err != nil {
		t.Fatal(err)
	}
	sent, err := bob.Send(t.Context(), "c1", client.Draft{Content: "@alice", Mentions: []string{"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	await(got, "bob has read what he wrote", func(r client.Receipt) bool {
		return r.ConversationID == "c1" && r.UserID == "bob" && r.Read == sent.Seq && !r.At.IsZero()
	})
	await(got, "the mention", func(n client.Notification) bool { return n.Type == "mention" && n.SenderID == "bob" })
	await(got, "the count", func(u client.Unread) bool { return u.UnreadCount == 1 })
	_ = bob.Close()
	await(got, "bob is gone", func(p client.Presence) bool {
		return p.UserID == "bob" && p.Status == client.Offline && !p.LastSeen.IsZero()
	})

	_ = alice.Close()
	<-got.done
	all := got.all()
	if last, ok := all[len(all)-1].(client.Status); !ok || last.State != client.StateClosed || last.Err != nil {
		t.Errorf("the last event is %+v, want the end", all[len(all)-1])
	}
	if _, err := alice.Send(t.Context(), "c1", client.Draft{Content: "x"}); !errors.Is(err, client.ErrClosed) {
		t.Errorf("a closed client sends: %v", err)
	}
	if err := alice.Ready(t.Context()); !errors.Is(err, client.ErrClosed) {
		t.Errorf("a closed client is ready: %v", err)
	}
}

func TestOptions(t *testing.T) {
	token := client.StaticToken("x")
	tests := []struct {
		o    client.Options
		want string
	}{
		{client.Options{URL: "http://localhost"}, "Token"},
		{client.Options{Token: token}, "URL"},
		{client.Options{Token: token, URL: "ftp://localhost"}, "URL"},
		{client.Options{Token: token, URL: "http://me:pw@localhost"}, "URL"},
		{client.Options{Token: token, URL: "http://localhost?token=1"}, "URL"},
		{client.Options{Token: token, URL: "mqtt://localhost"}, "RESTURL"},
		{client.Options{Token: token, URL: "mqtt://localhost", RESTURL: "ws://localhost"}, "RESTURL"},
	}
	for _, tt := range tests {
		_, err := client.New(tt.o)
		var e *client.Error
		if !errors.As(err, &e) || e.Field != tt.want || !errors.Is(err, client.ErrInvalid) {
			t.Errorf("%s: %v, want an error about %s", tt.o.URL, err, tt.want)
		}
	}
}

func TestNoServer(t *testing.T) {
	ports := proctest.FreePorts(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := client.Connect(ctx, client.Options{URL: "http://" + ports[0], Token: mint(t, "alice", time.Hour), MinBackoff: 10 * time.Millisecond})
	if !errors.Is(err, client.ErrNetwork) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("connecting to nobody: %v", err)
	}
}
