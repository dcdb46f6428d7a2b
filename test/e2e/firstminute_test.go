package e2e_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// What a newcomer does in the first minute: start the server in an empty
// folder, type what it prints, and chat with the clients that everybody has.
func TestFirstMinute(t *testing.T) {
	h := newHome(t)
	alice, bob := h.firstToken(t), h.program(t, "token", "--sub", "bob")
	h.firstConversation(t, alice)

	// Each comes with both versions, and subscribes in a durable session
	// first: so it does not matter who is faster later.
	type client struct{ version, user, token, id string }
	var clients []client
	for _, version := range []string{"mqttv311", "mqttv5"} {
		clients = append(clients, client{version, "alice", alice, "laptop-" + version}, client{version, "bob", bob, "phone-" + version})
	}
	for _, c := range clients {
		h.mosquitto(t, "mosquitto_sub", c.version, c.user, c.token, "-E", "-c", "-i", c.id, "-q", "1", "-t", "chat/+/messages")
	}
	var screens []*proctest.Process
	for _, c := range clients {
		screens = append(screens, h.startMosquitto(t, "mosquitto_sub", c.version, c.user, c.token,
			"-c", "-i", c.id, "-q", "1", "-t", "chat/+/messages", "-C", "4", "-W", "30", "-F", "%t %p"))
	}
	h.shell(t, h.line(`mosquitto_pub .*`), "TOKEN="+alice)
	h.mosquitto(t, "mosquitto_pub", "mqttv311", "bob", bob, "-q", "1", "-t", "chat/c1/messages", "-m", "hi alice")
	h.mosquitto(t, "mosquitto_pub", "mqttv5", "", bob, "-q", "1", "-t", "chat/c1/messages", "-m", `{"content":"how are you?","clientId":"b-1"}`)
	h.mosquitto(t, "mosquitto_pub", "mqttv5", "alice", alice, "-q", "2", "-t", "chat/c1/messages", "-m", "fine")
	for i, screen := range screens {
		if code := screen.Wait(patience); code != 0 {
			t.Fatalf("%s of %s: exit code %d\n%s", clients[i].id, clients[i].user, code, screen.Stderr.String())
		}
		checkScreen(t, clients[i].id, screen.Stdout.String())
	}
	h.refuseStrangers(t, bob)

	h.server.Terminate()
	if code := h.server.Wait(patience); code != 0 {
		t.Errorf("exit code %d\n%s", code, h.server.Stderr.Last(30))
	}
	for _, word := range defects {
		if strings.Contains(h.server.Stderr.String(), word) {
			t.Errorf("the log has %q:\n%s", word, h.server.Stderr.Last(30))
		}
	}
}

// checkScreen wants the chat on a screen, in order.
func checkScreen(t *testing.T, who, text string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	want := []string{"alice: hello", "bob: hi alice", "bob: how are you?", "alice: fine"}
	if len(lines) != len(want) {
		t.Errorf("%s shows %d lines, want %d:\n%s", who, len(lines), len(want), text)
		return
	}
	for i, line := range lines {
		payload, ok := strings.CutPrefix(line, "chat/c1/messages ")
		e := parleytest.Decode(t, []byte(payload))
		if got := e.SenderID + ": " + e.Content; !ok || got != want[i] || e.Seq != uint64(i+3) {
			t.Errorf("%s shows %s, want %q as entry %d", who, line, want[i], i+3)
		}
	}
}

// home is a folder with a server that was started in it, and nothing else.
type home struct {
	dir    string
	env    []string
	server *proctest.Process
	block  string // what the server printed
	mqtt   string
	web    string
}

func newHome(t *testing.T) *home {
	t.Helper()
	h := &home{dir: t.TempDir()}
	ports := proctest.FreePorts(t, 2) // the usual ones may be taken on this machine
	h.env = proctest.BareEnv("PARLEY_MQTT_ADDR="+ports[0], "PARLEY_HTTP_ADDR="+ports[1])
	h.server = proctest.Launch(t, h.dir, h.env, proctest.Program, "serve")
	proctest.Eventually(t, patience, "the server prints how to begin", func() bool {
		if h.server.HasExited() {
			t.Fatalf("the server ended with code %d\n%s", h.server.Code(), h.server.Stderr.Last(30))
		}
		h.block = h.server.Stdout.String()
		return strings.Contains(h.block, "mosquitto_pub") && strings.HasSuffix(h.block, "\n\n")
	})
	h.mqtt, h.web = proctest.Listening(h.block)
	// Only the server's own account may read the secret, or the messages.
	for _, name := range []string{"jwt-secret", "parley.db"} {
		info, err := os.Stat(filepath.Join(h.dir, "parley-data", name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o, want 600", name, mode)
		}
	}
	return h
}

// line answers the line of the start block that begins with this.
func (h *home) line(pattern string) string {
	return regexp.MustCompile(`(?m)^ +(` + pattern + `)$`).FindStringSubmatch(h.block + "\n")[1]
}

// shell runs a line of the start block as it would be typed.
func (h *home) shell(t *testing.T, line string, env ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, h.dir, append(slices.Clone(h.env), env...), "sh", "-e", "-c", line))
}

// program runs our own program in the same folder.
func (h *home) program(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, h.dir, h.env, proctest.Program, args...))
}

// firstToken types the line of the start block that makes a token.
func (h *home) firstToken(t *testing.T) string {
	t.Helper()
	return h.shell(t, h.line(`TOKEN=\$\(.*\)`)+"\nprintf %s \"$TOKEN\"")
}

// firstConversation sends what the curl line of the start block sends.
func (h *home) firstConversation(t *testing.T, token string) {
	t.Helper()
	curl := regexp.MustCompile(`curl -H "(.+?): (.+?)" -H "(.+?): (.+?)" \\\n +-d '(.+)' (\S+)\n`).FindStringSubmatch(h.block)
	if curl == nil {
		t.Fatalf("no curl line in\n%s", h.block)
	}
	req, err := http.NewRequest(http.MethodPost, curl[6], strings.NewReader(curl[5]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(curl[1], strings.ReplaceAll(curl[2], "$TOKEN", token))
	req.Header.Set(curl[3], curl[4])
	res, err := newREST(t, h.web).client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("the first conversation: status %d", res.StatusCode)
	}
}

// startMosquitto starts one of mosquitto's clients. 3.1.1 has no password
// without a user name; MQTT 5 has.
func (h *home) startMosquitto(t *testing.T, name, version, user, token string, args ...string) *proctest.Process {
	t.Helper()
	host, port, err := net.SplitHostPort(h.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"-V", version, "-h", host, "-p", port, "-P", token}
	if user != "" {
		all = append(all, "-u", user)
	}
	return proctest.Launch(t, h.dir, proctest.BareEnv(), name, append(all, args...)...)
}

// mosquitto runs one of mosquitto's clients to its end, which must be good.
func (h *home) mosquitto(t *testing.T, name, version, user, token string, args ...string) {
	t.Helper()
	p := h.startMosquitto(t, name, version, user, token, args...)
	if code := p.Wait(patience); code != 0 || strings.Contains(p.Stderr.String(), "failed") {
		t.Fatalf("%s %s: exit code %d\n%s", name, version, code, p.Stderr.String())
	}
}

// refuseStrangers wants clients to be told that they may not.
func (h *home) refuseStrangers(t *testing.T, bob string) {
	t.Helper()
	p := h.startMosquitto(t, "mosquitto_pub", "mqttv311", "alice", bob, "-q", "1", "-t", "chat/c1/messages", "-m", "I am alice")
	if code := p.Wait(patience); code == 0 {
		t.Error("bob's token was taken for alice")
	}
	carol := h.program(t, "token", "--sub", "carol")
	p = h.startMosquitto(t, "mosquitto_pub", "mqttv5", "carol", carol, "-q", "1", "-t", "chat/c1/messages", "-m", "let me in")
	p.Wait(patience)
	if text := p.Stderr.String(); !strings.Contains(text, "Not authorized") {
		t.Errorf("a stranger's message was not refused: %q", text)
	}
}
