package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	tests := []struct {
		name  string
		in    []string
		ok    bool
		last  string
		holds []string
		lacks []string
	}{
		{
			name: "all passed",
			in: []string{
				`{"Action":"start","Package":"p"}`,
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}`,
				`{"Action":"pass","Package":"p","Test":"TestA/sub"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Elapsed":1.25}`,
				`{"Action":"skip","Package":"without/tests"}`,
			},
			ok:    true,
			last:  "ci: 2 passed, 0 failed, 0 skipped",
			holds: []string{"ok   p 1.2s"},
			lacks: []string{"chatter", "without/tests"},
		},
		{
			name: "a failed test shows its output",
			in: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}`,
				`{"Action":"output","Package":"p","Test":"TestB","Output":"b_test.go:1: fine\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"a_test.go:7: got 1\n"}`,
				`{"Action":"pass","Package":"p","Test":"TestB"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			last:  "ci: 1 passed, 1 failed, 0 skipped",
			holds: []string{"--- FAIL p TestA\na_test.go:7: got 1\n", "FAIL p"},
			lacks: []string{"=== RUN", "fine"},
		},
		{
			name: "a skip is told with its reason",
			in: []string{
				`{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: no server\n"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}`,
				`{"Action":"skip","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestB"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			last:  "ci: 1 passed, 0 failed, 1 skipped",
			holds: []string{"--- SKIP p TestA: a_test.go:3: no server\n"},
		},
		{
			name: "a build error",
			in: []string{
				`{"ImportPath":"p [p.test]","Action":"build-output","Output":"p/a.go:3:5: undefined: x\n"}`,
				`{"ImportPath":"p [p.test]","Action":"build-fail"}`,
				`{"Action":"start","Package":"p"}`,
				`{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}`,
				`{"Action":"fail","Package":"p","FailedBuild":"p [p.test]"}`,
				`{"Action":"pass","Package":"q","Test":"TestQ"}`,
			},
			last:  "ci: 1 passed, 1 failed, 0 skipped",
			holds: []string{"undefined: x"},
		},
		{
			name: "a panic leaves tests without an end",
			in: []string{
				`{"Action":"start","Package":"p"}`,
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			last:  "ci: 0 passed, 1 failed, 0 skipped",
			holds: []string{"--- FAIL p TestA\npanic: boom\n"},
		},
		{
			name: "tests pass but the package fails",
			in: []string{
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"output","Package":"p","Output":"goleak: leaked\n"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			last:  "ci: 1 passed, 1 failed, 0 skipped",
			holds: []string{"goleak: leaked"},
		},
		{
			name: "the input breaks off",
			in: []string{
				`{"Action":"start","Package":"p"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"run","Package":"p","Test":"TestB"}`,
			},
			last:  "ci: 1 passed, 1 failed, 0 skipped",
			holds: []string{"p did not end"},
		},
		{
			name:  "other lines pass through",
			in:    []string{"make: hello", `{"Action":"pass","Package":"p","Test":"TestA"}`},
			ok:    true,
			last:  "ci: 1 passed, 0 failed, 0 skipped",
			holds: []string{"make: hello\n"},
		},
		{
			name:  "no tests",
			last:  "ci: 0 passed, 0 failed, 0 skipped",
			holds: []string{"no tests ran"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := run(strings.NewReader(strings.Join(tt.in, "\n")), &out)
			if err != nil {
				t.Fatal(err)
			}
			check(t, out.String(), ok, tt.ok, tt.last, tt.holds, tt.lacks)
		})
	}
}

// TestRealOutput runs the go command, so that a change of its format shows.
func TestRealOutput(t *testing.T) {
	tests := []struct {
		name, code string
		ok         bool
		last       string
		holds      []string
	}{
		{
			name: "pass",
			code: `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) {}) }`,
			ok:   true,
			last: "ci: 2 passed, 0 failed, 0 skipped",
		},
		{
			name:  "skip",
			code:  `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Skip("not today") }`,
			last:  "ci: 1 passed, 0 failed, 1 skipped",
			holds: []string{"not today"},
		},
		{
			name:  "fail",
			code:  `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Error("got one") }`,
			last:  "ci: 1 passed, 1 failed, 0 skipped",
			holds: []string{"got one", "--- FAIL example.com/x TestB"},
		},
		{
			name:  "panic",
			code:  `func TestA(t *testing.T) {}; func TestB(t *testing.T) { panic("boom") }`,
			last:  "ci: 1 passed, 1 failed, 0 skipped",
			holds: []string{"boom"},
		},
		{
			name:  "exit",
			code:  `func TestMain(m *testing.M) { m.Run(); println("leaked"); os.Exit(1) }; func TestA(t *testing.T) {}`,
			last:  "ci: 1 passed, 1 failed, 0 skipped",
			holds: []string{"leaked"},
		},
		{
			name:  "build",
			code:  `func TestA(t *testing.T) { nothing() }`,
			last:  "ci: 0 passed, 1 failed, 0 skipped",
			holds: []string{"undefined: nothing"},
		},
		{
			name:  "vet",
			code:  `func TestA(t *testing.T) { t.Errorf("%d", "x") }`,
			last:  "ci: 0 passed, 1 failed, 0 skipped",
			holds: []string{"wrong type"},
		},
		{
			name:  "syntax",
			code:  `func TestA(`,
			last:  "ci: 0 passed, 1 failed, 0 skipped",
			holds: []string{"x_test.go"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, filepath.Join(dir, "go.mod"), "module example.com/x\n\ngo 1.26\n")
			write(t, filepath.Join(dir, "x_test.go"),
				"package x\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Exit\n\n"+tt.code+"\n")
			cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "./...")
			cmd.Dir = dir
			// The exit status says only what the output says too.
			in, _ := cmd.CombinedOutput()
			var out strings.Builder
			ok, err := run(strings.NewReader(string(in)), &out)
			if err != nil {
				t.Fatal(err)
			}
			check(t, out.String(), ok, tt.ok, tt.last, tt.holds, nil)
		})
	}
}

func check(t *testing.T, out string, ok, wantOK bool, last string, holds, lacks []string) {
	t.Helper()
	if ok != wantOK {
		t.Errorf("ok = %v, want %v", ok, wantOK)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if got := lines[len(lines)-1]; got != last {
		t.Errorf("last line %q, want %q", got, last)
	}
	for _, s := range holds {
		if !strings.Contains(out, s) {
			t.Errorf("output lacks %q", s)
		}
	}
	for _, s := range lacks {
		if strings.Contains(out, s) {
			t.Errorf("output holds %q", s)
		}
	}
	if t.Failed() {
		t.Logf("output:\n%s", out)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
