package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/testkit/certtest"
	"github.com/parley-mqtt/parley/internal/testkit/mqttest"
	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// other is a mosquitto that is killed and started again with what it has on
// disk, beside Parley.
type other struct {
	t    testing.TB
	dir  string
	addr string
	now  *proctest.Process
}

// Started by root, mosquitto is to stay root: the folder is the test's own. It
// writes what it has after each change, so that it loses nothing
// that it acknowledged; it may go back a step.
const mosquittoConf = `user root
per_listener_settings true
persistence true
persistence_location %s/
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
listener %s 127.0.0.1
allow_anonymous true
%s
`

func newOther(t testing.TB, more string) *other {
	t.Helper()
	o := &other{t: t, dir: t.TempDir(), addr: proctest.FreePorts(t, 1)[0]}
	_, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(mosquittoConf, o.dir, port, more)
	if err := os.WriteFile(filepath.Join(o.dir, "conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	o.start()
	return o
}

func (o *other) start() {
	o.t.Helper()
	mosquitto, err := exec.LookPath("mosquitto")
	if err != nil {
		if mosquitto, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			o.t.Fatalf("%v: run scripts/test-deps.sh, or apt-get install mosquitto", err)
		}
	}
	o.now = proctest.Launch(o.t, o.dir, proctest.BareEnv(), mosquitto, "-c", filepath.Join(o.dir, "conf"))
	proctest.Eventually(o.t, patience, "mosquitto listens", func() bool {
		if o.now.HasExited() {
			o.t.Fatalf("mosquitto ended\n%s", o.now.Stderr.Last(10))
		}
		c, err := net.Dial("tcp", o.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

// bridging is a parley bridge.
type bridging struct {
	t    testing.TB
	dir  string
	env  []string
	args []string
	now  *proctest.Process
	all  []*proctest.Process
}

func newBridging(t testing.TB, srv *server, source string, args ...string) *bridging {
	t.Helper()
	b := &bridging{t: t, dir: t.TempDir(), env: proctest.BareEnv("PARLEY_JWT_SECRET=" + parleytest.Secret)}
	b.args = append([]string{"bridge", "--source", source, "--target", "mqtt://" + srv.mqtt,
		"--target-http", "http://" + srv.web, "--as", "gateway", "--log-level", "debug"}, args...)
	t.Cleanup(func() {
		for i, p := range b.all {
			p.Kill()
			if text := p.Stderr.String(); strings.Contains(text, "panic") || strings.Contains(text, "level=ERROR") {
				t.Errorf("run %d of the bridge logged a defect:\n%s", i, p.Stderr.Last(30))
			}
		}
		if t.Failed() {
			for _, p := range b.all[max(0, len(b.all)-3):] {
				t.Logf("the last lines of a bridge's log:\n%s", p.Stderr.Last(150))
			}
		}
	})
	b.start()
	return b
}

func (b *bridging) start() {
	b.now = proctest.Launch(b.t, b.dir, b.env, proctest.Program, b.args...)
	b.all = append(b.all, b.now)
}

// stop ends it as an operator does.
func (b *bridging) stop() {
	b.t.Helper()
	b.now.Terminate()
	if code := b.now.Wait(patience); code != 0 {
		b.t.Fatalf("the bridge ended with code %d\n%s", code, b.now.Stderr.Last(30))
	}
}

// meter publishes readings on one topic, one at a time.
type meter struct {
	t     testing.TB
	topic string
	qos   byte
	text  func(i int) string
	sent  []string // what was acknowledged
	link  *paho.Client
}

func (m *meter) connect(addr string) {
	m.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.link = paho.NewClient(paho.ClientConfig{Conn: c})
	if _, err := m.link.Connect(context.Background(), &paho.Connect{ClientID: strings.ReplaceAll(m.topic, "/", "-"), CleanStart: true, KeepAlive: 60}); err != nil {
		m.t.Fatal(err)
	}
}

func (m *meter) disconnect() { _ = m.link.Disconnect(&paho.Disconnect{}) }

func (m *meter) publish() error {
	text := m.text(len(m.sent))
	_, err := m.link.Publish(context.Background(), &paho.Publish{Topic: m.topic, QoS: m.qos, Payload: []byte(text)})
	if err == nil {
		m.sent = append(m.sent, text)
	}
	return err
}

// crowd is meters that publish at once. Mosquitto is killed only while they
// pause: what it acknowledged to them it must have.
type crowd struct {
	t      testing.TB
	addr   string
	meters []*meter
}

func newCrowd(t testing.TB, addr string) *crowd {
	unique := func(name string) func(int) string {
		return func(i int) string { return fmt.Sprintf("%s %d", name, i) }
	}
	c := &crowd{t: t, addr: addr, meters: []*meter{
		{topic: "plant/1/t", qos: 1, text: unique("one")},
		{topic: "plant/2/t", qos: 2, text: unique("two")},
		{topic: "plant/3/t", qos: 1, text: func(int) string { return "21" }},
		{topic: "plant/4/t", qos: 2, text: func(int) string { return "22" }},
	}}
	for _, m := range c.meters {
		m.t = t
		m.connect(addr)
	}
	t.Cleanup(func() { c.each(func(m *meter) { m.disconnect() }) })
	return c
}

func (c *crowd) each(do func(m *meter)) {
	var all sync.WaitGroup
	for _, m := range c.meters {
		all.Go(func() { do(m) })
	}
	all.Wait()
}

// burst publishes n readings of each, while something else is done.
func (c *crowd) burst(n int, meanwhile func()) {
	c.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.each(func(m *meter) {
			for range n {
				if err := m.publish(); err != nil {
					c.t.Errorf("publishing to mosquitto: %v", err)
					return
				}
			}
		})
	}()
	meanwhile()
	<-done
}

// want wants the conversations to have exactly what was published, in the
// order in which it came: the bridge numbers what comes, and the number is in
// the clientId. That order may be another than the one of publishing: when
// mosquitto has messages waiting for a session that is back, new ones overtake
// them.
func (c *crowd) want(srv *server) {
	c.t.Helper()
	for _, m := range c.meters {
		conversation := "plant-" + strings.Split(m.topic, "/")[1]
		var have []parleytest.Entry
		proctest.Eventually(c.t, patience, fmt.Sprintf("%s has %d messages", conversation, len(m.sent)), func() bool {
			if status, _ := srv.rest.do(http.MethodGet, "/v1/conversations/"+conversation, srv.token("alice"), nil, nil); status != http.StatusOK {
				return len(m.sent) == 0
			}
			have = slices.DeleteFunc(srv.rest.historyAfter(c.t, srv.token("alice"), conversation, 0),
				func(e parleytest.Entry) bool { return e.Type != "message" })
			return len(have) >= len(m.sent)
		})
		missing := make(map[string]int)
		for _, text := range m.sent {
			missing[text]++
		}
		last := uint64(0)
		for _, e := range have {
			missing[e.Content]--
			n, err := strconv.ParseUint(e.ClientID[strings.LastIndex(e.ClientID, ".")+1:], 36, 64)
			if err != nil || n <= last {
				c.t.Errorf("%s: %q stands behind number %d: %v", m.topic, e.ClientID, last, err)
			}
			last = n
		}
		maps.DeleteFunc(missing, func(_ string, n int) bool { return n == 0 })
		if len(missing) > 0 {
			c.t.Fatalf("%s: %d were published and %d stand here; missing, or with a minus too many: %v", m.topic, len(m.sent), len(have), missing)
		}
	}
}

// Whatever is killed, and whenever, each message of the other broker stands
// here once, in the order in which it came: unique ones, and equal ones as often
// as they were published.
func TestBridgeSurvivesEveryKill(t *testing.T) {
	parleytest.Each(t, func(t *testing.T, backend string) {
		chance := chances(t)
		srv := startServer(t, backend, options{})
		source := newOther(t, "")
		b := newBridging(t, srv, "mqtt://"+source.addr, "--filter", "plant/+/t", "--to", "chat/plant-{2}/messages",
			"--create", "--members", "alice", "--qos", "2", "--window", "500", "--source-client-id", "bridge")
		c := newCrowd(t, source.addr)
		b.reads()
		c.burst(150, func() {})
		c.want(srv)

		// There is no event to wait for: these are the random moments.
		moment := func() { <-time.After(between(chance, 0, 120*time.Millisecond)) }
		rounds := []struct {
			name string
			do   func()
		}{
			{"the bridge is killed", func() { c.burst(40, func() { moment(); b.now.Kill(); b.start() }) }},
			{"the bridge is killed twice", func() {
				c.burst(40, func() {
					moment()
					b.now.Kill()
					b.start()
					moment()
					b.now.Kill()
					b.start()
				})
			}},
			{"the bridge is stopped", func() { c.burst(40, func() { moment(); b.stop(); b.start() }) }},
			{"Parley is killed", func() { c.burst(40, func() { moment(); srv.crash(); srv.start() }) }},
			{"Parley is stopped", func() {
				c.burst(40, func() { moment(); srv.now.Terminate(); srv.now.Wait(patience); srv.start() })
			}},
			{"both are killed", func() {
				c.burst(40, func() {
					moment()
					b.now.Kill()
					srv.crash()
					b.start()
					moment()
					srv.start()
				})
			}},
			{"mosquitto is killed", func() { source.endWhileRead(b, c, moment, (*proctest.Process).Kill) }},
			{"mosquitto is stopped", func() {
				source.endWhileRead(b, c, moment, func(p *proctest.Process) { p.Terminate(); p.Wait(patience) })
			}},
			{"mosquitto and the bridge are killed", func() {
				source.endWhileRead(b, c, moment, func(p *proctest.Process) { p.Kill(); b.now.Kill(); b.start() })
			}},
		}
		for range 2 {
			for _, i := range chance.Perm(len(rounds)) {
				rounds[i].do()
				c.want(srv)
				if t.Failed() {
					t.Fatal(rounds[i].name)
				}
			}
		}
	})
}

// endWhileRead ends mosquitto while the bridge reads what has gathered.
func (o *other) endWhileRead(b *bridging, c *crowd, moment func(), end func(*proctest.Process)) {
	o.t.Helper()
	b.now.Kill()
	c.burst(40, func() {})
	c.each((*meter).disconnect) // mosquitto has written what came before
	b.start()
	proctest.Eventually(o.t, patience, "the bridge begins to read", func() bool {
		return strings.Contains(b.now.Stderr.String(), "reading the source") || b.now.HasExited()
	})
	moment()
	end(o.now)
	o.start()
	for _, m := range c.meters {
		m.connect(o.addr)
	}
}

// reads waits until the bridge is subscribed.
func (b *bridging) reads() {
	b.t.Helper()
	proctest.Eventually(b.t, patience, "the bridge reads", func() bool { return strings.Contains(b.now.Stderr.String(), "reading the source") })
}

// says waits until the bridge has logged something.
func (b *bridging) says(text string) {
	b.t.Helper()
	proctest.Eventually(b.t, patience, "the bridge says "+text, func() bool { return strings.Contains(b.now.Stderr.String(), text) })
}

// texts are the messages of a conversation.
func texts(t *testing.T, srv *server, conversation string) (all []string) {
	for _, e := range srv.rest.historyAfter(t, srv.token("gateway"), conversation, 0) {
		if e.Type == "message" {
			all = append(all, e.Content)
		}
	}
	return all
}

func wantTexts(t *testing.T, srv *server, conversation string, want ...string) {
	t.Helper()
	proctest.Eventually(t, patience, conversation+" has "+strings.Join(want, ", "), func() bool {
		return slices.Equal(texts(t, srv, conversation), want)
	})
}

// one publishes one message.
func one(t *testing.T, addr, topic, payload string, qos byte, retain bool) {
	t.Helper()
	m := &meter{t: t, topic: topic}
	m.connect(addr)
	defer m.disconnect()
	if _, err := m.link.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: qos, Payload: []byte(payload), Retain: retain}); err != nil {
		t.Fatal(err)
	}
}

// With TLS, a certificate of its own and a password from a file; a password
// that is put right is taken without a restart.
func TestBridgeReadsOverTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certtest.New(t)
	caFile := certtest.Write(t, dir, "ca.crt", ca.PEM)
	cert, key := ca.WritePair(dir)
	ownCert, ownKey := ca.Issue("bridge")
	passwords := filepath.Join(dir, "passwords")
	run(t, dir, proctest.BareEnv(), "mosquitto_passwd", "-b", "-c", passwords, "gateway", "the right one")
	address := proctest.FreePorts(t, 1)[0]
	_, port, _ := net.SplitHostPort(address)
	source := newOther(t, strings.Join([]string{"listener " + port + " 127.0.0.1", "cafile " + caFile, "certfile " + cert,
		"keyfile " + key, "require_certificate true", "password_file " + passwords, "allow_anonymous false"}, "\n"))
	srv := startServer(t, "sqlite", options{})
	srv.conversation("c1", "gateway")
	password := certtest.Write(t, dir, "password", []byte("a wrong one\n"))
	b := newBridging(t, srv, "mqtts://localhost:"+port, "--filter", "a/#", "--to", "chat/c1/messages",
		"--source-ca", caFile, "--source-cert", certtest.Write(t, dir, "own.crt", ownCert),
		"--source-key", certtest.Write(t, dir, "own.key", ownKey), "--source-user", "gateway", "--source-password-file", password)
	b.says("CONNACK 0x87")
	certtest.Write(t, dir, "password", []byte("the right one\n"))
	b.reads()
	one(t, source.addr, "a/b", "over TLS", 1, false)
	wantTexts(t, srv, "c1", "over TLS")
	if text := b.now.Stderr.String(); strings.Contains(text, "right one") || strings.Contains(text, "wrong one") {
		t.Errorf("a password is in the log:\n%s", text)
	}
	b.stop()
}

// What can never be written does not hold up the line, and is kept with its
// reason, once, over a crash too.
func TestBridgeKeepsWhatIsRefused(t *testing.T) {
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	srv.conversation("c1", "gateway")
	srv.conversation("theirs", "alice")
	b := newBridging(t, srv, "mqtt://"+source.addr, "--route", "a/+ => chat/{2}/messages")
	b.reads()
	for _, m := range [][2]string{{"a/c1", "first"}, {"a/c1", "\xff\xfe"}, {"a/c1", strings.Repeat("x", 9000)}, {"a/theirs", "let me in"},
		{"a/none", "anybody?"}, {"a/c 1", "no id"}, {"a/c1", "last"}} {
		one(t, source.addr, m[0], m[1], 1, false)
	}
	wantTexts(t, srv, "c1", "first", "last")
	var letters []struct{ ID, Topic, Reason, Payload, PayloadBase64 string }
	read := func() {
		letters = nil
		text, err := os.ReadFile(filepath.Join(b.dir, "parley-data", "bridge", "bridge.dead.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			letters = append(letters, struct{ ID, Topic, Reason, Payload, PayloadBase64 string }{})
			if err := json.Unmarshal([]byte(line), &letters[len(letters)-1]); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
		}
	}
	proctest.Eventually(t, patience, "there are five dead letters", func() bool { read(); return len(letters) == 5 })
	reasons := make(map[string]string)
	for _, l := range letters {
		reasons[l.Topic+" "+l.Payload[:min(9, len(l.Payload))]+l.PayloadBase64] = l.Reason
	}
	for what, want := range map[string]string{"a/c1 //4=": "not text", "a/c1 xxxxxxxxx": "9000 bytes", "a/theirs let me in": "0x87",
		"a/none anybody?": "0x99", "a/c 1 no id": "id"} {
		if !strings.Contains(reasons[what], want) {
			t.Errorf("%s: the reason is %q, want %q", what, reasons[what], want)
		}
	}
	b.now.Kill()
	b.start()
	b.reads()
	one(t, source.addr, "a/c1", "after all", 1, false)
	wantTexts(t, srv, "c1", "first", "last", "after all")
	if read(); len(letters) != 5 {
		t.Errorf("there are %d dead letters", len(letters))
	}
	b.stop()
}

// A bridge that is told to stop at what is refused ends, and the source keeps
// the message; one that is told to skip goes on.
func TestBridgeStopsOrSkips(t *testing.T) {
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	srv.conversation("c1", "gateway")
	b := newBridging(t, srv, "mqtt://"+source.addr, "--filter", "a/#", "--to", "chat/c1/messages", "--on-refusal", "stop")
	b.reads()
	one(t, source.addr, "a/b", "\xff", 1, false)
	if code := b.now.Wait(patience); code != 1 || !strings.Contains(b.now.Stderr.Last(1), `a message was refused: topic "a/b": the payload is not text`) {
		t.Fatalf("code %d\n%s", code, b.now.Stderr.Last(5))
	}
	one(t, source.addr, "a/b", "behind it", 1, false)
	b.args = append(b.args, "--on-refusal", "skip")
	b.start()
	wantTexts(t, srv, "c1", "behind it")
	if !strings.Contains(b.now.Stderr.String(), "refused for good") {
		t.Error("what is skipped is not logged")
	}
	b.stop()
}

// While Parley is away the source keeps what it has, and the bridge holds no
// more than its window. /readyz says what is wrong.
func TestBridgeWaitsForParley(t *testing.T) {
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	srv.conversation("plant-1", "gateway", "alice")
	web := newREST(t, proctest.FreePorts(t, 1)[0])
	b := newBridging(t, srv, "mqtt://"+source.addr, "--filter", "plant/+/t", "--to", "chat/plant-{2}/messages",
		"--window", "16", "--listen", strings.TrimPrefix(web.url, "http://"))
	b.reads()
	proctest.Eventually(t, patience, "the bridge is ready", func() bool { return web.status("/readyz") == http.StatusOK })
	srv.crash()
	proctest.Eventually(t, patience, "the bridge is not ready", func() bool { return web.status("/readyz") == http.StatusServiceUnavailable })
	m := &meter{t: t, topic: "plant/1/t", qos: 1, text: func(i int) string { return fmt.Sprint(i) }}
	m.connect(source.addr)
	for range 300 {
		if err := m.publish(); err != nil {
			t.Fatal(err)
		}
	}
	if held := web.metric(t, "parley_bridge_in_flight"); held > 32 {
		t.Errorf("the bridge holds %v messages", held)
	}
	if web.status("/healthz") != http.StatusOK {
		t.Error("the bridge is not alive")
	}
	srv.start()
	proctest.Eventually(t, patience, "all stand", func() bool { return len(texts(t, srv, "plant-1")) >= 300 })
	if all := texts(t, srv, "plant-1"); len(all) != 300 {
		t.Errorf("%d messages stand", len(all))
	}
	m.disconnect()
	b.stop()
}

// Filters that are taken out of the settings are given up, and what is
// retained is read once, where that is asked for.
func TestBridgeSubscribesAnew(t *testing.T) {
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	srv.conversation("c1", "gateway")
	one(t, source.addr, "a/1", "retained", 1, true)
	b := newBridging(t, srv, "mqtt://"+source.addr, "--filter", "a/#,b/#", "--to", "chat/c1/messages", "--retained")
	wantTexts(t, srv, "c1", "retained")
	b.stop()
	b.args = append(b.args, "--filter", "a/#")
	i := slices.Index(b.args, "a/#,b/#")
	b.args = slices.Delete(b.args, i-1, i+1)
	b.start()
	b.reads()
	one(t, source.addr, "b/1", "not any more", 1, false)
	one(t, source.addr, "a/1", "still", 1, false)
	wantTexts(t, srv, "c1", "retained", "still")
	b.stop()
}

// Ordinary topics get the payload as it is, with an id.
func TestBridgeWritesToOrdinaryTopics(t *testing.T) {
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	reader := mqttest.Dial(t, srv.mqtt)
	reader.Connect(mqttest.Options{ClientID: "reader", Clean: true, User: "alice",
		Password: parleytest.Token(t, acl.Claims{Subject: "alice", TTL: time.Hour, Sub: []string{"#"}})})
	reader.Subscribe("devices/#")
	b := newBridging(t, srv, "mqtt://"+source.addr, "--route", "plant/# => devices/{topic}")
	b.reads()
	one(t, source.addr, "plant/7/t", "\xff\x00", 1, false)
	p := reader.Expect(packets.Publish)
	if p.TopicName != "devices/plant/7/t" || string(p.Payload) != "\xff\x00" || len(p.Properties.User) != 1 || p.Properties.User[0].Key != "bridge-id" {
		t.Errorf("the reader gets %s %q %v", p.TopicName, p.Payload, p.Properties.User)
	}
	b.stop()
}

// The example of the documentation does what it says, and its file has
// settings alone.
func TestBridgeDocumentation(t *testing.T) {
	text, err := os.ReadFile("../../docs/bridge.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```(sh|yaml)\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 3 || blocks[2][1] != "yaml" {
		t.Fatalf("there are %d blocks", len(blocks))
	}
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	_, port, _ := net.SplitHostPort(source.addr)
	here := strings.NewReplacer("mosquitto -p 1884 &", "", "./bin/parley", proctest.Program, "localhost:1884", source.addr, "-p 1884", "-p "+port,
		"localhost:8080", srv.web, "--create", "--create --target mqtt://"+srv.mqtt+" --target-http http://"+srv.web)
	dir := t.TempDir()
	bridge := proctest.Launch(t, dir, srv.env, "sh", "-c", "exec "+strings.TrimSpace(here.Replace(blocks[0][2])))
	proctest.Eventually(t, patience, "the bridge reads", func() bool { return strings.Contains(bridge.Stderr.String(), "reading the source") })
	proctest.Eventually(t, patience, "alice reads it", func() bool {
		return strings.Contains(run(t, dir, srv.env, "sh", "-c", here.Replace(blocks[1][2])), `"content":"{\"celsius\": 21}"`)
	})
	file := filepath.Join(dir, "bridge.yml")
	if err := os.WriteFile(file, []byte(blocks[2][2]), 0o600); err != nil {
		t.Fatal(err)
	}
	p := proctest.Launch(t, dir, srv.env, proctest.Program, "bridge", "--config", file)
	if p.Wait(patience); !strings.HasPrefix(p.Stderr.String(), "parley: source-ca: open /etc/parley/source-ca.pem") {
		t.Errorf("the file of the example: %s", p.Stderr.String())
	}
}

// A token that is replaced in its file is taken before the old one ends, and
// the connection stays.
func TestBridgeTakesAFreshToken(t *testing.T) {
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	srv.conversation("c1", "gateway")
	token := func(ttl time.Duration) []byte {
		return []byte(parleytest.Token(t, acl.Claims{Subject: "gateway", TTL: ttl}) + "\n")
	}
	dir := t.TempDir()
	const life = 8 * time.Second
	ends := time.Now().Add(life + time.Second)
	file := certtest.Write(t, dir, "token", token(life))
	b := newBridging(t, srv, "mqtt://"+source.addr, "--filter", "a/#", "--to", "chat/c1/messages")
	b.now.Kill() // the token of the file in the place of --as
	i := slices.Index(b.args, "--as")
	b.args = append(slices.Delete(b.args, i, i+2), "--token-file", file)
	b.start()
	b.reads()
	b.says("writing to Parley")
	certtest.Write(t, dir, "token", token(time.Hour))
	<-time.After(time.Until(ends)) // a token ends by the clock
	one(t, source.addr, "a/b", "after the first token", 1, false)
	wantTexts(t, srv, "c1", "after the first token")
	if text := b.now.Stderr.String(); strings.Contains(text, "no connection to Parley") {
		t.Errorf("the connection did not stay:\n%s", text)
	}
	b.stop()
}

// Two bridges share a subscription, and one is killed again and again, and
// knows nothing any more of what it had, as if the other got it. What has an
// identity of its own stands once, whoever brings it.
func TestBridgesShareASubscription(t *testing.T) {
	chance := chances(t)
	source, srv := newOther(t, ""), startServer(t, "sqlite", options{})
	srv.conversation("plant-1", "gateway", "alice")
	args := []string{"--filter", "$share/bridges/plant/+/t", "--to", "chat/plant-{2}/messages", "--id-from", "json:/id"}
	first := newBridging(t, srv, "mqtt://"+source.addr, append(args, "--source-client-id", "first")...)
	second := newBridging(t, srv, "mqtt://"+source.addr, append(args, "--source-client-id", "second")...)
	first.reads()
	second.reads()
	m := &meter{t: t, topic: "plant/1/t", qos: 1, text: func(i int) string { return fmt.Sprintf(`{"id": %d, "celsius": 21}`, i) }}
	m.connect(source.addr)
	defer m.disconnect()
	for range 8 {
		done := make(chan error, 1)
		go func() {
			var err error
			for range 60 {
				err = errors.Join(err, m.publish())
			}
			done <- err
		}()
		<-time.After(between(chance, 0, 60*time.Millisecond)) // a random moment
		first.now.Kill()
		if err := os.Remove(filepath.Join(first.dir, "parley-data", "bridge", "bridge.journal")); err != nil {
			t.Fatal(err)
		}
		first.start()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		first.reads()
	}
	var all []string
	proctest.Eventually(t, patience, "all stand", func() bool { all = texts(t, srv, "plant-1"); return len(all) >= len(m.sent) })
	slices.Sort(all)
	slices.Sort(m.sent)
	if !slices.Equal(all, m.sent) {
		t.Errorf("%d stand, want %d: %.300q", len(all), len(m.sent), all)
	}
	first.stop()
	second.stop()
}
