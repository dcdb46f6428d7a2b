package clients_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// inboxSize is more messages than any test leaves unread.
const inboxSize = 1000

// program runs a library of another language: a small driver that is one
// client. It reads one JSON command a line and answers each with a reply; each
// message that comes is a line too.
type program struct {
	driver string
	scheme string
	// find answers the interpreter that has the library.
	find func() (string, error)
}

var python = &program{
	driver: "python/client.py",
	scheme: "mqtt",
	find: sync.OnceValues(func() (string, error) {
		// A Python of the user's own does not see Debian's packages.
		for _, path := range []string{"python3", "/usr/bin/python3"} {
			if exec.Command(path, "-c", "import paho.mqtt.client").Run() == nil {
				return path, nil
			}
		}
		return "", errors.New("no python3 has paho-mqtt: run scripts/test-deps.sh, or apt-get install python3-paho-mqtt")
	}),
}

var node = &program{
	driver: "node/client.js",
	scheme: "ws",
	find: sync.OnceValues(func() (string, error) {
		if _, err := exec.LookPath("node"); err != nil {
			return "", errors.New("there is no node: run scripts/test-deps.sh, or apt-get install nodejs npm")
		}
		if _, err := os.Stat(filepath.Join("node", "node_modules", "mqtt")); err != nil {
			return "", errors.New("MQTT.js is missing: run scripts/test-deps.sh, or npm ci --prefix test/clients/node")
		}
		return "node", nil
	}),
}

// command tells a driver what to do.
type command struct {
	Do string `json:"do"`

	URL      string   `json:"url,omitempty"` // connect
	CA       string   `json:"ca,omitempty"`  // of the server's certificate, in PEM; "" is no TLS
	Version  byte     `json:"version,omitempty"`
	ID       string   `json:"id,omitempty"`
	UserName string   `json:"userName,omitempty"`
	Token    string   `json:"token,omitempty"`
	Durable  bool     `json:"durable"`
	Will     *message `json:"will,omitempty"`

	Filter string `json:"filter,omitempty"` // subscribe, unsubscribe
	QoS    byte   `json:"qos"`

	Message *message `json:"message,omitempty"` // publish
}

// reply answers a command.
type reply struct {
	Code    byte   `json:"code"` // what the server said
	Present bool   `json:"present"`
	Error   string `json:"error"` // what the library said
}

// external is a running driver.
type external struct {
	cmd      *exec.Cmd
	stdin    io.WriteCloser
	stderr   bytes.Buffer // read after ended
	replies  chan reply
	messages chan message
	killed   chan struct{}
	ended    chan struct{} // closed when the process and its reader are gone
	kill1    sync.Once
}

func (p *program) dial(version byte) func(testing.TB, *server, session) (client, bool, error) {
	return func(t testing.TB, srv *server, s session) (client, bool, error) {
		t.Helper()
		c, err := p.start()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.kill)
		cmd := command{Do: "connect", Version: version, ID: s.ID, UserName: s.User, Token: s.Token,
			Durable: s.Durable, Will: s.Will}
		cmd.URL, cmd.CA = srv.url(p.scheme, s.Secure)
		r, err := c.do(cmd)
		if err == nil && r.Code != 0 {
			err = refusal{r.Code}
		}
		return c, r.Present, err
	}
}

// url answers where the server is reached with mqtt or ws, and by which
// authority its certificate is signed.
func (s *server) url(scheme string, secure bool) (url, ca string) {
	addr, path := s.Addr, ""
	if secure {
		addr, ca = s.tlsAddr, string(s.ca.PEM)
	}
	if scheme == "ws" {
		if addr, path = s.webAddr, "/mqtt"; secure {
			addr = s.wssAddr
		}
	}
	if secure {
		scheme += "s"
	}
	return scheme + "://" + addr + path, ca
}

// start starts the driver.
func (p *program) start() (*external, error) {
	path, err := p.find()
	if err != nil {
		return nil, err
	}
	c := &external{cmd: exec.Command(path, p.driver), replies: make(chan reply, 1),
		messages: make(chan message, inboxSize), killed: make(chan struct{}), ended: make(chan struct{})}
	c.cmd.Stderr = &c.stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go c.read(stdout)
	return c, nil
}

// read takes what the driver says, until it ends.
func (c *external) read(stdout io.Reader) {
	defer close(c.ended)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Reply   *reply
			Message *message
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			line.Reply = &reply{Error: fmt.Sprintf("the driver says %q", lines.Bytes())}
		}
		if line.Reply != nil {
			select {
			case c.replies <- *line.Reply:
			case <-c.killed:
			}
		}
		if line.Message != nil {
			select {
			case c.messages <- *line.Message:
			case <-c.killed:
			}
		}
	}
	_ = c.cmd.Wait() // killed, most often
}

// do gives a command and waits for the answer.
func (c *external) do(cmd command) (reply, error) {
	line, err := json.Marshal(cmd)
	if err != nil {
		return reply{}, err
	}
	if _, err := c.stdin.Write(append(line, '\n')); err != nil {
		c.kill()
		return reply{}, fmt.Errorf("%s: %w: %s", cmd.Do, err, c.stderr.Bytes())
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-c.replies:
		if r.Error != "" {
			return r, fmt.Errorf("%s: %s", cmd.Do, r.Error)
		}
		return r, nil
	case <-c.ended:
		return reply{}, fmt.Errorf("%s: the driver ended: %s", cmd.Do, c.stderr.Bytes())
	case <-timer.C:
		return reply{}, fmt.Errorf("%s: no answer", cmd.Do)
	}
}

func (c *external) subscribe(filter string, qos byte) (byte, error) {
	r, err := c.do(command{Do: "subscribe", Filter: filter, QoS: qos})
	return r.Code, err
}

func (c *external) unsubscribe(filter string) error {
	return c.done(command{Do: "unsubscribe", Filter: filter})
}

func (c *external) publish(m message) error { return c.done(command{Do: "publish", Message: &m}) }

func (c *external) disconnect() error { return c.done(command{Do: "disconnect"}) }

// done gives a command to which the server may say no.
func (c *external) done(cmd command) error {
	r, err := c.do(cmd)
	if err == nil && r.Code >= 0x80 {
		err = refusal{r.Code}
	}
	return err
}

func (c *external) inbox() <-chan message { return c.messages }

// kill ends the process at once; the system closes its connection.
func (c *external) kill() {
	c.kill1.Do(func() {
		close(c.killed)
		_ = c.cmd.Process.Kill() // it may have ended
		_ = c.stdin.Close()
	})
	<-c.ended
}
