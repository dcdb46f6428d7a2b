package parley_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/parley-mqtt/parley"

// room says what a package may import beside the standard library. Its tests
// may import anything.
type room struct {
	own     []string // packages of this module
	modules []string // import paths of others, with what lies below them
}

// anything allows every package; the rules of check hold all the same.
const anything = "*"

const (
	prometheus = "github.com/prometheus/client_golang"
	uuid       = "github.com/google/uuid"
	pgx        = "github.com/jackc/pgx/v5"
	sqlite     = "modernc.org/sqlite"
	goose      = "github.com/pressly/goose/v3"
	charm      = "charm.land"
	paho       = "github.com/eclipse/paho.golang"
)

// rooms lists every package. A new one is added here on purpose, with the
// least that it needs. Direction: cmd → app → {api, broker} → {acl, bridge} →
// {chat, bus}; stores hang under bridge.
var rooms = map[string]room{
	".":             {},
	"internal/chat": {},
	"acl": {
		own:     []string{"internal/chat"},
		modules: []string{"github.com/golang-jwt/jwt/v5", "github.com/MicahParks/jwkset"},
	},
	"internal/bus": {
		own:     []string{"internal/chat"},
		modules: []string{"github.com/nats-io/nats.go"},
	},
	"bridge": {
		own:     []string{"internal/chat", "internal/bus"},
		modules: []string{prometheus, uuid},
	},
	"bridge/postgres": {
		own:     []string{"bridge", "internal/chat"},
		modules: []string{pgx, goose},
	},
	"bridge/sqlite": {
		own:     []string{"bridge", "internal/chat"},
		modules: []string{sqlite, goose},
	},
	"bridge/storetest": {
		own:     []string{"bridge", "internal/chat"},
		modules: []string{"go.uber.org/goleak", "pgregory.net/rapid"},
	},
	"broker": {
		own:     []string{"internal/chat", "acl", "bridge", "broker/limit", "broker/live", "broker/router", "broker/transport", "broker/feed", "broker/wire", "broker/wsconn", "internal/bus"},
		modules: []string{"github.com/mochi-mqtt/server/v2/packets", prometheus, uuid},
	},
	"broker/feed": {
		own:     []string{"internal/chat", "bridge", "broker/wire"},
		modules: []string{prometheus},
	},
	"broker/limit": {own: []string{"internal/chat"}},
	"broker/live": {
		own:     []string{"internal/chat", "bridge", "broker/wire"},
		modules: []string{prometheus},
	},
	"broker/transport": {},
	"broker/wsconn":    {modules: []string{"github.com/gobwas/ws"}},
	"broker/router": {
		own:     []string{"internal/chat", "acl", "bridge", "broker/wire"},
		modules: []string{prometheus, uuid},
	},
	"broker/wire": {
		own:     []string{"internal/chat"},
		modules: []string{"github.com/mochi-mqtt/server/v2/packets"},
	},
	"api": {
		own:     []string{"internal/chat", "internal/catchup", "acl", "bridge"},
		modules: []string{"github.com/go-chi/chi/v5", "github.com/danielgtaylor/huma/v2", prometheus, uuid},
	},
	"internal/doctor": {own: []string{"acl", "bridge", "bridge/postgres", "bridge/sqlite"}},
	"internal/erase":  {own: []string{"internal/chat", "bridge"}},
	"internal/app": {
		own:     []string{anything},
		modules: []string{anything},
	},
	"cmd/parley": {
		own:     []string{anything},
		modules: []string{"github.com/alecthomas/kong", "github.com/alecthomas/kong-yaml", "github.com/charmbracelet/x/term", "golang.org/x/sys", prometheus},
	},
	// What others import has no types of ours in it, and nothing of the server.
	"client": {modules: []string{"github.com/eclipse/paho.golang"}},
	"internal/terminal": {
		own:     []string{"client"},
		modules: []string{charm, "github.com/charmbracelet/x/ansi"},
	},
	"internal/catchup": {own: []string{"internal/chat", "bridge"}},
	"internal/revoke": {
		own:     []string{"internal/chat", "bridge"},
		modules: []string{prometheus},
	},
	"internal/ingest": {
		own:     []string{"internal/chat", "acl"},
		modules: []string{paho, prometheus},
	},
	"internal/webhook": {
		own:     []string{"internal/chat", "bridge"},
		modules: []string{prometheus},
	},
	"internal/bench": {
		own:     []string{"internal/chat", "acl", "broker/wire"},
		modules: []string{"golang.org/x/sys"},
	},
	"internal/tools/testcount": {},
	"web":                      {},
	"test/browser":             {},
	"test/clients":             {},
	"test/conformance":         {},
	"test/deploy":              {},
	"test/e2e":                 {},
	"test/hostile":             {},
	"test/live":                {},
	"test/model":               {},
	"test/quickstarts":         {},
	"test/web":                 {},
	testkit: {
		own:     []string{anything},
		modules: []string{anything},
	},
}

// testkit and all below it is one room: it helps tests and is free.
const testkit = "internal/testkit"

// testOnly are the rooms that no code of the server may import.
var testOnly = []string{testkit, "bridge/storetest", "internal/tools"}

// keepers names the only importers of what must not spread.
var keepers = map[string][]string{
	pgx:    {"bridge/postgres"},
	sqlite: {"bridge/sqlite"},
	// SQL stands in the stores alone.
	"database/sql":           {"bridge/postgres", "bridge/sqlite"},
	module + "/internal/app": {"cmd"},
}

// A longer file or package needs a reason here.
const (
	maxFileLines    = 500
	maxPackageLines = 3000
)

// longFiles and longPackages say why something is longer than allowed.
var (
	longFiles    = map[string]string{}
	longPackages = map[string]string{
		"api":              "all of REST over one way to read requests, write answers and refuse; a file for each subject",
		"bridge":           "the contract of a store, and the log over it: they change together, a file for each part",
		"broker":           "one connection from accept to the last byte; what it carries is in feed and router, what bounds it in limit",
		"broker/router":    "subscriptions, queues, retained messages and wills keep their order by sharing one spool",
		"bridge/postgres":  "all that one database does, a file for each part of the contract",
		"bridge/sqlite":    "as bridge/postgres",
		"bridge/storetest": "a suite of tests for two databases, a file for each subject; nothing of it is in the binary",
		"internal/ingest":  "one way from a PUBLISH of the source to its acknowledgement; the parts share what is under way and the journal",
		"internal/bench":   "loads, and connections that do nothing, on servers that both start, log in to and measure in one way",
	}
)

// pkg is what the go command tells of a package.
type pkg struct {
	Dir            string
	ImportPath     string
	Doc            string
	Imports        []string
	GoFiles        []string
	CgoFiles       []string
	IgnoredGoFiles []string // of other systems
}

// name is the path inside the module.
func (p pkg) name() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

func TestImports(t *testing.T) {
	for _, p := range list(t) {
		for _, problem := range check(p) {
			t.Error(problem)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range list(t) {
		if p.Doc == "" && len(p.GoFiles)+len(p.CgoFiles) > 0 {
			t.Errorf("%s has no package comment", p.name())
		}
	}
}

func TestLengths(t *testing.T) {
	for _, p := range list(t) {
		total := 0
		for _, file := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if generated.Match(text) {
				continue
			}
			lines := bytes.Count(text, []byte("\n"))
			total += lines
			if name := path.Join(p.name(), file); lines > maxFileLines && longFiles[name] == "" {
				t.Errorf("%s has %d lines, more than %d; split it, or write the reason into longFiles", name, lines, maxFileLines)
			}
		}
		if total > maxPackageLines && longPackages[p.name()] == "" {
			t.Errorf("%s has %d lines, more than %d; split it, or write the reason into longPackages", p.name(), total, maxPackageLines)
		}
	}
}

// generated is the mark that the go command defines.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func TestCheck(t *testing.T) {
	tests := []struct {
		name    string
		imports []string
		want    string // empty: nothing is wrong
	}{
		{"broker", []string{"net", module + "/bridge", "github.com/mochi-mqtt/server/v2/packets", prometheus + "/prometheus"}, ""},
		{"broker/wsconn", []string{"github.com/gobwas/ws/wsutil"}, ""},
		{"broker", []string{module + "/api"}, "api"},
		{"broker", []string{"github.com/mochi-mqtt/server/v2"}, "mochi"},
		{"broker/wsconn", []string{"github.com/gobwas/wsx"}, "wsx"},
		{"bridge", []string{module + "/broker"}, "broker"},
		{"bridge", []string{"database/sql"}, "database/sql"},
		{"bridge/postgres", []string{pgx + "/pgxpool", "database/sql"}, ""},
		{"bridge/postgres", []string{sqlite}, sqlite},
		{"internal/app", []string{module + "/bridge/sqlite", module + "/broker", "example.com/any"}, ""},
		{"internal/app", []string{pgx}, pgx},
		{"internal/app", []string{module + "/internal/testkit/pgtest"}, "testkit"},
		{"internal/app", []string{module + "/bridge/storetest"}, "storetest"},
		{"cmd/parley", []string{module + "/internal/app", "golang.org/x/sys/unix"}, ""},
		{"api", []string{module + "/internal/app"}, "internal/app"},
		{"internal/testkit/pgtest", []string{pgx, module + "/internal/app", "example.com/any"}, ""},
		{"internal/chat", []string{"C"}, `"C"`},
		{"new", nil, "rooms"},
	}
	for _, tt := range tests {
		got := strings.Join(check(pkg{ImportPath: module + "/" + tt.name, Imports: tt.imports}), "\n")
		if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s importing %v: got %q, want %q", tt.name, tt.imports, got, tt.want)
		}
	}
}

// check tells which imports of a package are against the rules.
func check(p pkg) []string {
	name := p.name()
	inTestkit := within(name, testkit)
	key := name
	if inTestkit {
		key = testkit
	}
	r, ok := rooms[key]
	if !ok {
		return []string{name + " is new: add it to rooms, with what it may import"}
	}
	var problems []string
	for _, imported := range p.Imports {
		if !allowed(r, imported) {
			problems = append(problems, fmt.Sprintf("%s must not import %q", name, imported))
			continue
		}
		if inTestkit {
			continue
		}
		for target, by := range keepers {
			if within(imported, target) && !withinAny(name, by) {
				problems = append(problems, fmt.Sprintf("%s must not import %q: only %v may", name, imported, by))
			}
		}
		own, isOwn := strings.CutPrefix(imported, module+"/")
		if isOwn && withinAny(own, testOnly) && !withinAny(name, testOnly) {
			problems = append(problems, fmt.Sprintf("%s must not import %q: it is for tests", name, imported))
		}
	}
	return problems
}

func allowed(r room, imported string) bool {
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.Contains(r.own, anything) || slices.Contains(r.own, own)
	}
	// The first part of a path outside the standard library is a domain. The
	// server is built without cgo.
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") && imported != "C" {
		return true
	}
	return slices.Contains(r.modules, anything) || withinAny(imported, r.modules)
}

// within tells whether a path is the other or lies below it.
func within(p, other string) bool {
	return p == other || strings.HasPrefix(p, other+"/")
}

func withinAny(p string, others []string) bool {
	return slices.ContainsFunc(others, func(other string) bool { return within(p, other) })
}

func list(t *testing.T) []pkg {
	t.Helper()
	// -e: a package that does not build is the compiler's to report.
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e",
		"-json=Dir,ImportPath,Doc,Imports,GoFiles,CgoFiles,IgnoredGoFiles", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list found no packages")
	}
	return pkgs
}
