package web_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// The folders of the library and of the app.
var (
	sdk = filepath.Join("..", "..", "web", "sdk")
	app = filepath.Join("..", "..", "web", "app")
)

// program is the server that the library is tested against.
var program string

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(withProgram{m})
}

// withProgram builds the server, runs the tests and removes it.
type withProgram struct{ m *testing.M }

func (w withProgram) Run() int {
	dir, err := os.MkdirTemp("", "parley-web-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		program = filepath.Join(dir, "parley")
		err = build(program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		return 1
	}
	return w.m.Run()
}

func build(path string) error {
	cmd := exec.Command("go", "build", "-race=false", "-o", path, "github.com/parley-mqtt/parley/cmd/parley")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building parley: %w\n%s", err, out)
	}
	return nil
}
