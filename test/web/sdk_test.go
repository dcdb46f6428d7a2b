package web_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// mostBytes is what the library may take, gzipped and without MQTT.js.
const mostBytes = 15_000

// outcome is what the reporter of web/sdk/test tells of one test.
type outcome struct {
	Path    []string
	Suite   bool
	OK      bool
	Skipped bool
	MS      float64
	Error   string
	Notes   []string
}

// in runs a program in a folder.
func in(t *testing.T, dir string, env []string, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.SysProcAttr = dir, proctest.Attr()
	cmd.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		// The tests themselves may have failed, which is told one by one.
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || stdout.Len() == 0 {
			t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
		}
		t.Cleanup(func() {
			if !t.Failed() {
				t.Errorf("%s %s: %v though no test failed\n%s", name, strings.Join(args, " "), err, stderr.String())
			}
		})
	}
	return stdout.Bytes()
}

// TestSDK runs the library's tests. Each is a subtest.
func TestSDK(t *testing.T) {
	out := in(t, sdk, []string{"PARLEY_BIN=" + proctest.Program}, "node", "build.mjs", "test", "--test-reporter=./test/reporter.mjs")
	if ran := report(t, out); ran < 100 {
		t.Errorf("%d tests ran; there are more than a hundred", ran)
	}
}

// report makes a subtest of each outcome, and answers how many there are.
func report(t *testing.T, out []byte) (ran int) {
	t.Helper()
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			t.Fatalf("the reporter wrote %q: %v", lines.Text(), err)
		}
		if o.Suite && o.OK {
			continue // its tests are told of
		}
		ran++
		t.Run(strings.Join(o.Path, "/"), func(t *testing.T) {
			for _, note := range o.Notes {
				t.Log(note)
			}
			t.Logf("took %.0f ms in Node", o.MS)
			if o.Skipped {
				t.Error("it was skipped")
			}
			if !o.OK {
				t.Error(o.Error)
			}
		})
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return ran
}

// The types hold, in the library and in its tests.
func TestTypes(t *testing.T) {
	in(t, sdk, nil, "npm", "run", "--silent", "typecheck")
}

// What is published is small, has its types, and is usable from Node.
func TestPackage(t *testing.T) {
	in(t, sdk, nil, "node", "build.mjs")
	code, err := os.ReadFile(filepath.Join(sdk, "dist", "index.js"))
	if err != nil {
		t.Fatal(err)
	}
	var small bytes.Buffer
	w, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(code); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d gzipped", len(code), small.Len())
	if small.Len() > mostBytes {
		t.Errorf("%d bytes gzipped, more than %d", small.Len(), mostBytes)
	}
	if _, err := os.Stat(filepath.Join(sdk, "dist", "index.d.ts")); err != nil {
		t.Error(err)
	}
	out := in(t, sdk, nil, "node", "--input-type=module", "-e", `import * as all from "@parley/client"; console.log(Object.keys(all).sort().join(" "))`)
	if got, want := strings.TrimSpace(string(out)), "ParleyError connect indexedDBOutbox memoryOutbox"; got != want {
		t.Errorf("it exports %q, want %q", got, want)
	}
}
