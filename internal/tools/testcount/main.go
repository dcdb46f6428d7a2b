// Command testcount reads the output of "go test -json", prints what a person
// wants to see of it, and ends with the number of tests on a line:
//
//	ci: 412 passed, 0 failed, 0 skipped
//
// It exits with 1 when a test failed or was skipped, when a package did not
// build, and when there were no tests. A skipped test is a guarantee that
// nobody checked, so it counts as much as a failed one.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	ok, err := run(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testcount:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

// event is one line of the output; "go doc test2json" describes it.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of a build, instead of Package
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// test names a test or subtest. A package is the test with no name.
type test struct{ pkg, name string }

type counter struct {
	out     *bufio.Writer     // keeps an error for Flush
	output  map[test][]string // of what has not ended yet
	builds  map[string][]string
	failed  map[string]int // a package's failed tests
	skips   []string
	passes  int
	fails   int
	skipped int
}

// run copies what matters from in to out and tells whether all is well.
func run(in io.Reader, out io.Writer) (bool, error) {
	w := bufio.NewWriter(out)
	c := &counter{
		out:    w,
		output: map[test][]string{},
		builds: map[string][]string{},
		failed: map[string]int{},
	}
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			c.line(line)
			// A package may take minutes: show what is known.
			if err := w.Flush(); err != nil {
				return false, err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
	}
	c.finish()
	return c.passes > 0 && c.fails == 0 && c.skipped == 0, w.Flush()
}

func (c *counter) printf(format string, args ...any) {
	fmt.Fprintf(c.out, format, args...)
}

func (c *counter) line(line string) {
	var e event
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		// Something else that make or go printed.
		c.printf("%s\n", strings.TrimRight(line, "\n"))
		return
	}
	id := test{e.Package, e.Test}
	switch e.Action {
	case "start", "run":
		c.output[id] = nil
	case "output":
		c.output[id] = append(c.output[id], e.Output)
	case "build-output":
		c.builds[e.ImportPath] = append(c.builds[e.ImportPath], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			c.endPackage(e)
		} else {
			c.endTest(id, e.Action)
		}
		delete(c.output, id)
	}
}

func (c *counter) endTest(id test, action string) {
	switch action {
	case "pass":
		c.passes++
	case "fail":
		c.fail(id)
	case "skip":
		c.skipped++
		c.skips = append(c.skips, fmt.Sprintf("%s %s: %s", id.pkg, id.name, reason(c.output[id])))
	}
}

func (c *counter) fail(id test) {
	c.fails++
	c.failed[id.pkg]++
	c.printf("--- FAIL %s %s\n", id.pkg, id.name)
	c.dump(c.output[id])
}

func (c *counter) endPackage(e event) {
	if e.Action != "fail" {
		// "skip" is a package without tests.
		if e.Action == "pass" {
			c.printf("ok   %s %.1fs\n", e.Package, e.Elapsed)
		}
		return
	}
	// A test that crashed the process, or outlived its time, has no end.
	c.failUnfinished(e.Package)
	id := test{pkg: e.Package}
	if e.FailedBuild != "" {
		c.dump(c.builds[e.FailedBuild])
		delete(c.builds, e.FailedBuild)
	}
	// Without a failed test it is the package itself that failed: it did not
	// build, or TestMain or a leak check ended it.
	if c.failed[e.Package] == 0 {
		c.fails++
	}
	c.dump(c.output[id])
	c.printf("FAIL %s %.1fs\n", e.Package, e.Elapsed)
}

func (c *counter) failUnfinished(pkg string) {
	ids := slices.SortedFunc(maps.Keys(c.output), func(a, b test) int {
		return strings.Compare(a.name, b.name)
	})
	for _, id := range ids {
		if id.pkg == pkg && id.name != "" {
			c.fail(id)
			delete(c.output, id)
		}
	}
}

// finish counts what the input broke off in, and prints the totals.
func (c *counter) finish() {
	for _, id := range slices.SortedFunc(maps.Keys(c.output), func(a, b test) int {
		return strings.Compare(a.pkg, b.pkg)
	}) {
		if id.name == "" && id.pkg != "" {
			c.printf("--- %s did not end\n", id.pkg)
			c.endPackage(event{Action: "fail", Package: id.pkg})
		}
	}
	// A build can fail without a package that would report it.
	for _, pkg := range slices.Sorted(maps.Keys(c.builds)) {
		c.dump(c.builds[pkg])
	}
	for _, s := range c.skips {
		c.printf("--- SKIP %s\n", s)
	}
	if c.passes+c.fails+c.skipped == 0 {
		c.printf("no tests ran\n")
	}
	c.printf("ci: %d passed, %d failed, %d skipped\n", c.passes, c.fails, c.skipped)
}

// dump prints output without the lines that only frame it.
func (c *counter) dump(output []string) {
	for line := range strings.Lines(strings.Join(output, "")) {
		line = strings.TrimRight(line, "\n")
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "=== ") || strings.HasPrefix(trimmed, "--- FAIL") ||
			trimmed == "FAIL" || strings.HasPrefix(trimmed, "FAIL\t") {
			continue
		}
		c.printf("%s\n", line)
	}
}

// reason is what a skipped test said, on one line.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	return strings.Join(said, " ")
}
