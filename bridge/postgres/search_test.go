package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// TestSearchPlan: words are looked up in their index, with the places,
// whatever is known of the table.
func TestSearchPlan(t *testing.T) {
	s := openStore(t, pgtest.URL(t), true)
	check := func(when string) {
		t.Run(when, func(t *testing.T) {
			plan := searchPlan(t, s)
			if slices.ContainsFunc(plan, func(line string) bool {
				return strings.Contains(line, "Seq Scan") || strings.Contains(line, "Filter:") && strings.Contains(line, "words @@")
			}) || count(plan, "Bitmap Index Scan on entries_words") != 1 ||
				!slices.ContainsFunc(plan, func(line string) bool {
					return strings.Contains(line, "Index Cond:") && strings.Contains(line, "words @@") && strings.Contains(line, "&& $2")
				}) {
				t.Errorf("%s", strings.Join(plan, "\n"))
			}
		})
	}
	check("new")
	run(t, s, `INSERT INTO entries (stream, seq, created_at, id, type, sender_id, words) VALUES (1, 1, now(), gen_random_uuid(), 1, 'u', 'a')`)
	run(t, s, `ANALYZE`)
	check("tiny")
	run(t, s, `INSERT INTO entries (stream, seq, created_at, target, id, type, sender_id, words)
		SELECT 1 + g % 100, g, now(), CASE WHEN g % 9 = 0 THEN g - 100 END, gen_random_uuid(), CASE WHEN g % 9 = 0 THEN 2 ELSE 1 END, 'u',
			('the ' || g % 50 || ' ' || g)::tsvector FROM generate_series(2, 20000) g`)
	check("many, not analyzed")
	run(t, s, `ANALYZE`)
	check("many")
}

func count(plan []string, what string) (n int) {
	for _, line := range plan {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

// searchPlan is the plan of findWords as Search has it.
func searchPlan(t *testing.T, s *Store) (plan []string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		for _, sql := range []string{bitmapScans, "PREPARE searched AS " + findWords} {
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				return err
			}
		}
		rows, err := tx.Query(t.Context(), "EXPLAIN EXECUTE searched(NULL, NULL, NULL, NULL, NULL, NULL, NULL)", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return err
		}
		if plan, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return err
		}
		_, err = tx.Exec(t.Context(), "DEALLOCATE searched")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestPlaces: the places of a stream have each of its entries once, whatever
// it begins and ends with.
func TestPlaces(t *testing.T) {
	const fine, broad = 1 << placeBits, 1 << broadBits
	for _, head := range []int64{0, 1, fine - 1, fine, fine + 1, broad - 1, broad, broad + 1, 5*broad + 3*fine + 7} {
		for _, first := range []int64{1, 2, fine - 1, fine, broad - 1, broad, 3*broad + fine, 5*broad + 2*fine, head, head + 1} {
			if first > head+1 || first < 1 {
				continue
			}
			in := map[int64]int{}
			last := int64(1 << 62)
			for _, p := range places(&searchedStream{id: 7, first: first, head: head}) {
				if p.end > last || p.end <= first {
					t.Errorf("%d to %d: a place up to %d behind one up to %d", first, head, p.end, last)
				}
				last = p.end
				in[p.id]++
			}
			for seq := first; seq <= head; seq++ {
				if n := in[7<<24|seq>>placeBits] + in[-(7<<24|seq>>broadBits)]; n != 1 {
					t.Fatalf("%d to %d: %d places have %d", first, head, n, seq)
				}
			}
			if most := broad/fine + int(head/broad) + 1; len(in) > most {
				t.Errorf("%d to %d: %d places, want at most %d", first, head, len(in), most)
			}
		}
	}
	if got, want := fmt.Sprint(strings.Contains(findWords, fmt.Sprint("seq >> ", placeBits)), strings.Contains(findWords, fmt.Sprint("seq >> ", broadBits))), "true true"; got != want {
		t.Errorf("the index has other places than the code: %s", got)
	}
}
