package bench

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/parley-mqtt/parley/acl"
)

// Server is something that can be measured.
type Server struct {
	Name string
	// Start makes it ready. stop ends it and removes what it left.
	Start func(ctx context.Context) (t *Target, stop func() error, err error)
}

// ServerProcess is the name of the server itself among the processes of a
// target.
const ServerProcess = "server"

// Existing is a server that runs already.
func Existing(t *Target) Server {
	return Server{Name: t.Name, Start: func(context.Context) (*Target, func() error, error) {
		return t, func() error { return nil }, nil
	}}
}

// startTime bounds how long a server may take until it answers.
const startTime = time.Minute

// stopTime bounds how long it may take to stop before it is killed.
const stopTime = 30 * time.Second

// NewParley is a Parley server of its own for every run, on free ports, with a
// new data folder. With databaseURL its log is in that database, whose schema
// it brings up to date. also are measured with it. A secure one speaks TLS
// beside plain MQTT, and HTTPS instead of HTTP.
func NewParley(name, program, databaseURL string, also []Process, secure bool) Server {
	return Server{Name: name, Start: func(ctx context.Context) (*Target, func() error, error) {
		dir, err := os.MkdirTemp("", "parley-bench-")
		if err != nil {
			return nil, nil, err
		}
		remove := func() error { return os.RemoveAll(dir) }
		data := filepath.Join(dir, "data")
		args := []string{"serve", "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0",
			"--data-dir", data, "--log-level", "warn"}
		env := withoutSettings(os.Environ())
		if databaseURL != "" {
			// Not on the command line, which everybody on the machine can see.
			env = append(env, "PARLEY_DATABASE_URL="+databaseURL)
			args = append(args, "--migrate")
		}
		var roots *x509.CertPool
		if secure {
			var cert, key string
			if cert, key, roots, err = writeCertificate(dir); err != nil {
				return nil, nil, errors.Join(err, remove())
			}
			args = append(args, "--mqtts-addr", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
		}
		c, err := startChild(ctx, env, program, args...)
		if err != nil {
			return nil, nil, errors.Join(err, remove())
		}
		stop := func() error { return errors.Join(c.stop(), remove()) }
		at, err := c.welcomed(ctx)
		var secret []byte
		if err == nil {
			secret, err = acl.LoadOrCreateSecret(data)
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), stop())
		}
		return &Target{Name: name, Addr: at.mqtt, TLSAddr: at.mqtts,
			Parley:    &Parley{URL: at.http, Secret: secret, Roots: roots},
			Processes: c.processes(also), Keep: databaseURL == ""}, stop, nil
	}}
}

// withoutSettings leaves out the settings of Parley, so that a server that is
// measured has the defaults, whatever the one of this machine has.
func withoutSettings(env []string) []string {
	var rest []string
	for _, e := range env {
		if !strings.HasPrefix(e, "PARLEY_") {
			rest = append(rest, e)
		}
	}
	return rest
}

// The lines that a Parley server prints when it is ready.
var (
	mqttLine  = regexp.MustCompile(`(?m)^\s+MQTT\s+(\S+)$`)
	mqttsLine = regexp.MustCompile(`(?m)^\s+MQTTS\s+(\S+)$`)
	httpLine  = regexp.MustCompile(`(?m)^\s+HTTP\s+(http\S+)`)
)

// addresses are where a Parley is; mqtts is "" where it is not secure.
type addresses struct{ mqtt, mqtts, http string }

// welcomed waits for the lines with the addresses.
func (c *child) welcomed(ctx context.Context) (at addresses, err error) {
	err = c.poll(ctx, func() bool {
		text := c.stdout.String()
		mqtt, http := mqttLine.FindStringSubmatch(text), httpLine.FindStringSubmatch(text)
		if mqtt == nil || http == nil { // the last line
			return false
		}
		at.mqtt, at.http = mqtt[1], http[1]
		if mqtts := mqttsLine.FindStringSubmatch(text); mqtts != nil {
			at.mqtts = mqtts[1]
		}
		return true
	})
	return at, err
}

// NewMosquitto is a mosquitto of its own for every run, on a free port, with
// its defaults apart from that.
func NewMosquitto(name, program string, also []Process) Server {
	return Server{Name: name, Start: func(ctx context.Context) (*Target, func() error, error) {
		dir, err := os.MkdirTemp("", "parley-bench-")
		if err != nil {
			return nil, nil, err
		}
		remove := func() error { return os.RemoveAll(dir) }
		var c *child
		var addr string
		for range 5 { // another process may take the port between the look and the start
			if c, addr, err = startMosquitto(ctx, dir, program); err == nil || ctx.Err() != nil {
				break
			}
		}
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("starting %s: %w", name, err), remove())
		}
		stop := func() error { return errors.Join(c.stop(), remove()) }
		return &Target{Name: name, Addr: addr, Processes: c.processes(also)}, stop, nil
	}}
}

func startMosquitto(ctx context.Context, dir, program string) (*child, string, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, "", err
	}
	config := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\n", port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	c, err := startChild(ctx, os.Environ(), program, "-c", config)
	if err != nil {
		return nil, "", err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	var dialer net.Dialer
	err = c.poll(ctx, func() bool {
		nc, err := dialer.DialContext(ctx, "tcp", addr)
		if err != nil {
			return false
		}
		nc.Close()
		return true
	})
	if err != nil {
		return nil, "", errors.Join(err, c.stop())
	}
	return c, addr, nil
}

// MosquittoVersion is what the program says of itself, or "".
func MosquittoVersion(ctx context.Context, program string) string {
	out, _ := exec.CommandContext(ctx, program, "-h").Output() // it ends with an error after its help
	found := regexp.MustCompile(`mosquitto version (\S+)`).FindSubmatch(out)
	if found == nil {
		return ""
	}
	return string(found[1])
}

func freePort(ctx context.Context) (int, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// child is a server that this process started. It ends with this process.
type child struct {
	cmd            *exec.Cmd
	stdout, stderr text
	cancel         context.CancelFunc
	exited         chan struct{}
	err            error // set when exited is closed
}

func startChild(ctx context.Context, env []string, program string, args ...string) (*child, error) {
	// It lives until stop, also when ctx ends: what a run leaves is removed
	// with its help.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &child{cmd: exec.CommandContext(ctx, program, args...), cancel: cancel, exited: make(chan struct{})}
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = env, &c.stdout, &c.stderr
	c.cmd.SysProcAttr = childAttr()
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = stopTime
	started := make(chan error)
	go func() {
		// The kernel ends the child with the thread that started it. This one
		// lives as long as the child.
		runtime.LockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			c.err = c.cmd.Wait()
		}
		close(c.exited)
	}()
	if err := <-started; err != nil {
		cancel()
		<-c.exited
		return nil, err
	}
	return c, nil
}

// stop ends the process and waits for it.
func (c *child) stop() error {
	c.cancel()
	<-c.exited
	if c.err == nil || errors.Is(c.err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w\n%s", filepath.Base(c.cmd.Path), c.err, c.stderr.String())
}

// poll waits until ready is true.
func (c *child) poll(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ready() {
		select {
		case <-look.C:
		case <-c.exited:
			return errors.New("it has ended")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (c *child) processes(also []Process) []Process {
	return append([]Process{{Name: ServerProcess, PID: c.cmd.Process.Pid}}, also...)
}

// text keeps the beginning of what is written to it.
type text struct {
	mu sync.Mutex
	b  []byte
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 16 << 10
	t.b = append(t.b, p[:min(len(p), most-len(t.b))]...)
	return len(p), nil
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
