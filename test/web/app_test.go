package web_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestApp runs the tests of what of the app needs no browser. Each is a
// subtest.
func TestApp(t *testing.T) {
	out := in(t, app, nil, "node", "test.mjs", "--test-reporter=../sdk/test/reporter.mjs")
	if ran := report(t, out); ran < 25 {
		t.Errorf("%d tests ran; there are at least 25", ran)
	}
}

// The types hold, in the app and in its tests.
func TestAppTypes(t *testing.T) {
	in(t, app, nil, "npm", "run", "--silent", "typecheck")
}

var (
	links = regexp.MustCompile(`(?:href|src)="([^"]+)"`)
	// What a policy without exceptions would keep from working.
	inline    = regexp.MustCompile(`(?i)<style|<script>|<script [^>]*>[^<]|\sstyle=|\son\w+=|javascript:`)
	elsewhere = regexp.MustCompile(`(?i)https?://|["'(=]\s*//`)
	fetched   = regexp.MustCompile(`(?i)@import|url\(`)
	hashed    = regexp.MustCompile(`^/assets/[\w.]+-[0-9a-f]{10}\.\w+$`)
	evaluated = regexp.MustCompile(`\beval\(|new Function\(|document\.write|new Worker\(`)
	markup    = regexp.MustCompile(`innerHTML|outerHTML|dangerously|insertAdjacent|createContextualFragment|DOMParser`)
)

// A build has two pages that name assets by their hashes and nothing else,
// each with its packed twins. The build itself fails when a script is too big.
func TestAppBuild(t *testing.T) {
	dist := t.TempDir()
	t.Log(string(in(t, app, nil, "node", "build.mjs", dist)))
	for _, page := range []string{"index.html", "admin.html"} {
		text := read(t, filepath.Join(dist, page))
		if found := inline.FindString(text) + elsewhere.FindString(text); found != "" {
			t.Errorf("%s has %q", page, found)
		}
		found := links.FindAllStringSubmatch(text, -1)
		if len(found) < 3 { // an icon, a style sheet, a script
			t.Errorf("%s names %v", page, found)
		}
		for _, link := range found {
			path := link[1]
			if !hashed.MatchString(path) {
				t.Errorf("%s names %s, without a hash", page, path)
				continue
			}
			checkAsset(t, filepath.Join(dist, filepath.FromSlash(path)))
		}
	}
}

// What people write is never taken for markup.
func TestAppMakesNoMarkup(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(filepath.Join(app, "src"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		if found := markup.FindString(read(t, path)); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		return nil
	})
	if err != nil || seen < 20 {
		t.Errorf("%d files, %v", seen, err)
	}
}

func checkAsset(t *testing.T, path string) {
	t.Helper()
	text := read(t, path)
	switch filepath.Ext(path) {
	case ".css":
		if found := fetched.FindString(text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	case ".js":
		if found := evaluated.FindString(text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
	r, err := gzip.NewReader(strings.NewReader(read(t, path+".gz")))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(r); err != nil || !bytes.Equal(plain, []byte(text)) {
		t.Errorf("%s.gz does not hold the same, %v", path, err)
	}
	if len(read(t, path+".br")) >= len(text) {
		t.Errorf("%s.br is no smaller", path)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
