package postgres

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

var million = flag.String("million", "", `run BenchmarkMillion: "new", or the URL of a database, which is filled if it is empty`)

const (
	millionMessages = 1_000_000
	millionStreams  = 1000
	millionBig      = 200_000 // messages in the first conversation
	readersStreams  = 20      // conversations of the user "reader", the first among them
)

// BenchmarkMillion fills a database with a million messages of 60 days in
// 1,000 conversations, and tells the percentiles of history and of searches.
//
//	go test ./bridge/postgres -run '^$' -bench Million -benchtime 500x -million new
func BenchmarkMillion(b *testing.B) {
	if *million == "" {
		b.Skip("it takes minutes; see the flag -million")
	}
	url := *million
	if url == "new" {
		url = pgtest.URL(b)
	}
	s := openStore(b, url, true)
	fillMillion(b, s)
	s, err := Open(b.Context(), url, Options{MaxConns: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var pid int
	if err := s.pool.QueryRow(b.Context(), `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		b.Fatal(err)
	}
	percentiles := func(b *testing.B, name string, call func() error) { percentiles(b, pid, name, call) }
	rng := rand.New(rand.NewPCG(3, 3))
	big, small := streamName(0), func() string { return streamName(1 + rng.IntN(readersStreams-1)*50) }
	percentiles(b, "history/newest of any", func() error {
		_, err := s.Before(b.Context(), chat.ConversationStream(streamName(rng.IntN(millionStreams))), 0, 50)
		return err
	})
	percentiles(b, "history/anywhere in the big one", func() error {
		_, err := s.Before(b.Context(), chat.ConversationStream(big), 1+rng.Uint64N(millionBig), 50)
		return err
	})
	percentiles(b, "history/200 after any", func() error {
		_, err := s.Read(b.Context(), []bridge.Range{{Stream: chat.ConversationStream(big), After: rng.Uint64N(millionBig), Limit: 200}})
		return err
	})
	for _, in := range []struct {
		name string
		s    func() bridge.Search
	}{
		{"all 20", func() bridge.Search { return bridge.Search{UserID: "reader"} }},
		{"the big one", func() bridge.Search { return bridge.Search{UserID: "reader", Conversation: big} }},
		{"a small one", func() bridge.Search { return bridge.Search{UserID: "reader", Conversation: small()} }},
		{"all 20 from anywhere", func() bridge.Search {
			return bridge.Search{UserID: "reader", At: time.Now().Add(-time.Duration(rng.IntN(60*24)) * time.Hour)}
		}},
		{"all 1000", func() bridge.Search { return bridge.Search{UserID: "everywhere"} }},
	} {
		for _, words := range []struct {
			name  string
			ranks [][2]uint64 // from, to
		}{
			{"frequent", [][2]uint64{{0, 10}}},
			{"middling", [][2]uint64{{50, 1000}}},
			{"rare", [][2]uint64{{5000, 50_000}}},
			{"two frequent", [][2]uint64{{0, 10}, {0, 10}}},
			{"frequent and middling", [][2]uint64{{0, 10}, {50, 1000}}},
			{"two middling", [][2]uint64{{50, 1000}, {50, 1000}}},
			{"frequent and rare", [][2]uint64{{0, 10}, {5000, 50_000}}},
			{"unknown", nil},
		} {
			percentiles(b, "search/"+in.name+"/"+words.name, func() error {
				q := in.s()
				q.Limit, q.Words = 50, []string{"unheard"}
				if words.ranks != nil {
					q.Words = nil
				}
				for _, r := range words.ranks {
					q.Words = append(q.Words, word(r[0]+rng.Uint64N(r[1]-r[0])))
				}
				_, err := s.Search(b.Context(), q)
				return err
			})
		}
	}
}

// percentiles tells how long a call takes and, on Linux, how long the database
// computed for it, in milliseconds. The second is what the first would be on a
// machine with nothing else to do.
func percentiles(b *testing.B, pid int, name string, call func() error) {
	b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
		var took, ran []float64
		for b.Loop() {
			begun, before := time.Now(), onCPU(pid)
			if err := call(); err != nil {
				b.Fatal(err)
			}
			took = append(took, float64(time.Since(begun).Microseconds())/1000)
			ran = append(ran, float64((onCPU(pid)-before).Microseconds())/1000)
		}
		b.ReportMetric(0, "ns/op") // the mean says nothing
		for unit, all := range map[string][]float64{"ms": took, "cpu-ms": ran} {
			slices.Sort(all)
			b.ReportMetric(all[len(all)/2], "p50-"+unit)
			b.ReportMetric(all[len(all)*99/100], "p99-"+unit)
		}
	})
}

// onCPU is how long a process has run, 0 where that cannot be known.
func onCPU(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0
	}
	ns, _, _ := strings.Cut(string(text), " ")
	n, _ := strconv.ParseInt(ns, 10, 64)
	return time.Duration(n)
}

func streamName(i int) string { return fmt.Sprint("conversation-", i) }

// fillMillion commits the messages as a server does, unless they stand.
func fillMillion(b *testing.B, s *Store) {
	b.Helper()
	ctx := b.Context()
	if _, err := s.Conversation(ctx, streamName(millionStreams-1)); err == nil {
		return
	}
	start := time.Now().Add(-60 * 24 * time.Hour)
	for i := range millionStreams {
		c := bridge.NewConversation{ID: streamName(i), OwnerID: fmt.Sprint("owner-", i), Members: []string{"everywhere"}}
		if i%50 == 1 && i/50 < readersStreams-1 || i == 0 {
			c.Members = append(c.Members, "reader")
		}
		for range 1 + len(c.Members) {
			c.JoinIDs = append(c.JoinIDs, benchID())
		}
		if _, _, _, err := s.CreateConversation(ctx, start, c); err != nil {
			b.Fatal(err)
		}
	}
	const batch = 500
	say := newTalk(1)
	drafts, out := make([]chat.Draft, batch), make([]bridge.Outcome, batch)
	for sent := 0; sent < millionMessages; sent += batch {
		for i := range drafts {
			to := 0
			if say.rng.IntN(millionMessages) >= millionBig {
				to = 1 + say.rng.IntN(millionStreams-1)
			}
			id := benchID()
			drafts[i] = chat.Draft{ID: id, Stream: chat.ConversationStream(streamName(to)), SenderID: fmt.Sprint("owner-", to),
				Body: chat.Body{Type: chat.TypeMessage, Content: say.text(), ClientID: bridge.ServerClientID(id)}}
		}
		at := start.Add(60 * 24 * time.Hour / millionMessages * time.Duration(sent))
		if err := s.Commit(ctx, at, drafts, out); err != nil {
			b.Fatal(err)
		}
		for i := range out {
			if out[i].Err != nil {
				b.Fatal(out[i].Err)
			}
		}
	}
	run(b, s, `ANALYZE`)
}

// talk makes texts as people write them: 4 to 20 words of a vocabulary of
// 50,000, a few of which are most of what is said.
type talk struct {
	rng  *rand.Rand
	zipf *rand.Zipf
}

func newTalk(seed uint64) *talk {
	rng := rand.New(rand.NewPCG(seed, 0))
	return &talk{rng, rand.NewZipf(rng, 1.1, 2, 49_999)}
}

// word is the word of that rank, 0 is the most frequent.
func word(rank uint64) string {
	const letters = "etaoinshrdlu"
	var b strings.Builder
	for rank += uint64(len(letters)); rank > 0; rank /= uint64(len(letters)) {
		b.WriteByte(letters[rank%uint64(len(letters))])
	}
	return b.String()
}

func (t *talk) text() string {
	var b strings.Builder
	for i := range 4 + t.rng.IntN(17) {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word(t.zipf.Uint64()))
	}
	return b.String()
}
