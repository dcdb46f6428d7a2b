package quickstarts_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is where the documents lie.
var root = filepath.Join("..", "..")

// block is a fenced block of a page.
type block struct {
	page string
	line int
	lang string
	name string // the file that the reader saves it as, if it says so
	text string
}

// fence begins a block: its language, and the name of its file.
var fence = regexp.MustCompile("^```([\\w+-]*) ?([\\w./-]*)$")

// blocks are those of a page, in their order.
func blocks(t testing.TB, page string) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	var all []block
	var open *block
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case open != nil && line == "```":
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "```"):
			m := fence.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("%s:%d: what begins with %q is no block that is understood", page, i+1, line)
			}
			open = &block{page: page, line: i + 1, lang: m[1], name: m[2]}
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block has no end", page, open.line)
	}
	return all
}

// file gives the one block of a page that is saved as name.
func file(t testing.TB, page, name string) block {
	t.Helper()
	var found []block
	for _, b := range blocks(t, page) {
		if b.name == name {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s has %d blocks named %s, want one", page, len(found), name)
	}
	return found[0]
}

// save writes the block into a folder as the reader does.
func (b block) save(t testing.TB, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, b.name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(b.text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// first is the first line of the block.
func (b block) first() string {
	line, _, _ := strings.Cut(b.text, "\n")
	return line
}
