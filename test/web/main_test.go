package web_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// The folders of the library and of the app.
var (
	sdk = filepath.Join("..", "..", "web", "sdk")
	app = filepath.Join("..", "..", "web", "app")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(proctest.Runner{M: m}) }
