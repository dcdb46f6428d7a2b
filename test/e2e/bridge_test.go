package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// other is a mosquitto that is killed and started again with what it has on
// disk, beside Parley.
type other struct {
	t    testing.TB
	dir  string
	addr string
	now  *process
}

// Started by root, mosquitto is to stay root: the folder is the test's own. It
// writes what it has after each change, so that it loses nothing
// that it acknowledged; it may go back a step.
const mosquittoConf = `listener %s 127.0.0.1
allow_anonymous true
user root
persistence true
persistence_location %s/
autosave_on_changes true
autosave_interval 1
max_queued_messages 0
%s
`

func newOther(t testing.TB, more string) *other {
	t.Helper()
	o := &other{t: t, dir: t.TempDir(), addr: freePorts(t, 1)[0]}
	_, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(mosquittoConf, port, o.dir, more)
	if err := os.WriteFile(filepath.Join(o.dir, "conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	o.start()
	return o
}

func (o *other) start() {
	o.t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			o.t.Fatalf("%v: run scripts/test-deps.sh, or apt-get install mosquitto", err)
		}
	}
	o.now = launch(o.t, o.dir, bareEnv(), program, "-c", filepath.Join(o.dir, "conf"))
	eventually(o.t, patience, "mosquitto listens", func() bool {
		if o.now.hasExited() {
			o.t.Fatalf("mosquitto ended\n%s", o.now.stderr.last(10))
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
	now  *process
	all  []*process
}

func newBridging(t testing.TB, srv *server, source string, args ...string) *bridging {
	t.Helper()
	b := &bridging{t: t, dir: t.TempDir(), env: bareEnv("PARLEY_JWT_SECRET=" + parleytest.Secret)}
	b.args = append([]string{"bridge", "--source", source, "--target", "mqtt://" + srv.mqtt,
		"--target-http", "http://" + srv.web, "--as", "gateway", "--log-level", "debug"}, args...)
	t.Cleanup(func() {
		for i, p := range b.all {
			p.kill()
			if text := p.stderr.String(); strings.Contains(text, "panic") || strings.Contains(text, "level=ERROR") {
				t.Errorf("run %d of the bridge logged a defect:\n%s", i, p.stderr.last(30))
			}
		}
		if t.Failed() {
			for _, p := range b.all[max(0, len(b.all)-3):] {
				t.Logf("the last lines of a bridge's log:\n%s", p.stderr.last(150))
			}
		}
	})
	b.start()
	return b
}

func (b *bridging) start() {
	b.now = launch(b.t, b.dir, b.env, program, b.args...)
	b.all = append(b.all, b.now)
}

// stop ends it as an operator does.
func (b *bridging) stop() {
	b.t.Helper()
	b.now.terminate()
	if code := b.now.wait(patience); code != 0 {
		b.t.Fatalf("the bridge ended with code %d\n%s", code, b.now.stderr.last(30))
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
		eventually(c.t, patience, fmt.Sprintf("%s has %d messages", conversation, len(m.sent)), func() bool {
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
		eventually(t, patience, "the bridge reads", func() bool { return strings.Contains(b.now.stderr.String(), "reading the source") })
		c.burst(150, func() {})
		c.want(srv)

		// There is no event to wait for: these are the random moments.
		moment := func() { <-time.After(between(chance, 0, 120*time.Millisecond)) }
		rounds := []struct {
			name string
			do   func()
		}{
			{"the bridge is killed", func() { c.burst(40, func() { moment(); b.now.kill(); b.start() }) }},
			{"the bridge is killed twice", func() {
				c.burst(40, func() {
					moment()
					b.now.kill()
					b.start()
					moment()
					b.now.kill()
					b.start()
				})
			}},
			{"the bridge is stopped", func() { c.burst(40, func() { moment(); b.stop(); b.start() }) }},
			{"Parley is killed", func() { c.burst(40, func() { moment(); srv.crash(); srv.start() }) }},
			{"Parley is stopped", func() {
				c.burst(40, func() { moment(); srv.now.terminate(); srv.now.wait(patience); srv.start() })
			}},
			{"both are killed", func() {
				c.burst(40, func() {
					moment()
					b.now.kill()
					srv.crash()
					b.start()
					moment()
					srv.start()
				})
			}},
			{"mosquitto is killed", func() { source.endWhileRead(b, c, moment, (*process).kill) }},
			{"mosquitto is stopped", func() {
				source.endWhileRead(b, c, moment, func(p *process) { p.terminate(); p.wait(patience) })
			}},
			{"mosquitto and the bridge are killed", func() {
				source.endWhileRead(b, c, moment, func(p *process) { p.kill(); b.now.kill(); b.start() })
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
func (o *other) endWhileRead(b *bridging, c *crowd, moment func(), end func(*process)) {
	o.t.Helper()
	b.now.kill()
	c.burst(40, func() {})
	c.each((*meter).disconnect) // mosquitto has written what came before
	b.start()
	eventually(o.t, patience, "the bridge begins to read", func() bool {
		return strings.Contains(b.now.stderr.String(), "reading the source") || b.now.hasExited()
	})
	moment()
	end(o.now)
	o.start()
	for _, m := range c.meters {
		m.connect(o.addr)
	}
}
