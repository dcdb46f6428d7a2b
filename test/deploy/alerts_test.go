package deploy_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/parley-mqtt/parley/internal/testkit/parleytest"
)

// rule is one of Prometheus.
type rule struct {
	Alert, Expr string
	Labels      struct{ Severity string }
	Annotations struct{ Summary, Action string }
}

var (
	metricName = regexp.MustCompile(`\b(?:parley|process)_[a-z0-9_]+\b`)
	selector   = regexp.MustCompile(`\b((?:parley|process)_[a-z0-9_]+)\{([^}]*)\}`)
	labelName  = regexp.MustCompile(`(\w+)\s*(?:=~|!=|!~|=)`)
)

// Every metric and label that a rule names is one that a server shows, and
// every rule says what to do.
func TestAlerts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy", "prometheus", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []rule }
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	described := describedMetrics(t)
	names := map[string]bool{}
	for _, r := range file.Groups[0].Rules {
		if !strings.HasPrefix(r.Alert, "Parley") || names[r.Alert] || r.Labels.Severity == "" || r.Annotations.Summary == "" || r.Annotations.Action == "" {
			t.Errorf("%+v is not whole, or there twice", r)
		}
		names[r.Alert] = true
		for _, name := range metricName.FindAllString(r.Expr, -1) {
			if _, ok := described[strings.TrimSuffix(name, "_bucket")]; !ok {
				t.Errorf("%s: there is no metric %s", r.Alert, name)
			}
		}
		for _, s := range selector.FindAllStringSubmatch(r.Expr, -1) {
			for _, l := range labelName.FindAllStringSubmatch(s[2], -1) {
				if l[1] != "job" && !strings.Contains(","+described[s[1]]+",", ","+l[1]+",") {
					t.Errorf("%s: %s has no label %s", r.Alert, s[1], l[1])
				}
			}
		}
	}
	if len(names) < 10 {
		t.Errorf("%d rules", len(names))
	}
}

// describedMetrics are those of a server, with their labels as docs/operations.md
// has them: a test holds that page to the truth. Metrics of the process are
// asked of a server that runs.
func describedMetrics(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(parley_[a-z0-9_]+)(?:\\{([a-z_,]+)\\})?` \\|").FindAllStringSubmatch(string(text), -1) {
		all[m[1]] = m[2]
	}
	s := start(t, server{args: []string{"--webhook-url", "http://127.0.0.1:9", "--webhook-secret", parleytest.Secret}})
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get("http://" + s.web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	shown, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(string(shown), -1) {
		if _, ok := all[m[1]]; !ok {
			all[m[1]] = ""
		}
	}
	return all
}

// Prometheus plays the rules: each fires for the server that is ill, and none
// for the one that is well.
func TestAlertsFire(t *testing.T) {
	rules, err := filepath.Abs(filepath.Join(root, "deploy", "prometheus", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "alerts.yml")
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "[ALERTS]", "["+rules+"]", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), find(t, "promtool"), "test", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	var all struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(example(t, "prometheus/alerts.yml")), &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all.Groups[0].Rules {
		if !strings.Contains(string(text), `alertname="`+r.Alert+`", instance="a"`) {
			t.Errorf("%s is not played", r.Alert)
		}
	}
}
