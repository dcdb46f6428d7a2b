package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/acl"
	"github.com/parley-mqtt/parley/internal/app"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func TestUsageErrors(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{nil, "parley: expected one of "},
		{[]string{"dance"}, "parley: unexpected argument dance"},
		{[]string{"token"}, "parley: missing flags: --sub=USER"},
		{[]string{"token", "--sub", "al/ice"}, "parley: sub: "},
		{[]string{"token", "--sub", "alice", "--scope", "root"}, "parley: scope: "},
		{[]string{"token", "--sub", "alice", "--ttl", "0s"}, "parley: ttl: "},
		{[]string{"token", "--sub", "alice", "--ttl", "day"}, "parley: --ttl: "},
		{[]string{"token", "--sub", "alice", "--acl-pub", "a/#/b"}, "parley: acl.pub: "},
		{[]string{"token", "--sub", "alice", "--mqtt-addr", ":1"}, "parley: unknown flag --mqtt-addr"},
		{[]string{"token", "--sub", "alice", "--data-dir", ""}, "parley: data-dir: must not be empty"},
		{[]string{"token", "--sub", "alice", "--data-dir", os.Args[0]}, "parley: data-dir: mkdir "},
		{[]string{"token", "--sub", "alice", "--jwks-url", "https://h"}, "parley: jwks-url: is set, so tokens come from whoever"},
		{[]string{"token", "--sub", "alice", "--jwt-public-key-file", "k"}, "parley: jwt-public-key-file: is set, so tokens come from whoever"},
		{[]string{"migrate", "--database-url", "mysql://h"}, "parley: database-url: must begin with postgres://"},
		{[]string{"version", "--sub", "x"}, "parley: unknown flag --sub"},
	}
	t.Chdir(t.TempDir())
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			code, stdout, stderr := parley(t, nil, tt.args...)
			if code != exitUsage || stdout != "" || !strings.HasPrefix(stderr, tt.want) || len(lines(stderr)) != 1 {
				t.Errorf("code %d, stdout %q, stderr %q, want one line with %q", code, stdout, stderr, tt.want)
			}
		})
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 && left[0].Name() != "parley-data" {
		t.Errorf("left %v, %v", left, err)
	}
}

// What a server says of an error does nothing to the terminal.
func TestErrorsAreText(t *testing.T) {
	var b strings.Builder
	report(&b, errors.New("refused: \x1b]0;title\x07 and \u009b2J\nmore"))
	if text := b.String(); strings.ContainsAny(text, "\x1b\x07\u009b") || strings.Count(text, "\n") != 1 {
		t.Errorf("it prints %q", text)
	}
}

func TestHelp(t *testing.T) {
	env := []string{"PARLEY_JWT_SECRET=" + testSecret, "PARLEY_DATABASE_URL=postgres://u:" + otherSecret + "@h", "PARLEY_TYPO=1"}
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"serve", "--jwt-secret", testSecret, "-h"}} {
		code, stdout, stderr := parley(t, env, args...)
		if code != exitOK || stderr != "" {
			t.Errorf("%v: code %d, stderr %q", args, code, stderr)
		}
		text := strings.Join(strings.Fields(stdout), " ")
		for _, name := range app.Settings() {
			if !strings.Contains(text, "--"+name) || !strings.Contains(text, "$"+envName(name)) {
				t.Errorf("%v: %s is not listed", args, name)
			}
		}
		if strings.Contains(stdout, testSecret) || strings.Contains(stdout, otherSecret) {
			t.Errorf("%v: a secret is in %s", args, stdout)
		}
	}
	for _, command := range []string{"token", "migrate", "version"} {
		code, stdout, stderr := parley(t, nil, command, "--help")
		if code != exitOK || stderr != "" || !strings.HasPrefix(stdout, "Usage: parley "+command) {
			t.Errorf("%s: code %d, stdout %q, stderr %q", command, code, stdout, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := parley(t, []string{"PARLEY_TYPO=1"}, "version")
	if code != exitOK || stderr != "" || !strings.HasPrefix(stdout, "parley ") || !strings.Contains(stdout, runtime.Version()) {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	built := app.Build{Version: "v1.2.3", Revision: "0123abcd", Time: "2026-01-02T03:04:05Z", Modified: true,
		Go: "go1.26.8", Platform: "linux/amd64"}
	want := "parley v1.2.3, revision 0123abcd (modified), 2026-01-02T03:04:05Z, go1.26.8, linux/amd64"
	if got := versionText(built); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := versionText(app.Build{Version: "(devel)", Go: "go1", Platform: "a/b"}); got != "parley (devel), go1, a/b" {
		t.Errorf("got %q", got)
	}
}

// What parley token prints is a token that the server takes, and nothing else.
func TestToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	mint := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := parley(t, nil, append([]string{"token", "--data-dir", dir}, args...)...)
		if code != exitOK || stderr != "" || strings.Count(stdout, "\n") != 1 || strings.Count(stdout, ".") != 2 {
			t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
		return strings.TrimSuffix(stdout, "\n")
	}
	plain := mint("--sub", "alice")
	full := mint("--sub", "bob", "--scope", "notify admin", "--ttl", "1h", "--acl-pub", "devices/a,b/#",
		"--acl-pub", "devices/c", "--acl-sub", "devices/+", "--jwt-issuer", "us", "--jwt-audience", "them")
	secret, err := acl.LoadOrCreateSecret(dir)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(token, issuer, audience string) (acl.Identity, error) {
		v, err := acl.New(t.Context(), acl.Config{Secret: secret, Issuer: issuer, Audience: audience})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		return v.Verify(token)
	}
	if id, err := verify(plain, "", ""); err != nil || id.UserID != "alice" || id.Has(acl.Notify) {
		t.Errorf("got %+v, %v", id, err)
	}
	if id, err := verify(full, "us", "them"); err != nil || id.UserID != "bob" || !id.Has(acl.Notify) || !id.Has(acl.Admin) {
		t.Errorf("got %+v, %v", id, err)
	}
	if _, err := verify(plain, "us", ""); err == nil {
		t.Error("a token without an issuer was taken")
	}
	claims := decodeClaims(t, full)
	if want := []any{"devices/a,b/#", "devices/c"}; !slices.Equal(claims["acl"].(map[string]any)["pub"].([]any), want) {
		t.Errorf("got %v, want %v", claims["acl"], want)
	}
	if ttl := claims["exp"].(float64) - claims["iat"].(float64); ttl > 3600 || ttl < 3599 { // exp is in whole seconds
		t.Errorf("holds for %v s", ttl)
	}
	if info, err := os.Stat(filepath.Join(dir, acl.SecretFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "parley.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a token needs no database: %v", err)
	}
}

func TestMigrateCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	url := pgtest.URL(t)
	for _, tt := range []struct {
		database string
		args     []string
	}{
		{"SQLite in " + dir + "/parley.db: ", []string{"migrate", "--data-dir", dir}},
		{"Postgres at 127.0.0.1:", []string{"migrate", "--database-url", url}},
	} {
		for _, did := range []string{"the schema was brought up to date\n", "the schema is up to date, nothing to do\n"} {
			code, stdout, stderr := parley(t, nil, tt.args...)
			if code != exitOK || !strings.HasPrefix(stdout, tt.database) || !strings.HasSuffix(stdout, did) || stderr != "" {
				t.Errorf("code %d, stdout %q, stderr %q, want %s … %s", code, stdout, stderr, tt.database, did)
			}
		}
	}
}
