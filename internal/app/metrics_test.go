package app

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// described is how the registry tells the name and the labels of a metric.
var described = regexp.MustCompile(`fqName: "([^"]*)".* variableLabels: \{([^}]*)\}`)

// documented is a line of the table of metrics.
var documented = regexp.MustCompile("(?m)^\\| `(parley_[a-z0-9_]+)(?:\\{([a-z_,]+)\\})?` \\| [^|]*[a-z][^|]* \\|$")

// Every metric stands in docs/operations.md with its labels and what it says,
// once, and no other does.
func TestMetricsAreDocumented(t *testing.T) {
	o := testOptions(t)
	o.WebhookURL, o.WebhookSecret = "http://localhost", testSecret
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc)
	go func() {
		a.registry.Describe(descs)
		close(descs)
	}()
	want := map[string]string{} // labels by name
	for d := range descs {
		m := described.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("the registry tells %s", d)
		}
		if strings.HasPrefix(m[1], "parley_") {
			want[m[1]] = m[2]
		}
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(want) < 20 {
		t.Fatalf("the registry has %d metrics of Parley", len(want))
	}
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, line := range documented.FindAllStringSubmatch(string(text), -1) {
		name, labels := line[1], line[2]
		wanted, ok := want[name]
		switch {
		case !ok:
			t.Errorf("docs/operations.md has %s, which there is not", name)
		case have[name]:
			t.Errorf("docs/operations.md has %s twice", name)
		case labels != wanted:
			t.Errorf("docs/operations.md has %s{%s}, its labels are {%s}", name, labels, wanted)
		}
		have[name] = true
	}
	for name, labels := range want {
		if !have[name] {
			t.Errorf("docs/operations.md has no line for %s{%s}", name, labels)
		}
	}
}
