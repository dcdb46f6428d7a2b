package conformance_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const (
	root     = "../.."
	document = root + "/docs/conformance.md"
)

// statements are those of one section, first to last.
type statements struct {
	section     string
	first, last int
}

// names lists statements as the document writes them.
func names(prefix string, list []statements) map[string]bool {
	set := make(map[string]bool)
	for _, s := range list {
		for n := s.first; n <= s.last; n++ {
			set[fmt.Sprintf("%sMQTT-%s-%d", prefix, s.section, n)] = true
		}
	}
	return set
}

// The numbers of statements in the standards' lists.
const total5, total311 = 251, 141

// row is a line of a table in the document.
type row struct {
	line  int
	cells []string
}

// rows reads the document's tables.
func rows(t *testing.T) (list []row, text string) {
	t.Helper()
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(raw), "\n") {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		list = append(list, row{i + 1, cells})
	}
	return list, string(raw)
}

var (
	statement = regexp.MustCompile(`(3\.1\.1: )?MQTT-\d+\.\d+\.\d+-\d+`)
	named     = regexp.MustCompile("`([a-z0-9/]+) (Test[A-Za-z0-9_]+)(?:/([^`]+))?`")
)

// Every statement of both standards stands in the document once: with a row
// of its own, as the same in 3.1.1, or among those of clients; and no other.
func TestEveryStatementIsThere(t *testing.T) {
	known5, known311 := names("", mqtt5), names("3.1.1: ", mqtt311)
	if len(known5) != total5 || len(known311) != total311 {
		t.Fatalf("the lists have %d and %d statements, want %d and %d", len(known5), len(known311), total5, total311)
	}
	count := make(map[string]int)
	list, text := rows(t)
	for _, r := range list {
		if name := r.cells[0]; statement.FindString(name) == name {
			count[name]++
		}
	}
	for line := range strings.SplitSeq(text, "\n") {
		if after, ok := strings.CutPrefix(line, "Clients alone: "); ok {
			for _, name := range statement.FindAllString(after, -1) {
				count[name]++
			}
		}
	}
	for _, known := range []map[string]bool{known5, known311} {
		for name := range known {
			if count[name] != 1 {
				t.Errorf("%s stands there %d times", name, count[name])
			}
		}
	}
	for _, name := range statement.FindAllString(text, -1) {
		if !known5[name] && !known311[name] {
			t.Errorf("there is no statement %s", name)
		}
	}
}

// A row of a statement names a test, or says why there is none.
func TestEveryRowHasATest(t *testing.T) {
	list, _ := rows(t)
	known := names("", mqtt5)
	for _, r := range list {
		if statement.FindString(r.cells[0]) != r.cells[0] {
			continue
		}
		shown := r.cells[len(r.cells)-1]
		switch {
		case len(r.cells) == 2: // the same in MQTT 5
			for _, name := range statement.FindAllString(shown, -1) {
				if !known[name] {
					t.Errorf("line %d: there is no %s", r.line, name)
				}
			}
			if !statement.MatchString(shown) {
				t.Errorf("line %d: %s is the same as nothing", r.line, r.cells[0])
			}
		case len(r.cells) != 3:
			t.Errorf("line %d has %d cells", r.line, len(r.cells))
		case !named.MatchString(shown) && !strings.HasPrefix(shown, "not applicable: "):
			t.Errorf("line %d: %s has neither a test nor a reason", r.line, r.cells[0])
		}
	}
}

// Every test that the document names is there.
func TestNamedTestsExist(t *testing.T) {
	packages := make(map[string]map[string]*source)
	list, _ := rows(t)
	for _, r := range list {
		for _, m := range named.FindAllStringSubmatch(strings.Join(r.cells, " "), -1) {
			dir, test, sub := m[1], m[2], m[3]
			if packages[dir] == nil {
				packages[dir] = tests(t, filepath.Join(root, filepath.FromSlash(dir)))
			}
			found := packages[dir][test]
			switch {
			case found == nil:
				t.Errorf("line %d: %s has no %s", r.line, dir, test)
			case sub != "" && !found.literals[sub]:
				t.Errorf("line %d: %s of %s has no subtest %q", r.line, test, dir, sub)
			}
		}
	}
}

// source is what the names of a test's subtests are looked for in: the
// strings in the test itself, and in the tables of its file.
type source struct{ literals map[string]bool }

// tests parses the test files of a folder.
func tests(t *testing.T, dir string) map[string]*source {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no tests", dir)
	}
	found := make(map[string]*source)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		tables := make(map[string]bool)
		var own []*source
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				collect(d, tables)
			case *ast.FuncDecl:
				if d.Recv == nil && strings.HasPrefix(d.Name.Name, "Test") {
					s := &source{make(map[string]bool)}
					collect(d, s.literals)
					found[d.Name.Name] = s
					own = append(own, s)
				}
			}
		}
		for _, s := range own {
			for l := range tables {
				s.literals[l] = true
			}
		}
	}
	return found
}

// collect takes the string literals below a node.
func collect(n ast.Node, into map[string]bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil {
				into[s] = true
			}
		}
		return true
	})
}

var cited = regexp.MustCompile(`\[((?:3\.1\.1: )?MQTT-[0-9.]+-[0-9]+)\]`)

// Statements that the source names in brackets are there.
func TestCitedStatementsExist(t *testing.T) {
	known := names("", mqtt5)
	for name := range names("3.1.1: ", mqtt311) {
		known[name] = true
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(raw), "\n") {
			for _, m := range cited.FindAllStringSubmatch(line, -1) {
				if !known[m[1]] {
					t.Errorf("%s:%d names %s", path, i+1, m[1])
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
