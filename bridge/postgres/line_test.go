package postgres

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// lineAt is the line of history of a database.
func lineAt(t *testing.T, url string) string {
	t.Helper()
	s, err := Open(t.Context(), url, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Line()
}

// Each database is a line of history, the same for whoever opens it, also for
// a role without rights.
func TestLine(t *testing.T) {
	t.Parallel()
	one, two := pgtest.URL(t), pgtest.URL(t)
	first := lineAt(t, one)
	if strings.Count(first, "/") != 2 || strings.HasPrefix(first, "/") {
		t.Errorf("line %q", first)
	}
	if again := lineAt(t, one); again != first {
		t.Errorf("opened again it is %s, was %s", again, first)
	}
	if other := lineAt(t, two); other == first {
		t.Errorf("two databases have the line %s", other)
	}
	conn, err := pgx.Connect(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `CREATE ROLE line_test LOGIN`); err != nil {
		t.Fatal(err)
	}
	if got := lineAt(t, strings.Replace(one, "postgres://postgres@", "postgres://line_test@", 1)); got != first {
		t.Errorf("for another role it is %q, want %q", got, first)
	}
	if _, err := conn.Exec(t.Context(), `DROP ROLE line_test`); err != nil {
		t.Fatal(err)
	}
}
