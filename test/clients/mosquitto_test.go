package clients_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// mosquitto runs mosquitto's programs for one user with one version.
type mosquitto struct {
	t       *testing.T
	srv     *server
	version string // mqttv311 or mqttv5
	user    string
	token   string
}

// eachMosquitto runs a test with both versions, each on another database.
func eachMosquitto(t *testing.T, test func(t *testing.T, srv *server, as func(user string) *mosquitto)) {
	for i, version := range []string{"mqttv311", "mqttv5"} {
		backend := parleytest.Backends[i]
		t.Run(version+"/"+backend, func(t *testing.T) {
			t.Parallel()
			srv := startServer(t, backend)
			test(t, srv, func(user string) *mosquitto {
				return &mosquitto{t: t, srv: srv, version: version, user: user, token: srv.open(user)}
			})
		})
	}
}

// start starts one of the programs. It ends with the test at the latest, and by
// itself when the tests are killed.
func (m *mosquitto) start(name string, args ...string) *screen {
	m.t.Helper()
	for _, program := range []string{name, "stdbuf"} {
		if _, err := exec.LookPath(program); err != nil {
			m.t.Fatalf("%v: run scripts/test-deps.sh, or apt-get install mosquitto-clients coreutils", err)
		}
	}
	host, port, err := net.SplitHostPort(m.srv.Addr)
	if err != nil {
		m.t.Fatal(err)
	}
	// Written to a pipe, a line would wait for the next ones.
	all := []string{"-oL", name, "-d", "-V", m.version, "-h", host, "-p", port, "-u", m.user, "-P", m.token}
	if name != "mosquitto_pub" {
		all = append(all, "-F", "%j", "-W", fmt.Sprint(int(patience.Seconds())))
	}
	s := &screen{t: m.t, cmd: exec.Command("stdbuf", append(all, args...)...), lines: make(chan string, inboxSize)}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	s.cmd.Stderr = s.cmd.Stdout
	if err := s.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	go func() {
		defer close(s.lines)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.lines <- lines.Text()
		}
	}()
	m.t.Cleanup(s.kill)
	return s
}

// screen is what a running program shows.
type screen struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // closed at its end
	seen  []string
	once  sync.Once
	err   error // how it ended
}

func (s *screen) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.end()
}

// end waits until the program has ended, and answers how.
func (s *screen) end() error {
	s.once.Do(func() {
		for line := range s.lines {
			s.seen = append(s.seen, line)
		}
		s.err = s.cmd.Wait()
	})
	return s.err
}

// await waits for a line that begins with this, and answers it.
func (s *screen) await(prefix string) string {
	s.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				s.t.Fatalf("%s ended: %s", s.cmd, strings.Join(s.seen, "\n"))
			}
			s.seen = append(s.seen, line)
			if strings.HasPrefix(line, prefix) {
				return line
			}
		case <-timer.C:
			s.t.Fatalf("%s shows no %q: %s", s.cmd, prefix, strings.Join(s.seen, "\n"))
		}
	}
}

// shown is a message as the programs print it with %j.
type shown struct {
	Topic      string
	QoS        byte
	Retain     int
	Payload    string
	Properties struct {
		User          map[string]string `json:"user-properties"`
		ContentType   string            `json:"content-type"`
		ResponseTopic string            `json:"response-topic"`
		Correlation   string            `json:"correlation-data"`
	}
}

func (s *screen) next() shown {
	s.t.Helper()
	var m shown
	if err := json.Unmarshal([]byte(s.await("{")), &m); err != nil {
		s.t.Fatal(err)
	}
	return m
}

// want wants this to be the next message, whatever its properties.
func (s *screen) want(topic, payload string, qos byte, retain int) {
	s.t.Helper()
	if m := s.next(); m.Topic != topic || m.Payload != payload || m.QoS != qos || m.Retain != retain {
		s.t.Fatalf("%s shows %+v, want %s %q at QoS %d, retain %d", s.cmd.Args[2], m, topic, payload, qos, retain)
	}
}

// run runs one of the programs to its end, which must be good.
func (m *mosquitto) run(name string, args ...string) {
	m.t.Helper()
	if s := m.start(name, args...); s.end() != nil {
		m.t.Fatalf("%s: %v: %s", s.cmd, s.err, strings.Join(s.seen, "\n"))
	}
}

func (m *mosquitto) publish(args ...string) {
	m.t.Helper()
	m.run("mosquitto_pub", args...)
}

// subscribe starts mosquitto_sub and waits until it is subscribed.
func (m *mosquitto) subscribe(args ...string) *screen {
	m.t.Helper()
	s := m.start("mosquitto_sub", args...)
	s.await("Subscribed ")
	return s
}

func TestMosquittoQoS(t *testing.T) {
	eachMosquitto(t, func(_ *testing.T, _ *server, as func(string) *mosquitto) {
		reader := as("alice").subscribe("-t", "dev/#", "-q", "2")
		for _, qos := range []string{"0", "1", "2"} {
			as("bob").publish("-t", "dev/"+qos, "-m", "at "+qos, "-q", qos)
			reader.want("dev/"+qos, "at "+qos, qos[0]-'0', 0)
		}
	})
}

func TestMosquittoRetained(t *testing.T) {
	eachMosquitto(t, func(_ *testing.T, _ *server, as func(string) *mosquitto) {
		early := as("alice").subscribe("-t", "dev/#", "-q", "1")
		as("bob").publish("-t", "dev/temperature", "-m", "21", "-q", "1", "-r")
		early.want("dev/temperature", "21", 1, 0)
		as("alice").subscribe("-t", "dev/#", "-q", "1").want("dev/temperature", "21", 1, 1)
		as("bob").publish("-t", "dev/temperature", "-n", "-q", "1", "-r")
		late := as("alice").subscribe("-t", "dev/#", "-q", "1")
		as("bob").publish("-t", "dev/humidity", "-m", "40", "-q", "1")
		late.want("dev/humidity", "40", 1, 0)
	})
}

func TestMosquittoWill(t *testing.T) {
	eachMosquitto(t, func(_ *testing.T, _ *server, as func(string) *mosquitto) {
		watcher := as("alice").subscribe("-t", "dev/status", "-q", "1")
		device := as("bob").subscribe("-t", "dev/commands", "--will-topic", "dev/status",
			"--will-payload", "gone", "--will-qos", "1", "--will-retain")
		device.kill()
		watcher.want("dev/status", "gone", 1, 0)
		as("alice").subscribe("-t", "dev/status", "-q", "1").want("dev/status", "gone", 1, 1)
	})
}

func TestMosquittoDurableSession(t *testing.T) {
	eachMosquitto(t, func(_ *testing.T, srv *server, as func(string) *mosquitto) {
		alice := []string{"-c", "-i", "phone", "-t", "dev/#", "-q", "2"}
		as("alice").run("mosquitto_sub", append(alice, "-E")...)
		as("bob").publish("-t", "dev/x", "-m", "not kept", "-q", "0")
		as("bob").publish("-t", "dev/x", "-m", "one", "-q", "1")
		srv.restart()
		as("bob").publish("-t", "dev/x", "-m", "two", "-q", "2")
		reader := as("alice").start("mosquitto_sub", alice...)
		reader.want("dev/x", "one", 1, 0)
		reader.want("dev/x", "two", 2, 0)
	})
}

func TestMosquittoSharedSubscription(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, _ *server, as func(string) *mosquitto) {
		members := []*screen{
			as("alice").subscribe("-t", "$share/workers/dev/jobs", "-q", "1"),
			as("alice").subscribe("-t", "$share/workers/dev/jobs", "-q", "1"),
		}
		const jobs = 6
		for i := range jobs {
			as("bob").publish("-t", "dev/jobs", "-m", fmt.Sprint(i), "-q", "1")
		}
		seen := map[string]bool{}
		for range jobs / 2 {
			for _, m := range members {
				seen[m.next().Payload] = true
			}
		}
		if len(seen) != jobs {
			t.Errorf("%d jobs are done, want %d", len(seen), jobs)
		}
	})
}

// Plain text is all that a small device needs to send.
func TestMosquittoChat(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, srv *server, as func(string) *mosquitto) {
		srv.Conversation("c1", "alice", "bob")
		reader := as("alice").subscribe("-t", "chat/c1/messages", "-q", "1")
		as("bob").publish("-t", "chat/c1/messages", "-m", "21 degrees", "-q", "1")
		as("bob").publish("-t", "chat/c1/messages", "-m", `{"content":"and rising","clientId":"b-1"}`, "-q", "2")
		for i, want := range []string{"21 degrees", "and rising"} {
			e := parleytest.Decode(t, []byte(reader.next().Payload))
			if e.Content != want || e.SenderID != "bob" || e.Seq != uint64(i+3) {
				t.Errorf("alice reads %+v, want %q", e, want)
			}
		}
	})
}

func TestMosquittoProperties(t *testing.T) {
	srv := startServer(t, "sqlite")
	as := func(user string) *mosquitto { return &mosquitto{t, srv, "mqttv5", user, srv.open(user)} }
	reader := as("alice").subscribe("-t", "dev/#", "-q", "1")
	as("bob").publish("-t", "dev/report", "-m", "21", "-q", "1", "-D", "publish", "user-property", "unit", "C",
		"-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "dev/answers",
		"-D", "publish", "correlation-data", "c-1")
	m := reader.next()
	p := m.Properties
	if m.Payload != "21" || len(p.User) != 1 || p.User["unit"] != "C" || p.ContentType != "text/plain" ||
		p.ResponseTopic != "dev/answers" || p.Correlation != "c-1" {
		t.Errorf("alice gets %+v", m)
	}
}

// mosquitto_rr asks, and another client answers where it is told.
func TestMosquittoRequestResponse(t *testing.T) {
	eachMosquitto(t, func(_ *testing.T, srv *server, as func(string) *mosquitto) {
		service := as("alice").subscribe("-t", "dev/requests", "-q", "1")
		caller := as("bob").start("mosquitto_rr", "-t", "dev/requests", "-e", "dev/answers", "-m", "6 times 7", "-q", "1")
		service.want("dev/requests", "6 times 7", 1, 0)
		as("alice").publish("-t", "dev/answers", "-m", "42", "-q", "1")
		caller.want("dev/answers", "42", 1, 0)
	})
}

func TestMosquittoRefused(t *testing.T) {
	eachMosquitto(t, func(t *testing.T, srv *server, as func(string) *mosquitto) {
		stranger := as("alice")
		stranger.token = "secret"
		for _, s := range []*screen{
			stranger.start("mosquitto_pub", "-t", "dev/x", "-m", "let me in", "-q", "1"),
			stranger.start("mosquitto_sub", "-t", "dev/x"),
		} {
			if s.end() == nil {
				t.Errorf("%s is not told that its token does not hold: %s", s.cmd.Args[2], s.seen)
			}
		}
		s := as("alice").start("mosquitto_sub", "-t", "other/x", "-q", "1")
		s.await("All subscription requests were denied")
		if as("alice").version == "mqttv5" {
			s = as("alice").start("mosquitto_pub", "-t", "other/x", "-m", "let me in", "-q", "1")
			s.await("Warning: Publish 1 failed: Not authorized")
		}
	})
}
