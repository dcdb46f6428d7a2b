package quickstarts_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// modules is a folder node_modules as the reader has it after npm install:
// the SDK, built from its source, what web/ has from the registry, and
// declarations of what only apps have.
var modules = sync.OnceValues(func() (string, error) {
	web, err := filepath.Abs(filepath.Join(root, "web"))
	if err != nil {
		return "", err
	}
	installed, err := os.ReadDir(filepath.Join(web, "node_modules"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("the packages of web/ are missing: run scripts/test-deps.sh, or npm ci --prefix web")
	} else if err != nil {
		return "", err
	}
	to := filepath.Join(filepath.Dir(proctest.Program), "node_modules")
	sdk := filepath.Join(to, "@parley", "client")
	err = os.MkdirAll(sdk, 0o755)
	for _, entry := range installed {
		if name := entry.Name(); err == nil && name != "@parley" && name != "@types" && !strings.HasPrefix(name, ".") {
			err = os.Symlink(filepath.Join(web, "node_modules", name), filepath.Join(to, name))
		}
	}
	if err == nil {
		err = os.CopyFS(filepath.Join(to, "@types"), os.DirFS(filepath.Join("testdata", "types")))
	}
	if err == nil {
		var text []byte
		if text, err = os.ReadFile(filepath.Join(web, "sdk", "package.json")); err == nil {
			err = os.WriteFile(filepath.Join(sdk, "package.json"), text, 0o644)
		}
	}
	if err != nil {
		return "", err
	}
	// As build.mjs does, which would build into the source tree, where other
	// tests build too.
	return to, errors.Join(
		tool(web, "esbuild", "sdk/src/index.ts", "--bundle", "--format=esm", "--target=es2022", "--platform=neutral",
			"--external:mqtt", "--outfile="+filepath.Join(sdk, "dist", "index.js"), "--log-level=warning"),
		tool(web, "tsc", "-p", "sdk/tsconfig.build.json", "--outDir", filepath.Join(sdk, "dist")),
	)
})

// tool runs a program of web/node_modules in a folder.
func tool(dir, name string, args ...string) error {
	path, err := filepath.Abs(filepath.Join(root, "web", "node_modules", ".bin", name))
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.New(name + ": " + err.Error() + "\n" + string(out))
	}
	return nil
}

// linkPackages makes the packages be found from a folder.
func linkPackages(t testing.TB, dir string) {
	t.Helper()
	from, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(from, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
}

// typed are the pages with code in TypeScript, each with the files that it
// tells the reader to save.
var typed = map[string][]string{
	"docs/quickstart/browser.md":      {"index.html", "page.ts", "parley.tsx", "app.tsx"},
	"docs/quickstart/react-native.md": {"polyfills.ts", "outbox.ts", "parley.tsx", "Chat.tsx"},
	"docs/from-socketio.md": {"parley.ts", "notificationService.ts", "chatSocketService.ts", "NotificationBell.tsx",
		"MessagesPage.tsx"},
}

// tsconfig is strict, so that a reader's project may be so too. React is
// Preact's, which has the same hooks and types.
const tsconfig = `{
  "compilerOptions": {
    "target": "ES2022", "module": "ESNext", "moduleResolution": "Bundler", "lib": ["ES2023", "DOM", "DOM.Iterable"],
    "strict": true, "noUncheckedIndexedAccess": true, "exactOptionalPropertyTypes": true,
    "noUnusedLocals": true, "noUnusedParameters": true, "noPropertyAccessFromIndexSignature": true,
    "paths": {"react": ["./node_modules/preact/compat/src/index.d.ts"], "react/jsx-runtime": ["./node_modules/preact/jsx-runtime/src/index.d.ts"]},
    "jsx": "react-jsx", "noEmit": true, "skipLibCheck": true
  },
  "include": ["*.ts", "*.tsx"]
}`

// The compiler finds nothing wrong with the pages' TypeScript, against the
// types of the SDK.
func TestTypes(t *testing.T) {
	t.Parallel()
	for page, files := range typed {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			linkPackages(t, dir)
			for _, name := range files {
				file(t, page, name).save(t, dir)
			}
			if err := os.WriteFile(filepath.Join(dir, "tsconfig.json"), []byte(tsconfig), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := tool(dir, "tsc", "-p", "."); err != nil {
				t.Error(err)
			}
		})
	}
}

// The outbox for React Native keeps messages in their order, each once.
func TestOutbox(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	linkPackages(t, dir)
	file(t, "docs/quickstart/react-native.md", "outbox.ts").save(t, dir)
	for _, name := range []string{"outbox.mjs", "storage.mjs"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err := tool(dir, "esbuild", "outbox.mjs", "--bundle", "--format=esm", "--platform=node", "--outfile=out.mjs", "--log-level=warning",
		"--alias:@react-native-async-storage/async-storage=./storage.mjs")
	if err != nil {
		t.Fatal(err)
	}
	p := launch(t, dir, nil, "node", "out.mjs")
	if code := p.ended(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
