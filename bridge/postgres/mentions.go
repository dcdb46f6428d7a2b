package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// NotifyMentions implements bridge.Store.
func (s *Store) NotifyMentions(ctx context.Context, now time.Time, limit int, newID func() chat.ID) (
	took int, out []bridge.Noticed, err error,
) {
	err = s.inTx(ctx, "notify mentions", func(tx pgx.Tx) error {
		messages, err := dueMentions(ctx, tx, limit)
		took = len(messages.seqs)
		if err != nil || took == 0 {
			return err
		}
		drafts, err := messages.drafts(ctx, tx, newID)
		out = make([]bridge.Noticed, len(drafts))
		if err != nil || len(drafts) == 0 {
			return err
		}
		return (&notify{tx: tx, now: stored(now), drafts: drafts}).run(ctx, out)
	})
	if err != nil {
		return 0, nil, err
	}
	return took, out, nil
}

// due are messages whose mentions are due.
type due struct{ streams, seqs []int64 }

func dueMentions(ctx context.Context, tx pgx.Tx, limit int) (d due, err error) {
	rows, err := tx.Query(ctx, takeDue, toLimit(limit))
	if err != nil {
		return d, err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var stream, seq int64
		err := rows.Scan(&stream, &seq)
		d.streams, d.seqs = append(d.streams, stream), append(d.seqs, seq)
		return err
	})
	return d, err
}

// drafts makes the notifications of those who are mentioned.
func (d *due) drafts(ctx context.Context, tx pgx.Tx, newID func() chat.ID) ([]chat.Draft, error) {
	var messages []chat.Entry
	var streams, asked, seqs []int64
	var users []string
	rows, err := tx.Query(ctx, selectThese, d.streams, d.seqs)
	if err != nil {
		return nil, err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var stream int64
		var key string
		e, err := scanEntry(rows, "", &stream, &key)
		if err != nil {
			return err
		}
		e.Stream = chat.StreamID(key)
		messages, streams = append(messages, e), append(streams, stream)
		for _, user := range e.Mentions {
			asked, seqs, users = append(asked, stream), append(seqs, int64(e.Seq)), append(users, user)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	type reader struct {
		stream, seq int64
		user        string
	}
	readers := map[reader]bool{}
	if rows, err = tx.Query(ctx, selectReaders, asked, seqs, users); err != nil {
		return nil, err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return err
		}
		readers[reader{asked[n-1], seqs[n-1], users[n-1]}] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	var drafts []chat.Draft
	for i := range messages {
		drafts = append(drafts, bridge.MentionDrafts(&messages[i], func(user string) bool {
			return readers[reader{streams[i], int64(messages[i].Seq), user}]
		}, newID)...)
	}
	return drafts, nil
}
