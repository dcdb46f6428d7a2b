package deploy_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// elsewhere is where clients of these tests come from. Proxies connect from
// 127.0.0.1 or 127.0.0.2.
var elsewhere = net.IPv4(127, 0, 0, 77)

// site is a proxy in front of a server.
type site struct {
	t     *testing.T
	trust *tls.Config
	*server
	mqtts, https string // addresses of the proxy; "" is none
}

// dial opens a TLS connection to a port of the proxy.
func (s *site) dial(addr, protocol string) net.Conn {
	s.t.Helper()
	cfg := s.trust.Clone()
	cfg.NextProtos = []string{protocol}
	dialer := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: elsewhere}, Timeout: patience}, Config: cfg}
	conn, err := dialer.DialContext(s.t.Context(), "tcp", addr)
	if err != nil {
		s.t.Fatalf("%s: %v", addr, err)
	}
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != protocol && got != "" {
		s.t.Errorf("the proxy chose %q", got)
	}
	return conn
}

// request sends a request through the proxy.
func (s *site) request(method, path, token, body string, into any) (status int) {
	s.t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		return s.dial(s.https, "http/1.1"), nil
	}}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "https://localhost"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		s.t.Fatalf("%s: %v in %s", path, err, text)
	}
	return resp.StatusCode
}

// webSocket is MQTT in a WebSocket, as a page of the site opens it.
type webSocket struct {
	net.Conn
	left []byte
}

func (s *site) webSocket() *webSocket {
	s.t.Helper()
	conn := s.dial(s.https, "http/1.1")
	_, port, _ := net.SplitHostPort(s.https)
	url := "wss://localhost:" + port
	dialer := ws.Dialer{Protocols: []string{"mqtt"}, NetDial: func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		TLSClient: func(c net.Conn, _ string) net.Conn { return c },
		Header:    ws.HandshakeHeaderHTTP(http.Header{"Origin": {"https://localhost:" + port}})}
	_, _, shake, err := dialer.Dial(s.t.Context(), url+"/mqtt")
	if err != nil || shake.Protocol != "mqtt" {
		s.t.Fatalf("WebSocket: %v, protocol %q", err, shake.Protocol)
	}
	return &webSocket{Conn: conn}
}

func (w *webSocket) Read(p []byte) (int, error) {
	for len(w.left) == 0 {
		var err error
		if w.left, _, err = wsutil.ReadServerData(w.Conn); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.left)
	w.left = w.left[n:]
	return n, nil
}

func (w *webSocket) Write(p []byte) (int, error) {
	return len(p), wsutil.WriteClientBinary(w.Conn, p)
}

// connect logs in.
func (s *site) connect(conn net.Conn, user string) *mqttest.Client {
	s.t.Helper()
	c := mqttest.New(s.t, conn)
	ack := c.Connect(mqttest.Options{ClientID: user, User: user, Password: token(s.t, user, ""), Clean: true})
	if ack.ReasonCode != 0 {
		s.t.Fatalf("%s was refused: 0x%02x", user, ack.ReasonCode)
	}
	return c
}

// chat has alice and bob talk through the proxy, and answers from where the
// server sees alice.
func (s *site) chat() (address string) {
	s.t.Helper()
	alice := s.connect(s.webSocket(), "alice")
	var bob *mqttest.Client
	if s.mqtts != "" {
		bob = s.connect(s.dial(s.mqtts, "mqtt"), "bob")
	} else {
		bob = s.connect(s.webSocket(), "bob")
	}
	if status := s.request("POST", "/v1/conversations", token(s.t, "alice", ""), `{"id": "c1", "members": ["bob"]}`, nil); status != http.StatusCreated {
		s.t.Fatalf("status %d", status)
	}
	for _, c := range []*mqttest.Client{alice, bob} {
		if ack := c.Subscribe("chat/c1/messages"); ack.ReasonCodes[0] > 1 {
			s.t.Fatalf("SUBACK 0x%02x", ack.ReasonCodes[0])
		}
	}
	alice.Publish("chat/c1/messages", "through the proxy", 1)
	if got := bob.Expect(packets.Publish); !strings.Contains(string(got.Payload), "through the proxy") {
		s.t.Errorf("bob got %s", got.Payload)
	}
	var list struct {
		Items []struct{ UserID, Address string }
	}
	s.request("GET", "/v1/admin/connections", token(s.t, "root", "admin"), "", &list)
	if len(list.Items) != 2 {
		s.t.Fatalf("connections %v", list.Items)
	}
	hosts := map[string]string{}
	for _, i := range list.Items {
		host, _, err := net.SplitHostPort(i.Address)
		if err != nil {
			s.t.Error(err)
		}
		hosts[i.UserID] = host
	}
	if s.mqtts != "" && hosts["bob"] != elsewhere.String() {
		s.t.Errorf("bob is seen at %s, is at %s", hosts["bob"], elsewhere)
	}
	return hosts["alice"]
}

// closedMetrics checks that the proxy does not show the metrics to all.
func (s *site) closedMetrics() {
	s.t.Helper()
	if status := s.request("GET", "/metrics", "", "", nil); status != http.StatusForbidden {
		s.t.Errorf("/metrics answers %d", status)
	}
}

// example is an example file with what differs here.
func example(t *testing.T, name string, change ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(string(text), change[i]) {
			t.Errorf("%s has no %q", name, change[i])
		}
	}
	return strings.NewReplacer(change...).Replace(string(text))
}

func port(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// files makes a pair of certificate and key for the proxy, also in one file.
func files(t *testing.T) (trust *tls.Config, cert, key, both string) {
	t.Helper()
	authority := certtest.New(t)
	dir := t.TempDir()
	c, k := authority.Issue("proxy")
	return authority.Trust(), certtest.Write(t, dir, "proxy.crt", c), certtest.Write(t, dir, "proxy.key", k),
		certtest.Write(t, dir, "both.pem", append(append([]byte{}, c...), k...))
}

// listening waits until all that the proxy serves can be connected to.
func listening(t *testing.T, p *proctest.Process, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		eventually(t, "the proxy listens on "+addr, func() bool {
			if p.HasExited() {
				t.Fatalf("the proxy ended\n%s%s", p.Stdout.String(), p.Stderr.String())
			}
			conn, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
	}
}

// nginx starts nginx with a text in its main file, which it finds good.
func nginx(t *testing.T, text string, addrs ...string) {
	t.Helper()
	dir := t.TempDir()
	// nginx of root gives its workers to another user, who must come in.
	file := filepath.Join(dir, "nginx.conf")
	head := fmt.Sprintf("daemon off;\nuser root;\npid %s/pid;\nerror_log stderr notice;\nworker_processes 1;\nevents { worker_connections 512; }\n", dir)
	if module := "/usr/lib/nginx/modules/ngx_stream_module.so"; exists(module) {
		head = "load_module " + module + ";\n" + head
	}
	if os.Geteuid() != 0 {
		head = strings.Replace(head, "user root;\n", "", 1)
	}
	if err := os.WriteFile(file, []byte(head+text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-p", dir, "-e", "stderr", "-c", file}
	if out, err := exec.CommandContext(t.Context(), find(t, "nginx"), append(args, "-t")...).CombinedOutput(); err != nil || strings.Contains(string(out), "[warn]") {
		t.Fatalf("nginx -t: %v\n%s", err, out)
	}
	listening(t, proctest.Launch(t, t.TempDir(), os.Environ(), find(t, "nginx"), args...), addrs...)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// find is where a program is. Debian keeps servers off the PATH of users.
func find(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path := filepath.Join("/usr/sbin", name)
	if !exists(path) {
		t.Fatalf("there is no %s; make test installs it", name)
	}
	return path
}

func TestNginxStream(t *testing.T) {
	trust, cert, key, _ := files(t)
	ports := proctest.FreePorts(t, 2)
	s := &site{t: t, trust: trust, mqtts: ports[0], https: ports[1],
		server: start(t, server{args: []string{"--proxy-protocol-from", "127.0.0.1"}})}
	nginx(t, example(t, "nginx/parley-stream.conf", "/etc/ssl/parley/fullchain.pem", cert, "/etc/ssl/parley/privkey.pem", key,
		"8883 ssl", s.mqtts+" ssl", "443 ssl", s.https+" ssl", "127.0.0.1:1883;", s.mqtt+";", "127.0.0.1:8080;", s.web+";"), s.mqtts, s.https)
	if got := s.chat(); got != elsewhere.String() {
		t.Errorf("alice is seen at %s, is at %s", got, elsewhere)
	}
}

// A site of nginx, also beside the PROXY protocol from the same machine.
func TestNginxSite(t *testing.T) {
	trust, cert, key, _ := files(t)
	ports := proctest.FreePorts(t, 1)
	s := &site{t: t, trust: trust, https: ports[0],
		server: start(t, server{args: []string{"--proxy-protocol-from", "127.0.0.1"}})}
	text := example(t, "nginx/parley-http.conf", "/etc/ssl/parley/fullchain.pem", cert, "/etc/ssl/parley/privkey.pem", key,
		"443 ssl", s.https+" ssl", "127.0.0.1:8080;", s.web+";", "chat.example.com", "localhost")
	nginx(t, "http {\naccess_log off;\n"+text+"}\n", s.https)
	if got := s.chat(); got != "127.0.0.2" {
		t.Errorf("alice is seen at %s", got)
	}
	s.closedMetrics()
}

func TestHAProxy(t *testing.T) {
	trust, _, _, both := files(t)
	ports := proctest.FreePorts(t, 2)
	s := &site{t: t, trust: trust, mqtts: ports[0], https: ports[1],
		server: start(t, server{args: []string{"--proxy-protocol-from", "127.0.0.1"}})}
	text := example(t, "haproxy/haproxy.cfg", "/etc/ssl/parley/both.pem", both, "bind :8883", "bind "+s.mqtts, "bind :443", "bind "+s.https,
		"127.0.0.1:1883", s.mqtt, "127.0.0.1:8080", s.web, "port 8080", "port "+port(s.web), "maxconn 100000", "maxconn 500")
	file := certtest.Write(t, t.TempDir(), "haproxy.cfg", []byte(text))
	if out, err := exec.CommandContext(t.Context(), find(t, "haproxy"), "-c", "-f", file).CombinedOutput(); err != nil || strings.Contains(string(out), "WARNING") {
		t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	listening(t, proctest.Launch(t, t.TempDir(), os.Environ(), find(t, "haproxy"), "-db", "-f", file), s.mqtts, s.https)
	if got := s.chat(); got != elsewhere.String() {
		t.Errorf("alice is seen at %s, is at %s", got, elsewhere)
	}
	s.closedMetrics()
}

func TestCaddy(t *testing.T) {
	caddy(t, nil, func(s *site) string { return s.web + " {" })
}

// Behind Caddy Parley may have TLS itself, for MQTT.
func TestCaddyToTLS(t *testing.T) {
	authority := certtest.New(t)
	dir := t.TempDir()
	cert, key := authority.WritePair(dir)
	ca := certtest.Write(t, dir, "ca.crt", authority.PEM)
	caddy(t, []string{"--tls-cert", cert, "--tls-key", key}, func(s *site) string {
		return "https://" + s.web + " {\n\t\ttransport http {\n\t\t\ttls_server_name localhost\n\t\t\ttls_trusted_ca_certs " + ca + "\n\t\t}"
	})
}

func caddy(t *testing.T, args []string, upstream func(*site) string) {
	t.Helper()
	trust, cert, key, _ := files(t)
	ports := proctest.FreePorts(t, 1)
	s := &site{t: t, trust: trust, https: ports[0], server: start(t, server{args: args})}
	text := example(t, "caddy/Caddyfile", "chat.example.com {", "https://localhost:"+port(s.https)+" {\n\ttls "+cert+" "+key, "127.0.0.1:8080 {", upstream(s))
	// What Caddy would do for the whole machine.
	text = "{\n\tadmin off\n\tauto_https off\n\tskip_install_trust\n}\n" + text
	dir := t.TempDir()
	file := certtest.Write(t, dir, "Caddyfile", []byte(text))
	listening(t, proctest.Launch(t, t.TempDir(), append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "HOME="+dir),
		find(t, "caddy"), "run", "--config", file, "--adapter", "caddyfile"), s.https)
	if got := s.chat(); got != "127.0.0.1" {
		t.Errorf("alice is seen at %s", got)
	}
	s.closedMetrics()
}
