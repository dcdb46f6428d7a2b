package browser_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// screenshots is the folder that TestScreenshots writes to.
var screenshots = flag.String("screenshots", "", "write the pictures of the docs to this `folder`")

var chromium string

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(pgtest.Runner{M: proctest.Runner{M: m, Before: prepare}})
}

// prepare finds and builds what the tests need. What is missing fails them
// all: nothing is skipped.
func prepare() error { return errors.Join(findChromium(), buildApp()) }

func findChromium() error {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			return nil
		}
	}
	return errors.New("there is no chromium: run make test, or scripts/test-deps.sh, which installs it")
}

// buildApp builds the web app as make does, which does nothing when it is
// built. The script leaves the app out where Node.js is missing; here that is
// an error.
func buildApp() error {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("the web app cannot be built: %w", err)
		}
	}
	if err := run("../../scripts/build-web.sh"); err != nil {
		return err
	}
	if _, err := os.Stat("../../web/dist/index.html"); err != nil {
		return fmt.Errorf("the web app was not built: %w", err)
	}
	return nil
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}
