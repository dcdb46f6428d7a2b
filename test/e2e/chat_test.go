package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// user is the environment of somebody who uses the server, on the same machine
// and with its secret.
func (s *server) user() []string { return append(s.env, "PARLEY_HTTP_ADDR="+s.web) }

const enter, escape, controlC = "\r", "\x1b", "\x03"

// Two people chat on their terminals, and go on when the server was killed and
// is back.
func TestChatOnTwoScreens(t *testing.T) {
	s := startServer(t, "sqlite", options{})
	alice := inTerminal(t, s.dir, s.user(), proctest.Program, "chat", "--as", "alice", "-c", "c1", "--create", "--members", "bob")
	alice.shows("This is where it begins", "○ bob")
	bob := inTerminal(t, s.dir, s.user(), proctest.Program, "chat", "--as", "bob", "-c", "c1")
	bob.shows("● alice")
	alice.shows("● bob")

	bob.types("a long th")
	alice.shows("bob is typing")
	bob.types("ought")
	bob.types(enter)
	alice.shows("3 a long thought")
	alice.until("nobody types", func(text string) bool { return !strings.Contains(text, "typing") })
	bob.shows("3 a long thought", "✓ alice")
	alice.types("/reply 3 indeed 👍" + enter)
	bob.shows("4 ↪ bob: a long thought", "indeed")
	bob.types("/react 4 🎉" + enter)
	alice.shows("🎉 1")

	s.crash()
	alice.shows("no connection")
	bob.shows("no connection")
	alice.types("written while it was down" + enter)
	alice.shows("… written while it was down")
	s.start()
	bob.shows("written while it was down")
	alice.shows("6 written while it was down")
	for _, one := range []*screen{alice, bob} {
		one.until("the banner goes", func(text string) bool { return !strings.Contains(text, "no connection") })
		if n := strings.Count(one.text(), "written while it was down"); n != 1 {
			t.Errorf("it stands %d times on\n%s", n, one.text())
		}
	}

	alice.types("/edit now it is up" + enter)
	bob.shows("now it is up (edited)")
	alice.types("/kick bob" + enter)
	bob.shows("You are not a member of this conversation any more")
	alice.types("/quit" + enter)
	bob.types(controlC)
	if a, b := alice.ends(), bob.ends(); a != 0 || b != 0 {
		t.Errorf("exit codes %d and %d, want 0", a, b)
	}
	proctest.Eventually(t, patience, "the terminal is given back", func() bool { return !alice.altScreen() })
}

// Where the conversation is missing, a person is asked.
func TestChatAsksToCreate(t *testing.T) {
	s := startServer(t, "sqlite", options{})
	alice := inTerminal(t, s.dir, s.user(), proctest.Program, "chat", "--as", "alice", "-c", "lunch")
	alice.shows("There is no conversation lunch")
	alice.types("bob, carol" + enter)
	alice.shows("This is where it begins", "bob", "carol")
	alice.types("/new dinner bob" + enter)
	alice.shows("dinner")
	alice.types("\tlunch" + enter)
	alice.types("what is for lunch?" + enter)
	alice.shows("4 what is for lunch?")
	alice.types("/search lunch" + enter)
	alice.shows("Found: lunch", "#4")
	alice.types(escape)
	alice.until("the list is gone", func(text string) bool { return !strings.Contains(text, "Found:") })
}

// command runs a program to its end.
func (s *server) command(stdin string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	cmd := exec.Command(proctest.Program, args...)
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, s.user(), strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// Lines are sent, each committed, and followed over a crash of the server.
func TestSendAndTail(t *testing.T) {
	s := startServer(t, "sqlite", options{})
	if code, _, stderr := s.command("", "send", "--as", "alice", "-c", "c1", "--create", "--members", "bob", "first", "words"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	tail := proctest.Launch(t, s.dir, s.user(), proctest.Program, "tail", "--as", "bob", "-c", "c1", "-n", "1")
	follows := func(line string) {
		t.Helper()
		proctest.Eventually(t, patience, "tail prints "+line, func() bool { return strings.Contains(tail.Stdout.String(), line) })
	}
	follows("#3  alice: first words")

	code, stdout, stderr := s.command("one\n\ntwo\nthree\n", "send", "--as", "alice", "-c", "c1", "--json", "--client-id", "batch")
	if code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	for i, line := range strings.Split(strings.TrimSpace(stdout), "\n") {
		var sent struct {
			ID  string
			Seq uint64
		}
		if err := json.Unmarshal([]byte(line), &sent); err != nil || sent.ID == "" || sent.Seq != uint64(4+i) {
			t.Errorf("line %d is %s, %v", i, line, err)
		}
	}
	if again, _, _ := s.command("one\n\ntwo\nthree\n", "send", "--as", "alice", "-c", "c1", "--client-id", "batch"); again != 0 {
		t.Errorf("again: code %d", again)
	}
	follows("#6  alice: three")
	s.crash()
	proctest.Eventually(t, patience, "tail tells that the link is down", func() bool { return strings.Contains(tail.Stderr.String(), "trying again") })
	s.start()
	if code, _, stderr := s.command("", "send", "--as", "alice", "-c", "c1", "after\x1b[2J the crash"); code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	follows("#7  alice: after\uFFFD[2J the crash")
	var want strings.Builder
	for i, text := range []string{"first words", "one", "two", "three", "after\uFFFD[2J the crash"} {
		fmt.Fprintf(&want, "#%d  alice: %s\n", i+3, text)
	}
	var got strings.Builder
	for line := range strings.Lines(tail.Stdout.String()) {
		got.WriteString(line[strings.Index(line, "#"):])
	}
	if got.String() != want.String() {
		t.Errorf("tail printed\n%s\nwant\n%s", got.String(), want.String())
	}
	tail.Terminate()
	if code := tail.Wait(patience); code != 0 {
		t.Errorf("tail ends with code %d", code)
	}

	last := proctest.Launch(t, s.dir, s.user(), proctest.Program, "tail", "--as", "bob", "-c", "c1", "--after", "5", "--json")
	proctest.Eventually(t, patience, "tail prints two entries", func() bool { return strings.Count(last.Stdout.String(), "\n") == 2 })
	if status, err := s.rest.do("DELETE", "/v1/conversations/c1/members/bob", s.token("alice"), nil, nil); err != nil || status != 204 {
		t.Fatal(status, err)
	}
	if code := last.Wait(patience); code != 1 || !strings.Contains(last.Stderr.String(), "not a member of c1 any more") {
		t.Errorf("tail of who was removed ends with code %d: %s", code, last.Stderr.String())
	}
}

// A conversation that is deleted and made again goes on, from the own join, and
// counts anew.
func TestTailOfWhatIsMadeAgain(t *testing.T) {
	s := startServer(t, "sqlite", options{})
	s.conversation("c1", "alice", "bob")
	if code, _, stderr := s.command("one\ntwo\nthree\n", "send", "--as", "alice", "-c", "c1"); code != 0 {
		t.Fatal(stderr)
	}
	tail := proctest.Launch(t, s.dir, s.user(), proctest.Program, "tail", "--as", "bob", "-c", "c1", "--json")
	prints := func(what string) {
		t.Helper()
		proctest.Eventually(t, patience, "tail prints "+what, func() bool { return strings.Contains(tail.Stdout.String(), what) })
	}
	prints(`"content":"three"`)
	if status, err := s.rest.do("DELETE", "/v1/conversations/c1", s.token("alice"), nil, nil); err != nil || status != 204 {
		t.Fatal(status, err)
	}
	s.conversation("c1", "alice", "bob")
	if code, _, stderr := s.command("", "send", "--as", "alice", "-c", "c1", "again"); code != 0 {
		t.Fatal(stderr)
	}
	prints(`"content":"again"`)
	if line := regexp.MustCompile(`"createdAt":"[-0-9]+T[:0-9]+\.[0-9]{3}Z"`); len(line.FindAllString(tail.Stdout.String(), -1)) != 7 {
		t.Errorf("the times are not those of the wire, or it is not 5 entries and 2:\n%s", tail.Stdout.String())
	}
}

// A server with a certificate of a private authority is reached with tls-ca.
func TestPrivateAuthority(t *testing.T) {
	s := newServer(t, "sqlite", options{})
	a := certtest.New(t)
	cert, key := a.WritePair(s.dir)
	ca := certtest.Write(t, s.dir, "ca.pem", a.PEM)
	s.now = proctest.Launch(t, s.dir, s.env, proctest.Program, "serve", "--mqtt-addr", s.mqtt, "--http-addr", s.web, "--tls-cert", cert, "--tls-key", key)
	s.all = append(s.all, s.now)
	proctest.Eventually(t, patience, "the server says where it listens", func() bool { return strings.Contains(s.now.Stdout.String(), "https://") })
	send := []string{"send", "--as", "alice", "-c", "c1", "--create", "--url", "https://" + strings.Replace(s.web, "127.0.0.1", "localhost", 1), "hello"}
	if code, _, stderr := s.command("", send...); code != 1 || !strings.Contains(stderr, "--tls-ca names the file of its authority") {
		t.Errorf("code %d: %s", code, stderr)
	}
	if code, _, stderr := s.command("", append(send, "--tls-ca", ca)...); code != 0 {
		t.Errorf("code %d: %s", code, stderr)
	}
	if code, _, stderr := s.command("", append(send, "--tls-ca", key)...); code != 2 || !strings.Contains(stderr, "tls-ca: ") {
		t.Errorf("code %d: %s", code, stderr)
	}
}

// With flags tail tells of more than entries, and follows all conversations.
func TestTailOfAll(t *testing.T) {
	s := startServer(t, "sqlite", options{})
	s.conversation("c1", "alice", "bob")
	tail := proctest.Launch(t, s.dir, s.user(), proctest.Program, "tail", "--as", "bob", "--all", "--json", "--typing", "--presence", "--receipts", "--notifications")
	plain := proctest.Launch(t, s.dir, s.user(), proctest.Program, "tail", "--as", "bob", "--all", "--typing", "--presence", "--receipts", "--notifications")
	prints := func(p *proctest.Process, what string) {
		t.Helper()
		proctest.Eventually(t, patience, "tail prints "+what, func() bool { return strings.Contains(p.Stdout.String(), what) })
	}
	prints(tail, `{"kind":"presence","presence":{"userId":"bob","status":"online"`)
	prints(plain, "bob is online")
	alice := inTerminal(t, s.dir, s.user(), proctest.Program, "chat", "--as", "alice", "-c", "c2", "--create", "--members", "bob")
	alice.shows("This is where it begins")
	prints(plain, "alice is online")
	alice.types("hey @bob")
	prints(tail, `{"kind":"typing","typing":{"conversationId":"c2","userId":"alice","typing":true}}`)
	prints(plain, "[c2] alice types")
	alice.types(enter)
	prints(tail, `{"kind":"entry","entry":{`)
	prints(tail, `"content":"hey @bob"`)
	prints(tail, `{"kind":"receipt","receipt":{"conversationId":"c2","userId":"alice","read":3`)
	prints(tail, `{"kind":"notification","notification":{`)
	prints(plain, "#3  alice: hey @bob")
	prints(plain, "notification 1: mention from alice")
	prints(plain, "[c2] alice has read up to #3")
}

// A chat in a pipe reads and writes lines, and ends with them.
func TestChatInAPipe(t *testing.T) {
	s := startServer(t, "sqlite", options{})
	s.conversation("c1", "alice", "bob")
	code, stdout, stderr := s.command("hello\nbob\n", "chat", "--as", "alice", "-c", "c1")
	if code != 0 {
		t.Fatalf("code %d: %s", code, stderr)
	}
	_ = stdout
	code, stdout, stderr = s.command("", "chat", "--as", "bob", "-c", "c1")
	if code != 0 || !strings.Contains(stdout, "#3  alice: hello") || !strings.Contains(stdout, "#4  alice: bob") {
		t.Errorf("code %d, %s: %s", code, stdout, stderr)
	}
}

// What is wrong is said in one line.
func TestTerminalErrors(t *testing.T) {
	s := startServer(t, "sqlite", options{})
	s.conversation("c1", "alice")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"send", "--as", "bob", "-c", "c1", "x"}, 1, "not sent: forbidden: "},
		{[]string{"send", "--as", "alice", "-c", "c2", "x"}, 1, "not sent: not_found: "},
		{[]string{"send", "--as", "alice", "x"}, 2, "conversation: say which"},
		{[]string{"send", "-c", "c1", "x"}, 2, "as: say who you are"},
		{[]string{"send", "--as", "a/b", "-c", "c1", "x"}, 2, "sub: "},
		{[]string{"send", "--as", "alice", "--token", "x", "-c", "c1", "x"}, 2, "as: --token says already"},
		{[]string{"send", "--as", "alice", "-c", "c1", "--members", "bob", "x"}, 2, "members: are those of a new conversation"},
		{[]string{"send", "--as", "alice", "--jwt-secret", "another secret, of 32 bytes or more", "-c", "c1", "x"}, 1, "does not take tokens made with the secret here"},
		{[]string{"tail", "--as", "bob", "-c", "c1"}, 1, "bob is not a member of c1"},
		{[]string{"tail", "--as", "alice", "-c", "c2"}, 1, "there is no conversation c2"},
		{[]string{"tail", "--as", "alice"}, 2, "conversation: say which, or --all"},
		{[]string{"chat", "--as", "alice", "-c", "c2"}, 1, "there is no conversation c2; --create makes it"},
		{[]string{"chat", "--as", "alice", "-c", "c1", "--url", "http://127.0.0.1:1"}, 1, "no server answers at http://127.0.0.1:1 "},
		{[]string{"chat", "--as", "alice", "-c", "c1", "--http-addr", "127.0.0.1:1"}, 1, `"parley serve" starts one`},
		{[]string{"chat", "--as", "alice", "-c", "c1", "--url", "mqtt://127.0.0.1:1"}, 2, "url: begins with neither"},
		{[]string{"chat", "--as", "alice", "-c", "c1", "--http-addr", ""}, 2, "http-addr: is empty"},
	} {
		code, stdout, stderr := s.command("", tt.args...)
		if code != tt.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: code %d, want %d; %q is not one line with %q", tt.args, code, tt.code, stdout+stderr, tt.want)
		}
	}
}
