package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	benchStreams = 100
	benchMembers = 10
)

// benchStore has 100 conversations with 10 members each.
func benchStore(b *testing.B) *Store {
	b.Helper()
	s := openStore(b, filepath.Join(b.TempDir(), "parley.db"), true)
	var members []string
	for i := 1; i < benchMembers; i++ {
		members = append(members, fmt.Sprintf("user-%d", i))
	}
	for i := range benchStreams {
		c := bridge.NewConversation{ID: fmt.Sprintf("conversation-%d", i), OwnerID: "user-0", Members: members,
			JoinIDs: make([]chat.ID, benchMembers)}
		if _, _, _, err := s.CreateConversation(b.Context(), time.Now(), c); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// benchDrafts makes the next n drafts: 200 bytes each, from all members in
// all conversations, with clientIds of their own.
func benchDrafts(next *uint64, n int) []chat.Draft {
	drafts := make([]chat.Draft, n)
	text := strings.Repeat("x", 200)
	for i := range drafts {
		*next++
		at := *next * 7919 % (benchStreams * benchMembers) // walks through all pairs
		d := &drafts[i]
		binary.BigEndian.PutUint64(d.ID[:], uint64(time.Now().UnixMilli())<<16|0x7000)
		binary.BigEndian.PutUint64(d.ID[8:], *next)
		d.Stream = chat.ConversationStream(fmt.Sprintf("conversation-%d", at%benchStreams))
		d.SenderID = fmt.Sprintf("user-%d", at/benchStreams)
		d.Body = chat.Body{Type: chat.TypeMessage, Content: text, ClientID: fmt.Sprintf("client-%d", *next)}
	}
	return drafts
}

// BenchmarkCommit counts a batch as one operation and reports messages a
// second.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1, 16, 128, 512} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := benchStore(b)
			out := make([]bridge.Outcome, size)
			var next uint64
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				drafts := benchDrafts(&next, size)
				b.StartTimer()
				if err := s.Commit(context.Background(), time.Now(), drafts, out); err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			for i := range out {
				if out[i].Err != nil || out[i].Repeat {
					b.Fatalf("draft %d: %+v", i, out[i])
				}
			}
			b.ReportMetric(float64(next)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// BenchmarkRead counts one call with 16 ranges of 50 entries.
func BenchmarkRead(b *testing.B) {
	s := benchStore(b)
	var next uint64
	for range 40 {
		if err := s.Commit(b.Context(), time.Now(), benchDrafts(&next, 500), make([]bridge.Outcome, 500)); err != nil {
			b.Fatal(err)
		}
	}
	ranges := make([]bridge.Range, 16)
	b.ReportAllocs()
	entries := 0
	for b.Loop() {
		for i := range ranges {
			next++
			ranges[i] = bridge.Range{Stream: chat.ConversationStream(fmt.Sprintf("conversation-%d", next%benchStreams)),
				After: next % 100, Limit: 50}
		}
		got, err := s.Read(context.Background(), ranges)
		if err != nil {
			b.Fatal(err)
		}
		for i := range got {
			entries += len(got[i])
		}
	}
	b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
}
