package hostile_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// task tells a child process what to do. It is the first line of its stdin.
type task struct {
	Addr string // the server's MQTT
	N    int    // how large the attack is
	Rate int    // messages a second, where the role has a rate
}

// cue is what a role hears from its parent, and tells it.
type cue struct {
	task
	said <-chan string // the next lines of stdin; closed: come to an end
}

// ready says that the role is under way.
func (c *cue) ready() { fmt.Println("ready") }

// over reports whether the role is to come to an end.
func (c *cue) over() bool {
	select {
	case _, more := <-c.said:
		return !more
	default:
		return false
	}
}

// facts are what a role found out, by name.
type facts map[string]float64

// roles are what child processes do. Each answers its facts once it has been
// told to end.
var roles = map[string]func(*cue) (any, error){"witness": witness}

func play(role string) error {
	stdin := bufio.NewScanner(os.Stdin)
	stdin.Scan()
	c := &cue{}
	if err := json.Unmarshal(stdin.Bytes(), &c.task); err != nil {
		return fmt.Errorf("the task: %w", err)
	}
	said := make(chan string)
	c.said = said
	go func() {
		defer close(said)
		for stdin.Scan() {
			said <- stdin.Text()
		}
	}()
	do := roles[role]
	if do == nil {
		return fmt.Errorf("there is no role %s", role)
	}
	found, err := do(c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(found)
}

// actor is a child process that plays a role.
type actor struct {
	t     testing.TB
	role  string
	p     *proctest.Process
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// act starts a role and waits until it is under way.
func act(t testing.TB, role string, what task, low bool) *actor {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	// The race detector would have a child that ends sleep a second.
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a := &actor{t: t, role: role, stdin: stdin, lines: bufio.NewScanner(stdout)}
	a.lines.Buffer(nil, 1<<20)
	if low { // and no more than one core, or the machine is full and its disk slow
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	a.p = proctest.Start(t, cmd)
	if low {
		if err := yield(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	a.say(string(text))
	if line := a.line(); line != "ready" {
		t.Fatalf("%s says %q", role, line)
	}
	return a
}

// say sends the role a line.
func (a *actor) say(line string) {
	a.t.Helper()
	if _, err := fmt.Fprintln(a.stdin, line); err != nil {
		a.t.Fatalf("telling %s: %v", a.role, err)
	}
}

// line answers what the role says next.
func (a *actor) line() string {
	a.t.Helper()
	if !a.lines.Scan() {
		<-a.p.Exited()
		a.t.Fatalf("%s has ended: %v\n%s", a.role, a.p.Cmd.ProcessState, a.p.Stderr.Last(20))
	}
	return strings.TrimSpace(a.lines.Text())
}

// finish tells the role to end and reads what it found.
func (a *actor) finish(into any) {
	a.t.Helper()
	_ = a.stdin.Close()
	if err := json.Unmarshal([]byte(a.line()), into); err != nil {
		a.t.Fatalf("what %s found: %v", a.role, err)
	}
	<-a.p.Exited()
}

// pass lets time pass while the processes run.
func (a *actor) pass(d time.Duration) {
	a.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.p.Exited():
		a.t.Fatalf("%s has ended: %v\n%s", a.role, a.p.Cmd.ProcessState, a.p.Stderr.Last(20))
	}
}
