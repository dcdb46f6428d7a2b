package quickstarts_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

func TestMain(m *testing.M) {
	// The tests wait for other programs far more than they compute.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(proctest.Runner{M: m})
}

// home is a folder as the reader has it: ./bin/parley, and a server that was
// started there as `make run` does. The server is not at the usual ports,
// which may be taken. Programs are told so by the variables that the pages
// name; curl and mosquitto's clients by their own configuration files, so that
// the commands of the pages run as they stand.
type home struct {
	t          testing.TB
	dir        string
	mqtt, http string // host:port
	flags      []string
	server     *process
}

func newHome(t testing.TB, flags ...string) *home {
	t.Helper()
	ports := proctest.FreePorts(t, 2)
	h := &home{t: t, dir: t.TempDir(), mqtt: ports[0], http: ports[1], flags: flags}
	if err := os.Mkdir(filepath.Join(h.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(proctest.Program, filepath.Join(h.dir, "bin", "parley")); err != nil {
		t.Fatal(err)
	}
	_, mqttPort, _ := net.SplitHostPort(h.mqtt)
	h.write(".curlrc", "silent\nshow-error\nconnect-to = \"localhost:8080:"+h.http+"\"\n")
	for _, name := range []string{"mosquitto_pub", "mosquitto_sub"} {
		h.write(filepath.Join(".config", name), "-h 127.0.0.1\n-p "+mqttPort+"\n")
	}
	h.start()
	return h
}

// start starts the server, and waits until it is ready.
func (h *home) start() {
	h.t.Helper()
	env := []string{"PARLEY_MQTT_ADDR=" + h.mqtt, "PARLEY_HTTP_ADDR=" + h.http, "PARLEY_DEV_LOGIN=true"}
	h.server = launch(h.t, h.dir, env, filepath.Join("bin", "parley"), append([]string{"serve"}, h.flags...)...)
	h.server.expect(`mosquitto_pub`) // the last of what it prints at its start
}

// env is what the pages' programs are told.
func (h *home) env() []string {
	return []string{"CHAT_URL=http://" + h.http, "CHAT_MQTT=" + h.mqtt,
		"PARLEY_HTTP_ADDR=" + h.http, "PARLEY_MQTT_ADDR=" + h.mqtt, // parley's own clients read the server's settings
		"CURL_HOME=" + h.dir, "XDG_CONFIG_HOME=" + filepath.Join(h.dir, ".config")}
}

func (h *home) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// token makes a token as the reader does.
func (h *home) token(sub string, more ...string) string {
	h.t.Helper()
	cmd := exec.Command(proctest.Program, append([]string{"token", "--sub", sub}, more...)...)
	cmd.Dir = h.dir
	out, err := cmd.Output()
	if err != nil {
		h.t.Fatalf("parley token: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// ask asks over REST, as a user, and reads the answer into out where there is
// to be one.
func (h *home) ask(user, method, path string, body, out any) {
	h.t.Helper()
	var send io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(h.t.Context(), method, "http://"+h.http+"/v1"+path, send)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.token(user, "--ttl", "50s"))
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		h.t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, text, err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			h.t.Fatal(err)
		}
	}
}

// converse makes the conversation of the pages.
func (h *home) converse(id string) {
	h.t.Helper()
	h.ask("alice", http.MethodPost, "/conversations", map[string]any{"id": id, "members": []string{"bob"}}, nil)
}

// wait waits for what must become so; what tells what did not.
func wait(t testing.TB, what func() string, so func() bool) {
	t.Helper()
	for start := time.Now(); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("not in time: %s", what())
		}
	}
}
