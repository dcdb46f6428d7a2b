package quickstarts_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// shellPage is a page whose sh blocks are typed into one shell, in their
// order. A block of JSON or text behind one is what it prints, where `…`
// stands for what differs.
type shellPage struct {
	page string
	// before is typed first: what the page takes for granted.
	before string
	// notRun says why a block is not typed, by its first line. What follows it
	// is not compared.
	notRun map[string]string
	// first is typed before a block, by its first line: what it takes for
	// granted and the page does not say how to do.
	first map[string]string
	// example says why the output that a page shows is of another case, by its
	// first line: then only its keys are compared.
	example map[string]string
	// refusals is set where the page shows what is refused. Elsewhere curl
	// fails when it is.
	refusals bool
	flags    []string // of the server
}

const twoTokens = "ALICE=$(./bin/parley token --sub alice); BOB=$(./bin/parley token --sub bob)\n"

var shellPages = []shellPage{
	{
		page: "README.md",
		notRun: map[string]string{
			"make run  # builds ./bin/parley and serves":                                       "it builds into the clone and stays; the server that it starts is the one all these commands talk to",
			"./bin/parley serve --database-url postgres://user:password@host/parley --migrate": "its host is nobody's; test/e2e runs the program on Postgres",
			"docker compose up": "there is no container engine here",
			"./bin/parley chat --as alice -c c1 --create --members bob": "it wants two people's terminals; test/e2e has them",
		},
	},
	{
		page:   "docs/quickstart/README.md",
		notRun: map[string]string{"make run": "as in README.md"},
	},
	{page: "docs/quickstart/curl.md", refusals: true},
	{page: "docs/quickstart/esp32.md"},
	{page: "docs/clients.md", before: "TOKEN=$(./bin/parley token --sub shop --scope notify)\n"},
	{
		page: "docs/terminal.md",
		notRun: map[string]string{
			"./bin/parley chat --as alice --conversation c1 --create --members bob":               "it wants two people's terminals; test/e2e has them",
			"./bin/parley tail --as bob -c c1              # the last 20 entries, and what comes": "it goes on for ever; test/e2e tails",
			`./bin/parley send --as alice -c c1 "the build is green"`:                             "it goes on for ever; test/e2e sends",
		},
	},
	{
		page:   "docs/operations.md",
		before: "ADMIN=$(./bin/parley token --sub root --scope admin)\n" + twoTokens + conversation,
		first: map[string]string{
			"ADMIN=$(./bin/parley token --sub root --scope admin)": "PHONE=$(./bin/parley token --sub bob)\n" +
				`mosquitto_sub -V mqttv5 -i "bob's phone" -u bob -P "$PHONE" -q 1 -t chat/+/messages &` + "\n" +
				`until curl -H "Authorization: Bearer $ADMIN" localhost:8080/v1/admin/connections | grep -q chat/+/messages; do sleep 0.1; done` + "\n",
		},
		notRun: map[string]string{
			"parley doctor --config /etc/parley/parley.yml      # or with the flags and variables that parley serve gets": "its file is nobody's; cmd/parley tests it",
		},
		example: map[string]string{
			`{"messages": 214, "edits": 12, "reactions": 31, "notifications": 9, "retained": 2, "sessions": 3, "conversations": 5}`:      "of a user who has said more",
			`{"items": [{"userId": "bob", "clientId": "bob's phone", "address": "192.0.2.7:38868", "transport": "tcp", "protocol": "5",`: "of another time and address",
		},
	},
	{page: "docs/quickstart/mosquitto.md", before: twoTokens + conversation},
}

const conversation = `curl -H "Authorization: Bearer $ALICE" localhost:8080/v1/conversations -d '{"id": "c1", "members": ["bob"]}'` + "\n"

func TestShellPages(t *testing.T) {
	t.Parallel()
	for _, p := range shellPages {
		t.Run(p.page, func(t *testing.T) {
			t.Parallel()
			p.run(t)
		})
	}
}

func (p shellPage) run(t *testing.T) {
	for _, program := range []string{"bash", "curl", "mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing: run scripts/test-deps.sh", program)
		}
	}
	h := newHome(t, p.flags...)
	if !p.refusals {
		f, err := os.OpenFile(h.dir+"/.curlrc", os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("fail-with-body\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	sh := newShell(t, h)
	sh.run("what comes before the page", p.before)
	all := blocks(t, p.page)
	for i, b := range all {
		if b.lang != "sh" || p.notRun[b.first()] != "" {
			continue
		}
		where := fmt.Sprintf("%s:%d", p.page, b.line)
		if text := p.first[b.first()]; text != "" {
			sh.run("what comes before "+where, text)
		}
		begin := len(sh.String())
		sh.run(where, b.text)
		if i+1 == len(all) {
			break
		}
		switch shown := all[i+1]; shown.lang {
		case "json":
			sh.expectJSON(shown, begin, p.example[shown.first()] != "")
		case "text":
			sh.expectText(shown, begin)
		}
	}
}

// shell is a bash that reads what is typed from a pipe of its own, so that the
// programs it starts find nothing at their standard input.
type shell struct {
	*process
	in   *os.File
	runs int
}

func newShell(t testing.TB, h *home) *shell {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	// The pipe is not of the programs that the shell starts.
	p := launchWith(t, h.dir, h.env(), r, "bash", "-euo", "pipefail", "/dev/fd/3")
	return &shell{process: p, in: w}
}

// run types a block, and waits until all of it was done without an error.
func (s *shell) run(where, text string) {
	s.t.Helper()
	s.runs++
	s.name = where
	mark := fmt.Sprintf("--- %d done", s.runs)
	if _, err := fmt.Fprintf(s.in, "%s\n{ printf '\\n%%s\\n' '%s'; } 3>&-\n", strings.TrimSuffix(text, "\n"), mark); err != nil {
		s.t.Fatalf("%s: %v", where, err)
	}
	s.expect("^" + mark + "$")
}

// expectJSON waits until what was printed since begin has the values of the
// block, in their order.
func (s *shell) expectJSON(shown block, begin int, keysOnly bool) {
	s.t.Helper()
	want := values(shown.text)
	if len(want) == 0 {
		s.t.Fatalf("%s:%d is no JSON", shown.page, shown.line)
	}
	s.eventually(shown, begin, func(text string) bool {
		next := 0
		for _, got := range values(text) {
			if next < len(want) && alike(want[next], got, keysOnly) {
				next++
			}
		}
		return next == len(want)
	})
}

// expectText waits until what was printed since begin has the lines of the
// block, in their order.
func (s *shell) expectText(shown block, begin int) {
	s.t.Helper()
	var want []string
	for _, line := range strings.Split(strings.TrimSpace(shown.text), "\n") {
		want = append(want, "^"+strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")+"$")
	}
	s.eventually(shown, begin, func(text string) bool {
		next := 0
		for _, line := range strings.Split(text, "\n") {
			if next < len(want) && regexp.MustCompile(want[next]).MatchString(line) {
				next++
			}
		}
		return next == len(want)
	})
}

func (s *shell) eventually(shown block, begin int, so func(text string) bool) {
	s.t.Helper()
	for late := deadline(); ; {
		text := s.String()[begin:]
		if so(text) {
			return
		}
		select {
		case <-s.written:
		case <-late:
			s.t.Fatalf("%s:%d does not come. It printed:\n%s", shown.page, shown.line, text)
		}
	}
}

// values are the JSON values in a text, whatever stands between them.
func values(text string) []any {
	var all []any
	for text != "" {
		at := strings.IndexAny(text, "{[")
		if at < 0 {
			break
		}
		d := json.NewDecoder(strings.NewReader(text[at:]))
		var v any
		if d.Decode(&v) != nil {
			text = text[at+1:]
			continue
		}
		all = append(all, v)
		text = text[at+int(d.InputOffset()):]
	}
	return all
}

// alike says whether a value is what a page shows: "…" stands for anything, in
// a text too, and as a key for more keys. With keysOnly the rest may be other
// values of the same kind.
func alike(want, got any, keysOnly bool) bool {
	switch want := want.(type) {
	case string:
		got, ok := got.(string)
		pattern := "(?s)^" + strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*") + "$"
		return ok && (keysOnly || regexp.MustCompile(pattern).MatchString(got)) || want == "…"
	case map[string]any:
		got, ok := got.(map[string]any)
		_, more := want["…"]
		if !ok || !more && len(got) != len(want) {
			return false
		}
		for key, value := range want {
			if other, has := got[key]; key != "…" && (!has || !alike(value, other, keysOnly)) {
				return false
			}
		}
		return true
	case []any:
		got, ok := got.([]any)
		if !ok || !keysOnly && len(got) != len(want) {
			return false
		}
		for i := range min(len(want), len(got)) {
			if !alike(want[i], got[i], keysOnly) {
				return false
			}
		}
		return true
	default:
		return keysOnly && reflect.TypeOf(want) == reflect.TypeOf(got) || want == got
	}
}

func TestAlike(t *testing.T) {
	for _, c := range []struct {
		want, got  string
		keys, same bool
	}{
		{`{"a": 1}`, `{"a": 1}`, false, true},
		{`{"a": 1}`, `{"a": 2}`, false, false},
		{`{"a": 1}`, `{"a": 2}`, true, true},
		{`{"a": 1}`, `{"a": "2"}`, true, false},
		{`{"a": 1}`, `{"a": 1, "b": 2}`, false, false},
		{`{"a": 1, "…": "…"}`, `{"a": 1, "b": 2}`, false, true},
		{`{"a": 1, "…": "…"}`, `{"b": 2}`, false, false},
		{`{"a": "x…z"}`, `{"a": "xyz"}`, false, true},
		{`{"a": "x…z"}`, `{"a": "xy"}`, false, false},
		{`{"a": "…"}`, `{"a": [1]}`, false, true},
		{`[1, 2]`, `[1]`, false, false},
		{`[{"a": 1}]`, `[{"a": 2}, {"a": 3}]`, true, true},
	} {
		if same := alike(values(c.want)[0], values(c.got)[0], c.keys); same != c.same {
			t.Errorf("%s and %s (keys only: %v): %v", c.want, c.got, c.keys, same)
		}
	}
}
