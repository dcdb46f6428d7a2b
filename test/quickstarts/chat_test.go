package quickstarts_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// chat is a page with a program that chats in the terminal. They all do the
// same and print the same, each in its own words for what goes wrong.
type chat struct {
	page, name string
	// command gives how the program is started, that was saved at path.
	command func(t testing.TB, path string) []string
	// renews says that the program says when it renews its token. The others
	// leave that to their library, whose own tests show it.
	renews bool
}

var (
	python = chat{"docs/quickstart/python.md", "chat.py", pythonCommand, true}
	golang = chat{"docs/quickstart/go.md", "chat.go", goCommand, false}
	node   = chat{"docs/quickstart/node.md", "chat.mjs", nodeCommand, false}
	mqttjs = chat{"docs/quickstart/mqttjs.md", "chat.mjs", nodeCommand, true}
)

func TestPython(t *testing.T) { python.test(t) }
func TestGo(t *testing.T)     { golang.test(t) }
func TestNode(t *testing.T)   { node.test(t) }
func TestMQTTjs(t *testing.T) { mqttjs.test(t) }

// pythonCommand finds a Python with the library: one of the user's own does
// not see Debian's packages.
func pythonCommand(t testing.TB, path string) []string {
	t.Helper()
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import paho.mqtt.client").Run() == nil {
			return []string{python, path}
		}
	}
	t.Fatal("no python3 has paho-mqtt: run scripts/test-deps.sh, or apt-get install python3-paho-mqtt")
	return nil
}

func goCommand(t testing.TB, path string) []string {
	t.Helper()
	out := strings.TrimSuffix(path, ".go")
	cmd := exec.Command("go", "build", "-race=false", "-o", out, path)
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return []string{out}
}

// nodeCommand makes the packages be found from the program's folder.
func nodeCommand(t testing.TB, path string) []string {
	t.Helper()
	linkPackages(t, filepath.Dir(path))
	return []string{"node", path}
}

func (c chat) test(t *testing.T) {
	t.Parallel()
	h := newHome(t)
	h.converse("c1")
	argv := c.command(t, file(t, c.page, c.name).save(t, h.dir))
	start := func(user string) *process {
		p := launch(t, h.dir, h.env(), argv[0], append(argv[1:], user, "c1")...)
		p.name = c.name + " of " + user
		return p
	}
	alice, bob := start("alice"), start("bob")
	alice.expect(`^online`)
	bob.expect(`^online`)

	alice.types("hello")
	bob.expect(`^alice: hello$`)
	alice.expect(`^alice: hello$`)
	bob.types("/typing")
	alice.expect(`^bob is typing$`)
	bob.types("hi, alice: “ü”")
	alice.expect(`^bob: hi, alice: “ü”$`)
	bob.expect(`^bob: hi, alice: “ü”$`)
	h.hasRead("alice", "c1", 4) // 1 and 2 are the two joins

	// What is refused is told, and what comes after it is sent.
	alice.types(strings.Repeat("x", 8193))
	alice.expect(`invalid: .*content`)

	// What comes while a program is away is there when it returns, and only that.
	bob.leave()
	h.say("alice", "while you were away")
	alice.expect(`^alice: while you were away$`)
	h.hasRead("alice", "c1", 5)
	bob = start("bob")
	if before, _ := bob.expect(`^alice: while you were away$`); strings.Contains(before, "alice:") {
		t.Errorf("bob was shown again what it had:\n%s", before)
	}
	h.hasRead("bob", "c1", 5)

	// What is typed while the server is away is sent when it is back, once.
	h.server.Kill()
	alice.types("are you there?")
	h.start()
	bob.expect(`^alice: are you there\?$`)
	bob.types("yes")
	if before, _ := alice.expect(`^bob: yes$`); strings.Count(before, "alice: are you there?") != 1 {
		t.Errorf("alice saw\n%s", before)
	}
	if before, _ := bob.expect(`^bob: yes$`); strings.Contains(before, "alice:") {
		t.Errorf("bob saw more than once\n%s", before)
	}

	// What is typed in one go keeps its order.
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprint("line ", i))
	}
	alice.types(strings.Join(lines, "\n"))
	for _, line := range lines {
		if before, _ := bob.expect("^alice: " + line + "$"); strings.Contains(before, "alice: line") {
			t.Fatalf("before %s bob saw\n%s", line, before)
		}
	}
	alice.leave()
}

// leave ends what is typed, and so the program, which must end well.
func (p *process) leave() {
	p.t.Helper()
	_ = p.stdin.Close()
	if code := p.ended(); code != 0 {
		p.t.Errorf("%s: exit code %d", p.name, code)
	}
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	// A connection is warned a minute before its token ends. So this one is
	// renewed every eight seconds, and that it is warned again shows that the
	// token before was taken: without it there is one warning, and the end.
	for _, c := range []chat{python, mqttjs} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, "--max-token-life", "68s")
			h.converse("c1")
			argv := c.command(t, file(t, c.page, c.name).save(t, h.dir))
			bob := launch(t, h.dir, h.env(), argv[0], append(argv[1:], "bob", "c1")...)
			bob.expect(`^online`)
			bob.expect(`^token renewed$`)
			if before, _ := bob.expect(`^token renewed$`); strings.Contains(before, "online") {
				t.Error("it was a new connection")
			}
			h.say("alice", "still there?")
			bob.expect(`^alice: still there\?$`)
		})
	}
}

// say sends a message over REST.
func (h *home) say(user, text string) {
	h.t.Helper()
	h.ask(user, http.MethodPost, "/conversations/c1/messages", map[string]string{"content": text}, nil)
}

// hasRead waits until a user has read a conversation up to seq.
func (h *home) hasRead(user, conversation string, seq int) {
	h.t.Helper()
	wait(h.t, func() string { return fmt.Sprintf("%s has read %d", user, seq) }, func() bool {
		var answer struct {
			Items []struct {
				UserID string
				Read   int
			}
		}
		h.ask("alice", http.MethodGet, "/conversations/"+conversation+"/receipts", nil, &answer)
		for _, r := range answer.Items {
			if r.UserID == user {
				return r.Read == seq
			}
		}
		return false
	})
}
