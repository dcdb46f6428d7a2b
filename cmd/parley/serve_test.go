package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func decodeClaims(t *testing.T, token string) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// request sends one HTTP request and returns the status of its answer.
func request(t *testing.T, method, url, token, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

// A server that is told nothing works in an empty folder, with the token that
// it says how to get.
func TestServeInAnEmptyFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	s := serve(t, nil, anyPort...)
	mqtt, addr := s.addrs(t)
	code, token, stderr := parley(t, nil, "token", "--sub", "alice")
	if code != exitOK {
		t.Fatal(stderr)
	}
	token = strings.TrimSpace(token)
	if got := request(t, "GET", "http://"+addr+"/readyz", "", ""); got != http.StatusOK {
		t.Errorf("readyz: %d", got)
	}
	// What the block says for a first message.
	url := "http://" + addr + "/v1/conversations"
	if got := request(t, "POST", url, token, `{"id": "c1", "members": ["bob"]}`); got != http.StatusCreated {
		t.Errorf("first conversation: %d", got)
	}
	if got := request(t, "POST", url+"/c1/messages", token, `{"content": "hello"}`); got != http.StatusCreated {
		t.Errorf("first message over HTTP: %d", got)
	}
	host, port, err := net.SplitHostPort(mqtt)
	if err != nil {
		t.Fatal(err)
	}
	pub := exec.CommandContext(t.Context(), "mosquitto_pub",
		"-h", host, "-p", port, "-u", "alice", "-P", token, "-q", "1", "-t", "chat/c1/messages", "-m", "hello")
	if out, err := pub.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("first message over MQTT: %v %s", err, out)
	}
	s.stop()
	if s.code != exitOK {
		t.Errorf("code %d: %s", s.code, s.stderr)
	}
	for name, mode := range map[string]os.FileMode{"parley-data": 0o700, "parley-data/jwt-secret": 0o600, "parley-data/parley.db": 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// Nothing that is secret is in what a server prints or logs.
func TestSecretsAreNotPrinted(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			url := strings.Replace(pgtest.URL(t), "postgres@", "postgres:"+otherSecret+"@", 1)
			secret, err := acl.LoadOrCreateSecret(dir)
			if err != nil {
				t.Fatal(err)
			}
			for name, env := range map[string][]string{
				"set":       {"PARLEY_JWT_SECRET=" + testSecret, "PARLEY_DATABASE_URL=" + url, "PARLEY_MIGRATE=true"},
				"generated": nil,
			} {
				args := append([]string{"--data-dir", dir, "--log-format", format}, anyPort...)
				s := serve(t, env, args...)
				_, addr := s.addrs(t)
				_, token, _ := parley(t, env[:min(1, len(env))], "token", "--sub", "alice", "--data-dir", dir)
				token = strings.TrimSpace(token)
				for _, bearer := range []string{token, token + "x", testSecret} {
					request(t, "GET", "http://"+addr+"/v1/conversations", bearer, "")
					request(t, "POST", "http://"+addr+"/v1/conversations", bearer, `{"members": [`)
				}
				s.stop()
				if s.code != exitOK {
					t.Errorf("%s: code %d", name, s.code)
				}
				printed := s.stdout.String() + s.stderr.String()
				for _, hidden := range []string{testSecret, otherSecret, string(secret), token} {
					if strings.Contains(printed, hidden) {
						t.Errorf("%s: %q is in %s", name, hidden, printed)
					}
				}
				if !strings.Contains(printed, "settings") || name == "set" && !strings.Contains(printed, "****") {
					t.Errorf("%s: the settings were not logged: %s", name, printed)
				}
			}
		})
	}
}

// With the format json, stderr is for machines: each line is an object.
func TestJSONLog(t *testing.T) {
	s := serve(t, nil, append([]string{"--log-format", "json", "--data-dir", t.TempDir()}, anyPort...)...)
	s.addrs(t)
	s.stop()
	for _, line := range lines(s.stderr.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	code, stdout, stderr := parley(t, nil, "serve", "--mqtt-addr", taken.Addr().String(), "--data-dir", t.TempDir())
	if code != exitError || stdout != "" || !strings.HasPrefix(stderr, "parley: mqtt-addr: ") || len(lines(stderr)) != 1 {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// A database that cannot be reached is not a wrong setting: trying again may
// help.
func TestDatabaseOutOfReach(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	url := fmt.Sprintf("postgres://u:%s@%s/d", otherSecret, ln.Addr())
	for _, args := range [][]string{append([]string{"serve", "--data-dir", t.TempDir()}, anyPort[:4]...), {"migrate"}} {
		code, _, stderr := parley(t, []string{"PARLEY_DATABASE_URL=" + url}, args...)
		if code != exitError || !strings.HasPrefix(stderr, "parley: database-url: ") || len(lines(stderr)) != 1 || strings.Contains(stderr, otherSecret) {
			t.Errorf("%v: code %d, stderr %q", args, code, stderr)
		}
	}
}

func TestSignalsEndAProcessWithCode0(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			s, p := process(t, anyPort...)
			mqtt, _ := s.addrs(t)
			conn, err := net.Dial("tcp", mqtt)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := p.Signal(sig); err != nil {
				t.Fatal(err)
			}
			<-s.ended
			if s.code != exitOK || !strings.Contains(s.stderr.String(), "msg=stopped") {
				t.Errorf("code %d: %s", s.code, s.stderr)
			}
		})
	}
}

// A signal while the server starts is obeyed as well.
func TestSignalDuringStart(t *testing.T) {
	database, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	s, p := process(t, append([]string{"--database-url", "postgres://" + database.Addr().String() + "/d"}, anyPort...)...)
	conn, err := database.Accept() // the start waits for an answer now
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	if s.code != exitOK || s.stdout.String() != "" || strings.Contains(s.stderr.String(), "level=ERROR") {
		t.Errorf("code %d, stdout %q, stderr %s", s.code, s.stdout, s.stderr)
	}
}

// The second signal does not wait for what the first one waits for.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s, p := process(t, append([]string{"--data-dir", dir}, anyPort...)...)
	_, addr := s.addrs(t)
	_, token, _ := parley(t, nil, "token", "--sub", "alice", "--data-dir", dir)

	// A request whose body does not come. 100 says that the server has begun
	// to read it.
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /v1/conversations HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", strings.TrimSpace(token))
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v", line, err)
	}

	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.stderr.waitFor(t, "part=http", s.ended)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	if s.code == exitOK || strings.Contains(s.stderr.String(), "msg=stopped") {
		t.Errorf("code %d: %s", s.code, s.stderr)
	}
}
