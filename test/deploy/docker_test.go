package deploy_test

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/parley-mqtt/parley/internal/testkit/proctest"
)

// root is the folder of the repository.
const root = "../.."

// instruction is one of a Dockerfile.
type instruction struct{ word, rest string }

// stage is what begins with FROM.
type stage struct {
	image, name  string
	instructions []instruction
}

func (s *stage) all(word string) (rest []string) {
	for _, i := range s.instructions {
		if i.word == word {
			rest = append(rest, i.rest)
		}
	}
	return rest
}

// dockerfile reads the Dockerfile.
func dockerfile(t *testing.T) (stages []*stage) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(text), "")
	for line := range strings.Lines(joined) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case word == "FROM":
			image, name, _ := strings.Cut(rest, " AS ")
			stages = append(stages, &stage{image: image, name: name})
		case len(stages) == 0:
			t.Fatalf("%s before FROM", word)
		default:
			s := stages[len(stages)-1]
			s.instructions = append(s.instructions, instruction{word, strings.TrimSpace(rest)})
		}
	}
	return stages
}

// Nothing in the image is root or a shell, bases have versions, and it knows
// whether it is well.
func TestImagePromises(t *testing.T) {
	stages := dockerfile(t)
	if len(stages) != 3 {
		t.Fatalf("%d stages", len(stages))
	}
	for _, s := range stages {
		if _, tag, ok := strings.Cut(s.image, ":"); !ok || tag == "latest" {
			t.Errorf("the base %s has no version", s.image)
		}
	}
	last := stages[2]
	if !strings.HasPrefix(last.image, "gcr.io/distroless/static-") || len(last.all("RUN")) > 0 {
		t.Errorf("the image is made of %s, with %v", last.image, last.all("RUN"))
	}
	if user := last.all("USER"); len(user) != 1 || !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user[0]) {
		t.Errorf("USER %v: want one, in numbers, not root", user)
	}
	health := last.all("HEALTHCHECK")
	if len(health) != 1 {
		t.Fatalf("HEALTHCHECK %v", health)
	}
	_, command, _ := strings.Cut(health[0], "CMD ")
	var words, entry []string
	if err := json.Unmarshal([]byte(command), &words); err != nil { // there is no shell for the other form
		t.Fatalf("HEALTHCHECK %s: %v", command, err)
	}
	if err := json.Unmarshal([]byte(last.all("ENTRYPOINT")[0]), &entry); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(words, []string{entry[0], "health"}) {
		t.Errorf("HEALTHCHECK %v, ENTRYPOINT %v", words, entry)
	}
	if !slices.ContainsFunc(last.all("COPY"), func(c string) bool { return strings.HasSuffix(c, " "+entry[0]) }) {
		t.Errorf("%s is not in the image", entry[0])
	}
	if !slices.ContainsFunc(last.all("COPY"), func(c string) bool {
		return strings.HasSuffix(c, " /data") && strings.Contains(c, "--chown="+last.all("USER")[0])
	}) {
		t.Error("the data folder does not belong to the user")
	}
}

// The steps of the Dockerfile, one after the other on what .dockerignore lets
// through, give a static program that knows its version and has the web app.
// Only the bases are other: the programs of this machine.
func TestImageBuilds(t *testing.T) {
	world := t.TempDir() // has a folder for each stage's files
	input := filepath.Join(world, "context")
	copyContext(t, input)
	for _, name := range []string{".git", "test", "web/node_modules", "bin"} {
		if _, err := os.Stat(filepath.Join(input, name)); err == nil {
			t.Errorf("%s is sent to the build", name)
		}
	}
	env := append(os.Environ(), "VERSION=v9.8.7", "REVISION=0123abcd", "CREATED=2026-01-02T03:04:05Z",
		"npm_config_prefer_offline=true")
	for _, s := range dockerfile(t)[:2] {
		play(t, s, world, input, env)
	}
	program := filepath.Join(world, "build", "out", "parley")
	out, err := exec.CommandContext(t.Context(), program, "version").CombinedOutput()
	if want := "parley v9.8.7, revision 0123abcd, 2026-01-02T03:04:05Z, "; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%s, %v, want %s", out, err, want)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "version", "-m", program).CombinedOutput(); err != nil ||
		!strings.Contains(string(out), "CGO_ENABLED=0") || !strings.Contains(string(out), "-trimpath=true") {
		t.Errorf("%s, %v", out, err)
	}
	if info, err := os.Stat(filepath.Join(world, "build", "out", "data")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	s := start(t, server{program: program})
	if !strings.Contains(s.Stdout.String(), "Web app   http://") {
		t.Errorf("the web app is not in it:\n%s", s.Stdout.String())
	}
}

// play runs the steps of a stage in world/NAME.
func play(t *testing.T, s *stage, world, input string, env []string) {
	t.Helper()
	base := filepath.Join(world, s.name)
	dir := "/"
	for _, i := range s.instructions {
		t.Log(i.word, i.rest)
		switch i.word {
		case "WORKDIR":
			dir = i.rest
			if err := os.MkdirAll(filepath.Join(base, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		case "ARG":
		case "COPY":
			words := strings.Fields(i.rest)
			from := input
			if name, ok := strings.CutPrefix(words[0], "--from="); ok {
				from, words = filepath.Join(world, name), words[1:]
			}
			to := words[len(words)-1]
			if !path.IsAbs(to) {
				to = path.Join(dir, to) + strings.Repeat("/", strings.Count(to[len(to)-1:], "/"))
			}
			for _, what := range words[:len(words)-1] {
				copyOne(t, filepath.Join(from, what), filepath.Join(base, to), strings.HasSuffix(to, "/"))
			}
		case "RUN":
			line := strings.ReplaceAll(i.rest, " /out/", " "+base+"/out/")
			cmd := exec.CommandContext(t.Context(), "sh", "-c", "mkdir -p "+base+"/out; "+line)
			cmd.Dir, cmd.Env = filepath.Join(base, dir), env
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("RUN %s: %v\n%s", i.rest, err, out)
			}
		default:
			t.Fatalf("%s is not known here", i.word)
		}
	}
}

// copyOne copies a file, or what is in a folder, as COPY does.
func copyOne(t *testing.T, from, to string, into bool) {
	t.Helper()
	info, err := os.Stat(from)
	if err != nil {
		t.Fatalf("COPY: %v", err)
	}
	if !info.IsDir() {
		if into {
			to = filepath.Join(to, filepath.Base(from))
		}
		copyFile(t, from, to)
		return
	}
	err = filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Type()&fs.ModeSymlink != 0 || strings.Contains(name, "node_modules") {
			return err
		}
		rest, err := filepath.Rel(from, name)
		if err == nil {
			copyFile(t, name, filepath.Join(to, rest))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyContext copies what docker build would be sent: the files that git knows,
// or would take up, without those of .dockerignore.
func copyContext(t *testing.T, to string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	ignored := dockerignore(t)
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSpace(name)
		if _, err := os.Stat(filepath.Join(root, name)); err == nil && !ignored(name) {
			copyFile(t, filepath.Join(root, name), filepath.Join(to, name))
		}
	}
}

// dockerignore reads .dockerignore: the last line that fits counts, and what
// fits a folder fits all below it.
func dockerignore(t *testing.T) func(name string) bool {
	t.Helper()
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	type rule struct {
		fits *regexp.Regexp
		keep bool
	}
	var rules []rule
	for s := bufio.NewScanner(f); s.Scan(); {
		line, keep := strings.CutPrefix(strings.TrimSpace(s.Text()), "!")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern := regexp.QuoteMeta(strings.TrimSuffix(line, "/"))
		pattern = strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(pattern)
		rules = append(rules, rule{regexp.MustCompile(`^` + pattern + `(/.*)?$`), keep})
	}
	return func(name string) bool {
		out := false
		for _, r := range rules {
			if r.fits.MatchString(name) {
				out = !r.keep
			}
		}
		return out
	}
}

// The compose file starts the database first, waits until it answers, and
// gives the server no more than it needs.
func TestCompose(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image       string
			Build       map[string]any
			DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
			Environment map[string]string
			Ports       []string
			Volumes     []string
			Healthcheck struct{ Test []string }
			ReadOnly    bool     `yaml:"read_only"`
			CapDrop     []string `yaml:"cap_drop"`
			SecurityOpt []string `yaml:"security_opt"`
			Ulimits     map[string]int
			StopGrace   string `yaml:"stop_grace_period"`
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	postgres, parley := compose.Services["postgres"], compose.Services["parley"]
	if len(postgres.Healthcheck.Test) == 0 || parley.DependsOn["postgres"].Condition != "service_healthy" {
		t.Error("the server does not wait for the database")
	}
	if len(postgres.Ports) > 0 {
		t.Error("the database has a port outside")
	}
	if !regexp.MustCompile(`:\d+-`).MatchString(postgres.Image) {
		t.Errorf("%s has no version", postgres.Image)
	}
	for _, p := range parley.Ports {
		if !strings.HasPrefix(p, "${PARLEY_BIND:-127.0.0.1}:") {
			t.Errorf("the port %s is open to all", p)
		}
	}
	if !parley.ReadOnly || !slices.Equal(parley.CapDrop, []string{"ALL"}) || !slices.Contains(parley.SecurityOpt, "no-new-privileges:true") {
		t.Error("the server may do more than it needs")
	}
	if want := []string{"CMD", "/usr/local/bin/parley", "health"}; !slices.Equal(parley.Healthcheck.Test, want) {
		t.Errorf("healthcheck %v", parley.Healthcheck.Test)
	}
	if parley.Ulimits["nofile"] <= 100_000 {
		t.Errorf("%d files, max-connections is 100,000", parley.Ulimits["nofile"])
	}
	if parley.StopGrace != "30s" {
		t.Errorf("stop_grace_period is %s, shutdown-timeout is 20s", parley.StopGrace)
	}
	for _, s := range compose.Services {
		for _, v := range s.Volumes {
			if name, _, _ := strings.Cut(v, ":"); !contains(compose.Volumes, name) {
				t.Errorf("the volume %s is not declared", name)
			}
		}
	}
	// What is set is a setting; one that is not stops the start.
	cmd := exec.CommandContext(t.Context(), proctest.Program, "doctor", "--mqtt-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--data-dir", t.TempDir())
	for name, value := range parley.Environment {
		value = strings.NewReplacer("${POSTGRES_PASSWORD:-parley}", "parley", "@postgres:5432", "@127.0.0.1:1").Replace(value)
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	if out, _ := cmd.CombinedOutput(); !strings.Contains(string(out), "ok    settings      all can be used") {
		t.Errorf("the settings:\n%s", out)
	}
}

func contains(m map[string]any, name string) bool { _, ok := m[name]; return ok }

// The unit is one that systemd understands, and gives a stop the time it takes.
func TestUnit(t *testing.T) {
	const name = "parley.service"
	text, err := os.ReadFile(filepath.Join(root, "deploy", "systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nType=notify\n", "\nDynamicUser=yes\n", "\nProtectSystem=strict\n", "\nNoNewPrivileges=yes\n",
		"\nStateDirectory=parley\n", "\nEnvironment=PARLEY_DATA_DIR=/var/lib/parley\n", "\nTimeoutStopSec=30\n", "\nLimitNOFILE=110000\n", "\nRestart=on-failure\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing", strings.TrimSpace(want))
		}
	}
	verifyUnit(t, name, string(text))
}

// The bridge's too.
func TestBridgeUnit(t *testing.T) {
	const name = "parley-bridge.service"
	text, err := os.ReadFile(filepath.Join(root, "deploy", "systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	verifyUnit(t, name, string(text))
}

// verifyUnit lets systemd look at a unit.
func verifyUnit(t *testing.T, name, text string) {
	t.Helper()
	// It looks whether the program is there.
	unit := filepath.Join(t.TempDir(), name)
	here := strings.ReplaceAll(text, "/usr/local/bin/parley", proctest.Program)
	if err := os.WriteFile(unit, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", unit).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=yes", "--threshold=20", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
