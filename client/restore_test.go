package client_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// backup copies the database as an operator does, while the server runs.
func (s *server) backup() (file string) {
	s.t.Helper()
	file = filepath.Join(s.t.TempDir(), "backup.db")
	cmd := exec.Command(proctest.Program, "backup", "--data-dir", filepath.Join(s.dir, "parley-data"), "--to", file)
	if text, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, text)
	}
	return file
}

// restore puts a backup in place of the database.
func (s *server) restore(file string) {
	s.t.Helper()
	s.kill()
	dir := filepath.Join(s.dir, "parley-data")
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700), os.Rename(file, filepath.Join(dir, "parley.db"))); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

// A cursor that was kept over a restore of the database is none any more. The
// client begins anew, and tells of every conversation that it must be loaded.
func TestAfterOfAnotherDatabase(t *testing.T) {
	s := startServer(t)
	alice, bob := connect(t, s.options("alice")), connect(t, s.options("bob"))
	conversation(t, alice, "c1", "bob")
	conversation(t, alice, "c2", "bob")
	file := s.backup()
	got := read(t, bob)
	say(t, alice, "c1", 5)
	got.until("c1", 7)
	o := s.options("bob")
	o.After = bob.Cursor()
	_ = bob.Close()

	s.restore(file)
	say(t, alice, "c1", 1) // 3
	for _, after := range []string{o.After, "nonsense"} {
		o.After = after
		again := connect(t, o)
		got = read(t, again)
		head, err := again.Conversation(t.Context(), "c1")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []client.Gap{{ConversationID: "c1", First: head.HeadSeq + 1}, {ConversationID: "c2", First: 3}, {}} {
			await(got, "the gap", func(g client.Gap) bool { return g == want })
		}
		await(got, "online", func(st client.Status) bool { return st.State == client.StateOnline })
		say(t, alice, "c1", 1)
		inOrder(t, got.until("c1", head.HeadSeq+1), head.HeadSeq+1)
		if again.Cursor() == after {
			t.Error("the cursor is the one that was refused")
		}
		_ = again.Close()
	}
}

// A client that runs is told of each conversation too, also where the head is
// as high again as it was: its entries are others.
func TestRestoreUnderARunningClient(t *testing.T) {
	s := startServer(t)
	p := newProxy(t, s.mqtt)
	alice, bob := connect(t, s.options("alice")), connect(t, s.through("bob", p))
	conversation(t, alice, "c1", "bob")
	file := s.backup()
	got := read(t, bob)
	say(t, alice, "c1", 2) // 3, 4
	got.until("c1", 4)

	p.setRule(func(byte, bool) deed { return cut }) // bob is away until all is as high again
	s.restore(file)
	say(t, alice, "c1", 2) // 3, 4
	p.setRule(nil)
	await(got, "the gap", func(g client.Gap) bool { return g == client.Gap{ConversationID: "c1", First: 5} })
	n := len(got.entries("c1"))
	say(t, alice, "c1", 1) // 5
	eventually(t, "the next entry comes", func() bool {
		all := got.entries("c1")
		return len(all) == n+1 && all[n].Seq == 5
	})
}

// A conversation is made again of which the client has had no entry: what comes
// of the new one is not taken for what it had.
func TestUnreadConversationMadeAgain(t *testing.T) {
	s := startServer(t)
	alice := connect(t, s.options("alice"))
	conversation(t, alice, "c1", "bob")
	say(t, alice, "c1", 5) // to 7
	got := read(t, connect(t, s.options("bob")))
	await(got, "online", func(st client.Status) bool { return st.State == client.StateOnline })
	if err := alice.DeleteConversation(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	conversation(t, alice, "c1", "bob")
	say(t, alice, "c1", 1) // 3
	inOrder(t, got.until("c1", 3), 2)
}
