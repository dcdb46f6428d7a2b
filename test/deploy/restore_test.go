package deploy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/client"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// sent is a message that was acknowledged.
type sent struct {
	ID  string
	Seq uint64
}

// say sends a message, and waits until it is acknowledged.
func (s *server) say(t testing.TB, conversation, content string) (m sent, err error) {
	body, err := json.Marshal(map[string]string{"content": content})
	if err != nil {
		return m, err
	}
	status, err := s.rest("POST", "/v1/conversations/"+conversation+"/messages", token(t, "alice", ""), body, &m)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("status %d", status)
	}
	return m, err
}

func (s *server) rest(method, path, token string, body []byte, into any) (status int, err error) {
	req, err := http.NewRequest(method, "http://"+s.web+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Do(req)
	if err != nil {
		return 0, err
	}
	err = json.NewDecoder(resp.Body).Decode(into)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}

// history is all of a conversation.
func (s *server) history(t *testing.T, conversation string) (all []sent) {
	t.Helper()
	for {
		var page struct {
			Items   []sent
			HeadSeq uint64
		}
		after := uint64(0)
		if len(all) > 0 {
			after = all[len(all)-1].Seq
		}
		path := fmt.Sprintf("/v1/conversations/%s/messages?limit=200&after=%d", conversation, after)
		if status, err := s.rest("GET", path, token(t, "alice", ""), nil, &page); err != nil || status != http.StatusOK {
			t.Fatalf("%s: status %d, %v", path, status, err)
		}
		all = append(all, page.Items...)
		if len(page.Items) == 0 || all[len(all)-1].Seq >= page.HeadSeq {
			return all
		}
	}
}

// tool runs a program that ends well.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = proctest.BareEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// A backup is made under load; the server dies, and goes on from the backup.
// All that was acknowledged before the backup began is there, seq goes on from
// its end, and clients that had more are not left without what comes.
func TestRestore(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		data := t.TempDir()
		copied := filepath.Join(t.TempDir(), "backup")
		s := server{data: data}
		backup := func() { tool(t, proctest.Program, "backup", "--data-dir", data, "--to", copied) }
		restore := func() {
			for _, name := range []string{"parley.db", "parley.db-wal", "parley.db-shm"} {
				_ = os.Remove(filepath.Join(data, name)) // not all are there
			}
			tool(t, "cp", copied, filepath.Join(data, "parley.db"))
		}
		if backend == "postgres" {
			url := pgtest.URL(t)
			s.args = []string{"--migrate", "--database-url", url}
			backup = func() { tool(t, "pg_dump", "--format=custom", "--file", copied, url) }
			restore = func() {
				s.args[2] = pgtest.URL(t)
				tool(t, "pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", "--dbname", s.args[2], copied)
			}
		}
		checkRestore(t, s, backup, restore)
	})
}

func checkRestore(t *testing.T, cfg server, backup, restore func()) {
	s := start(t, cfg)
	var made struct{ ID string }
	if status, err := s.rest("POST", "/v1/conversations", token(t, "alice", ""), []byte(`{"id": "c1", "members": ["bob", "carol"]}`), &made); err != nil || status != http.StatusCreated {
		t.Fatalf("status %d, %v", status, err)
	}
	bob := durable(t, s, false)
	carol, err := client.New(client.Options{URL: "http://" + s.web, Token: client.StaticToken(token(t, "carol", ""))})
	if err != nil {
		t.Fatal(err)
	}
	defer carol.Close()
	events := carol.Events()
	if err := carol.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}

	before, after := underLoad(t, s, backup)
	last := after[len(after)-1]
	waitFor(t, events, func(e client.Event) bool { entry, ok := e.(client.Entry); return ok && entry.Seq == last.Seq })
	take(t, bob, before[len(before)-1].Seq)
	s.Kill()

	restore()
	cfg.mqtt, cfg.web = s.mqtt, s.web // restore may have named another database in args
	s = start(t, cfg)
	all := s.history(t, "c1")
	have := map[sent]bool{}
	for i, e := range all {
		have[e] = true
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d has seq %d", i, e.Seq)
		}
	}
	for _, m := range before {
		if !have[m] {
			t.Errorf("%+v was acknowledged before the backup, and is gone", m)
		}
	}
	head := uint64(len(all))
	if head >= last.Seq {
		t.Fatalf("the head is %d, was %d before: nothing was set back", head, last.Seq)
	}
	m, err := s.say(t, "c1", "after the restore")
	if err != nil || m.Seq != head+1 {
		t.Errorf("the next seq is %d, %v, want %d", m.Seq, err, head+1)
	}
	// Who had more is told that something is missing, and has what comes.
	waitFor(t, events, func(e client.Event) bool { g, ok := e.(client.Gap); return ok && g.ConversationID == "c1" })
	if m, err = s.say(t, "c1", "and now"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, events, func(e client.Event) bool { entry, ok := e.(client.Entry); return ok && entry.ID == m.ID })
	// A durable session goes on from a place that the restored log has.
	take(t, durable(t, s, true), m.Seq)
}

// underLoad makes a backup while messages are sent. before are those that were
// acknowledged before it began, after one that was sent after its end is the
// last of.
func underLoad(t *testing.T, s *server, backup func()) (before, after []sent) {
	t.Helper()
	var mu sync.Mutex
	var acknowledged []sent
	var senders sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		senders.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				m, err := s.say(t, "c1", fmt.Sprintf("%d %d %s", w, i, strings.Repeat("x", 300)))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, m)
				mu.Unlock()
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acknowledged) }
	eventually(t, "100 messages", func() bool { return count() >= 100 })
	mu.Lock()
	before = append(before, acknowledged...)
	mu.Unlock()
	backup()
	done := count()
	eventually(t, "some more", func() bool { return count() >= done+20 })
	close(stop)
	senders.Wait()
	m, err := s.say(t, "c1", "lost")
	if err != nil {
		t.Fatal(err)
	}
	return before, append(acknowledged, m)
}

// durable is bob's session.
func durable(t *testing.T, s *server, again bool) *mqttest.Client {
	t.Helper()
	c := mqttest.Dial(t, s.mqtt)
	ack := c.Connect(mqttest.Options{ClientID: "phone", User: "bob", Password: token(t, "bob", ""), Expiry: 3600})
	if ack.ReasonCode != 0 || ack.SessionPresent != again {
		t.Fatalf("CONNACK 0x%02x, session present %v, want %v", ack.ReasonCode, ack.SessionPresent, again)
	}
	if !again {
		c.Subscribe("chat/c1/messages")
	}
	return c
}

// take reads and acknowledges entries up to one, which come in order.
func take(t *testing.T, c *mqttest.Client, upTo uint64) {
	t.Helper()
	for last := uint64(0); last < upTo; {
		pk := c.Expect(packets.Publish)
		e := parleytest.Decode(t, pk.Payload)
		if last != 0 && e.Seq != last+1 {
			t.Fatalf("entry %d after %d", e.Seq, last)
		}
		last = e.Seq
		c.Ack(packets.Puback, pk.PacketID)
	}
}

// waitFor reads events until one is it.
func waitFor(t *testing.T, events <-chan client.Event, it func(client.Event) bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var others []string
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the client has ended")
			}
			if it(e) {
				return
			}
			if others = append(others, fmt.Sprintf("%T %.200v", e, e)); len(others) > 10 {
				others = others[1:]
			}
		case <-timeout.C:
			t.Fatalf("the event does not come, but\n%s", strings.Join(others, "\n"))
		}
	}
}
