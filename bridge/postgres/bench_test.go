package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

const (
	benchStreams = 100
	benchMembers = 10
)

var benchSizes = []int{1, 16, 128, 512}

// BenchmarkCommit commits batches of plain messages to 100 conversations of
// 10 members.
func BenchmarkCommit(b *testing.B) { benchLanes(b, (*benchDB).commit) }

// BenchmarkBareInsert inserts the same batches into the same table, and asks
// nothing: no locks, no heads, no members, no repeats.
func BenchmarkBareInsert(b *testing.B) { benchLanes(b, (*benchDB).insert) }

func benchLanes(b *testing.B, write func(db *benchDB, x benchBatch) error) {
	for _, lanes := range []int{1, 2} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprintf("lanes=%d/drafts=%d", lanes, size), func(b *testing.B) {
				db := newBenchDB(b)
				var left atomic.Int64
				left.Store(int64(b.N))
				var lane sync.WaitGroup
				b.ReportAllocs()
				b.ResetTimer()
				for l := range lanes {
					lane.Go(func() {
						for left.Add(-1) >= 0 {
							if err := write(db, db.batch(size, l, lanes)); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				lane.Wait()
				b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "drafts/s")
			})
		}
	}
}

// BenchmarkCommitAndBare does one of each in turn, so that a busy machine is
// as busy for both, and tells how the two compare.
func BenchmarkCommitAndBare(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("drafts=%d", size), func(b *testing.B) {
			dbs := []*benchDB{newBenchDB(b), newBenchDB(b)}
			writes := []func(*benchDB, benchBatch) error{(*benchDB).commit, (*benchDB).insert}
			var took [2]time.Duration
			for b.Loop() {
				for i, db := range dbs {
					x := db.batch(size, 0, 1)
					begun := time.Now()
					if err := writes[i](db, x); err != nil {
						b.Fatal(err)
					}
					took[i] += time.Since(begun)
				}
			}
			b.ReportMetric(float64(took[0].Microseconds())/float64(b.N), "µs/commit")
			b.ReportMetric(float64(took[1].Microseconds())/float64(b.N), "µs/bare")
			b.ReportMetric(100*took[1].Seconds()/took[0].Seconds(), "%ofbare")
		})
	}
}

type benchDB struct {
	ctx   context.Context
	s     *Store
	users [benchStreams][benchMembers]string
	heads [benchStreams]int64
}

func newBenchDB(b *testing.B) *benchDB {
	b.Helper()
	return fillBench(b, openStore(b, pgtest.URL(b), true))
}

func fillBench(b testing.TB, s *Store) *benchDB {
	b.Helper()
	db := &benchDB{ctx: b.Context(), s: s}
	for c := range db.users {
		n := bridge.NewConversation{ID: fmt.Sprint("conversation-", c)}
		for m := range db.users[c] {
			db.users[c][m] = fmt.Sprintf("user-%d-%d", c, m)
			n.JoinIDs = append(n.JoinIDs, benchID())
		}
		n.OwnerID, n.Members = db.users[c][0], db.users[c][1:]
		if _, _, _, err := db.s.CreateConversation(b.Context(), time.Now(), n); err != nil {
			b.Fatal(err)
		}
		db.heads[c] = benchMembers
	}
	return db
}

// benchBatch is what Commit and a bare insert need of the same batch.
type benchBatch struct {
	drafts        []chat.Draft
	streams, seqs []int64
}

const benchText = "A message of a hundred bytes or so, which is what people write to each other when they have some time."

// batch makes a batch for the streams of one lane.
func (db *benchDB) batch(size, lane, lanes int) benchBatch {
	x := benchBatch{make([]chat.Draft, size), make([]int64, size), make([]int64, size)}
	for i := range x.drafts {
		c := rand.IntN(benchStreams/lanes)*lanes + lane
		db.heads[c]++
		id := benchID()
		x.drafts[i] = chat.Draft{ID: id, Stream: chat.StreamID(fmt.Sprint("c/conversation-", c)),
			SenderID: db.users[c][rand.IntN(benchMembers)],
			Body:     chat.Body{Type: chat.TypeMessage, Content: benchText, ClientID: "~" + id.String()}}
		x.streams[i], x.seqs[i] = int64(c+1), db.heads[c]
	}
	return x
}

func (db *benchDB) commit(x benchBatch) error {
	out := make([]bridge.Outcome, len(x.drafts))
	if err := db.s.Commit(db.ctx, time.Now(), x.drafts, out); err != nil {
		return err
	}
	for i := range out {
		if out[i].Err != nil || out[i].Repeat {
			return fmt.Errorf("outcome %+v", out[i])
		}
	}
	return nil
}

func (db *benchDB) insert(x benchBatch) error {
	const insert = `
INSERT INTO entries (stream, seq, created_at, id, type, sender_id, client_id, content)
SELECT d.stream, d.seq, $1, d.id, 1, d.sender, d.client, d.content
FROM unnest($2::bigint[], $3::bigint[], $4::uuid[], $5::text[], $6::text[], $7::text[]) AS d(stream, seq, id, sender, client, content)`
	n := len(x.drafts)
	ids, senders, clients, contents := make([][16]byte, n), make([]string, n), make([]string, n), make([]string, n)
	for i := range x.drafts {
		d := &x.drafts[i]
		ids[i], senders[i], clients[i], contents[i] = d.ID, d.SenderID, d.ClientID, d.Content
	}
	_, err := db.s.pool.Exec(db.ctx, insert, time.Now(), x.streams, x.seqs, ids, senders, clients, contents)
	return err
}

var benchIDs atomic.Uint64

// benchID grows with time, as the ids of the server do.
func benchID() (id chat.ID) {
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16|0x7000|benchIDs.Add(1)&0xfff)
	binary.BigEndian.PutUint64(id[8:], rand.Uint64())
	return id
}
