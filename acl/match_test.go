package acl

import (
	"math/bits"
	"slices"
	"strings"
	"testing"

	"github.com/parley-mqtt/parley/internal/chat"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		// Clause 4.7.1 and its examples.
		{"sport/tennis/player1", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
		{"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"sport/tennis/player1/#", "sport/tennis/player2", false},
		{"sport/#", "sport", true},
		{"sport/#", "sporty", false},
		{"#", "a", true}, {"#", "/", true}, {"#", "a/b/c", true},
		{"sport/tennis/+", "sport/tennis/player1", true},
		{"sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"sport/+", "sport", false}, {"sport/+", "sport/", true},
		{"+/+", "/finance", true}, {"/+", "/finance", true}, {"+", "/finance", false},
		{"+/tennis/#", "x/tennis", true}, {"+/tennis/#", "x/y", false},
		{"+", "a", true}, {"+/#", "a", true}, {"+/+/#", "a", false}, {"a/+/#", "a", false},
		{"a/+/#", "a/b", true}, {"a/+/c", "a/b/c", true}, {"a/+/c", "a/b/d", false},
		// Clause 4.7.2.
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"+/#", "$SYS", false},
		{"$SYS/#", "$SYS/x", true}, {"$SYS/#", "$SYS", true}, {"$SYS/+", "$SYS/x", true},
		{"a/#", "a/$x", true}, {"a/+", "a/$x", true}, {"/+", "/$x", true}, {"+/+", "/$x", true},
		// Clause 4.7.3: case matters, slashes make levels.
		{"ACCOUNTS", "Accounts", false}, {"a", "a/", false}, {"a/", "a", false}, {"a/", "a/", true},
		{"/a", "a", false}, {"a//b", "a//b", true}, {"a/+/b", "a//b", true}, {"a/b", "a//b", false},
		// Not well formed: no surprise grants.
		{"", "", false}, {"", "a", false}, {"#", "", false}, {"a", "", false}, {"#/a", "x/a", false},
	} {
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.filter, c.topic, got, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		claim, filter string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/b", "a/+", false}, {"a/b", "a/#", false},
		{"a/+", "a/b", true}, {"a/+", "a/+", true}, {"a/+", "a/#", false}, {"a/+", "a", false},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "a/+", true}, {"a/#", "a/#", true},
		{"a/#", "a/+/#", true}, {"a/#", "#", false}, {"a/#", "+/b", false},
		{"a/+/#", "a/#", false}, {"a/+/#", "a/b/#", true}, {"a/+/#", "a/b", true}, {"a/+/#", "a", false},
		{"#", "#", true}, {"#", "+/#", true}, {"+/#", "#", true}, {"+/+/#", "#", false}, {"+", "#", false},
		{"#", "+/+", true}, {"+/+", "#", false},
		{"#", "$a/b", false}, {"+/b", "$a/b", false}, {"$a/#", "$a/b", true}, {"$a/#", "+/b", false},
		{"", "a", false}, {"a", "", false}, {"#", "", false}, {"", "", false},
	} {
		if got := covers(c.claim, c.filter); got != c.want {
			t.Errorf("covers(%q, %q) = %v, want %v", c.claim, c.filter, got, c.want)
		}
	}
}

// oracle is MQTT clause 4.7 written the slow and plain way.
func oracle(filter, topic []string) bool {
	if len(filter) > 0 && filter[0] == "#" {
		return true
	}
	if len(topic) == 0 {
		return len(filter) == 0
	}
	return len(filter) > 0 && (filter[0] == "+" || filter[0] == topic[0]) && oracle(filter[1:], topic[1:])
}

func oracleMatch(filter, topic string) bool {
	if topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	return oracle(strings.Split(filter, "/"), strings.Split(topic, "/"))
}

// paths lists all names of 1 to depth levels over the alphabet, but "".
func paths(depth int, alphabet ...string) []string {
	last, all := alphabet, slices.Clone(alphabet)
	for range depth - 1 {
		var next []string
		for _, p := range last {
			for _, level := range alphabet {
				next = append(next, p+"/"+level)
			}
		}
		all, last = append(all, next...), next
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// TestMatchAndCoversExhaustive tries all small filters and topics. The topics
// have a name and a level more than the filters, so that covers is exact if
// and only if it agrees with the sets of topics taken.
func TestMatchAndCoversExhaustive(t *testing.T) {
	filters := paths(3, "a", "b", "$a", "", "+")
	for _, f := range append(paths(2, "a", "b", "$a", "", "+"), "") {
		filters = append(filters, f+"/#")
	}
	filters = append(filters, "#")
	topics := paths(4, "a", "b", "x", "$a", "$x", "")

	taken := make([][]uint64, len(filters))
	for i, f := range filters {
		taken[i] = make([]uint64, len(topics)/64+1)
		for n, topic := range topics {
			want := oracleMatch(f, topic)
			if got := Match(f, topic); got != want {
				t.Fatalf("Match(%q, %q) = %v, want %v", f, topic, got, want)
			}
			if want {
				taken[i][n/64] |= 1 << (n % 64)
			}
		}
	}
	for i, c := range filters {
		for k, f := range filters {
			want := true
			for w := range taken[k] {
				if extra := taken[k][w] &^ taken[i][w]; extra != 0 {
					want = false
					if covers(c, f) {
						t.Fatalf("covers(%q, %q), but only the filter takes %q",
							c, f, topics[w*64+bits.TrailingZeros64(extra)])
					}
					break
				}
			}
			if want && !covers(c, f) {
				t.Fatalf("covers(%q, %q) is false, but every topic of the filter is taken", c, f)
			}
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if !Match("devices/+/telemetry/#", "devices/d1/telemetry/temperature/inside") ||
			!covers("devices/+/#", "devices/d1/telemetry/+") {
			t.Fatal("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{{"a/#", "a"}, {"+/b", "$a/b"}, {"#", "/"}, {"a/+/c", "a//c"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, topic string) {
		got := Match(filter, topic)
		if _, err := chat.ParseFilter(filter); errIsInvalid(err) || topic == "" {
			return
		}
		if want := oracleMatch(filter, topic); got != want {
			t.Errorf("Match(%q, %q) = %v, want %v", filter, topic, got, want)
		}
	})
}

func FuzzCovers(f *testing.F) {
	f.Add("a/#", "a/+", "a/b")
	f.Add("+/#", "#", "a")
	f.Add("#", "$a/+", "$a/b")
	f.Fuzz(func(t *testing.T, c, filter, topic string) {
		for _, s := range []string{c, filter} {
			if _, err := chat.ParseFilter(s); errIsInvalid(err) {
				return
			}
		}
		if !covers(c, c) {
			t.Errorf("%q does not cover itself", c)
		}
		if covers(c, filter) && Match(filter, topic) && !Match(c, topic) {
			t.Errorf("%q covers %q, but does not take %q", c, filter, topic)
		}
		if covers(c, filter) && covers(filter, c) && Match(c, topic) != Match(filter, topic) {
			t.Errorf("%q and %q cover each other, but differ on %q", c, filter, topic)
		}
	})
}

// errIsInvalid tells a filter that is not well formed from one that is only
// not offered.
func errIsInvalid(err error) bool {
	e, ok := chat.AsError(err)
	return err != nil && ok && e.Code == chat.CodeInvalid
}
