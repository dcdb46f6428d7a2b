package quickstarts_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// files say which test runs, or else compiles or checks, the blocks that the
// reader saves as a file, or why none does.
var files = map[string]map[string]string{
	"docs/quickstart/python.md":       {"chat.py": "TestPython"},
	"docs/quickstart/go.md":           {"chat.go": "TestGo"},
	"docs/quickstart/node.md":         {"chat.mjs": "TestNode"},
	"docs/quickstart/mqttjs.md":       {"chat.mjs": "TestMQTTjs"},
	"docs/quickstart/browser.md":      {"index.html": "TestBrowserPage", "page.ts": "TestBrowserPage", "parley.tsx": "TestBrowserReact", "app.tsx": "TestBrowserReact"},
	"docs/quickstart/react-native.md": {"polyfills.ts": "TestTypes", "outbox.ts": "TestOutbox", "parley.tsx": "TestTypes", "Chat.tsx": "TestTypes"},
	"docs/quickstart/esp32.md":        {"main.c": "TestESP32"},
	"docs/quickstart/android.md": {
		"ParleyChat.java":  "TestAndroidCompiles",
		"ParleyChat.kt":    "there is no compiler of Kotlin here; the Java beside it is the same",
		"build.gradle.kts": "there is no Gradle here, nor what it would fetch",
	},
	"docs/quickstart/ios.md": {"ParleyChat.swift": "there is no compiler of Swift here"},
	"docs/from-socketio.md": {
		"parley.ts": "TestTypes", "notificationService.ts": "TestTypes", "chatSocketService.ts": "TestTypes",
		"NotificationBell.tsx": "TestTypes", "MessagesPage.tsx": "TestTypes",
		"before": "it is of the system that is left",
	},
}

// shells say why a command in a page whose blocks are not typed in their order
// is not run, by the first line of its block.
var shells = map[string]map[string]string{
	"docs/quickstart/python.md": {"python3 chat.py bob c1": "TestPython starts it so"},
	"docs/quickstart/go.md":     {"go run chat.go bob c1": "TestGo starts it so, built before"},
	"docs/quickstart/node.md": {
		"node chat.mjs bob c1":                              "TestNode starts it so",
		"npm --prefix /path/to/parley/web run build -w sdk": installs,
	},
	"docs/quickstart/mqttjs.md": {"node chat.mjs bob c1": "TestMQTTjs starts it so"},
	"docs/quickstart/browser.md": {
		"npm --prefix /path/to/parley/web run build -w sdk":                                     installs,
		`make run ARGS="--ws-origins http://localhost:8000"`:                                    "as in README.md",
		"npx esbuild page.ts --bundle --format=esm --outfile=page.js --servedir=. --serve=8000": "TestBrowserPage builds so, and serves",
	},
	"docs/quickstart/react-native.md": {`npm install "./$(npm pack --silent /path/to/parley/web/sdk)"`: installs},
}

const installs = "the path is the reader's; the tests build the package and put it into node_modules as npm does"

// The commands of docs/ops-running.md, docs/ops-backup.md and
// docs/ops-sizing.md change the machine, or need a container engine. What of
// them can be tried in a folder, test/deploy tries.

// Every block of these pages is run by a test, or it is said why not: a new
// one is added to a table on purpose.
func TestEveryBlockIsRun(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "quickstart", "*.md"))
	if err != nil || len(pages) == 0 {
		t.Fatal("there are no quick starts", err)
	}
	for i := range pages {
		pages[i] = "docs/quickstart/" + filepath.Base(pages[i])
	}
	tests := declared(t)
	pages = append(pages, "docs/from-socketio.md")
	for _, p := range shellPages {
		if !slices.Contains(pages, p.page) {
			pages = append(pages, p.page)
		}
	}
	for _, page := range pages {
		typed := slices.IndexFunc(shellPages, func(p shellPage) bool { return p.page == page })
		all := blocks(t, page)
		if len(all) == 0 {
			t.Errorf("%s has no blocks", page)
		}
		for i, b := range all {
			shown := i > 0 && all[i-1].lang == "sh" && typed >= 0 && slices.Contains([]string{"json", "text"}, b.lang)
			why := files[page][b.name]
			switch {
			case b.name != "" && why == "":
				t.Errorf("%s:%d: no test runs %s: add it to files", page, b.line, b.name)
			case strings.HasPrefix(why, "Test") && !tests[why]:
				t.Errorf("%s:%d: there is no %s", page, b.line, why)
			case b.lang == "" || b.lang == "json" || shown: // nothing to run
			case b.name == "" && (b.lang != "sh" || typed < 0) && shells[page][b.first()] == "":
				t.Errorf("%s:%d: no test runs %q: add the page to shellPages, or the block to shells", page, b.line, b.first())
			}
		}
	}
}

// declared are the tests of this package, by name.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	sources, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
	}
	return names
}
