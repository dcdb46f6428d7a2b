package postgres

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

// notice is a chat.Notice as it is kept.
type notice struct {
	Type     string          `json:"type"`
	Data     json.RawMessage `json:"data,omitempty"`
	Collapse string          `json:"collapse,omitempty"`
}

func encodeNotice(n *chat.Notice) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)                           // data stays as it came
	_ = e.Encode(notice{n.Type, n.Data, n.Collapse}) // chat has checked the data
	return b.String()
}

func decodeNotice(e *chat.Entry, text string) error {
	var n notice
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		return fmt.Errorf("entry %d of %s: %w", e.Seq, e.Stream, err)
	}
	e.Notice = &chat.Notice{Type: n.Type, Data: n.Data, Collapse: n.Collapse}
	return nil
}

// markNotices sets which entries of users' notifications are read. It is asked
// after the entries were read: what was read by a user meanwhile is read.
func markNotices(ctx context.Context, q querier, lists ...[]chat.Entry) error {
	var keys []string
	var lows, highs []int64
	var at []int
	for i, entries := range lists {
		if len(entries) == 0 || entries[0].Stream.User() == "" {
			continue
		}
		low, high := entries[0].Seq, entries[0].Seq
		for j := range entries {
			low, high = min(low, entries[j].Seq), max(high, entries[j].Seq)
		}
		keys, at = append(keys, string(entries[0].Stream)), append(at, i)
		lows, highs = append(lows, int64(low)), append(highs, int64(high))
	}
	if len(keys) == 0 {
		return nil
	}
	type place struct {
		list int
		seq  uint64
	}
	unread := map[place]bool{}
	rows, err := q.Query(ctx, selectUnreadIn, keys, lows, highs)
	if err != nil {
		return err
	}
	err = eachRow(rows, func(rows pgx.Rows) error {
		var n int64
		var seq uint64
		err := rows.Scan(&n, &seq)
		if err == nil {
			unread[place{at[n-1], seq}] = true
		}
		return err
	})
	for _, i := range at {
		for j := range lists[i] {
			if e := &lists[i][j]; e.Notice != nil {
				e.Notice.Read = !unread[place{i, e.Seq}]
			}
		}
	}
	return err
}

// inbox is a bridge.Inbox with the number of its stream, 0 where there is none
// yet.
type inbox struct {
	bridge.Inbox
	key    string
	stream int64
}

// notify is a transaction that makes notifications.
type notify struct {
	tx      pgx.Tx
	now     time.Time
	drafts  []chat.Draft
	inboxes map[string]*inbox // by user
	users   []string          // in order
}

// Notify implements bridge.Store.
func (s *Store) Notify(ctx context.Context, now time.Time, drafts []chat.Draft, out []bridge.Noticed) error {
	if len(drafts) == 0 {
		return nil
	}
	return s.inTx(ctx, "notify", func(tx pgx.Tx) error {
		return (&notify{tx: tx, now: stored(now), drafts: drafts}).run(ctx, out)
	})
}

func (n *notify) run(ctx context.Context, out []bridge.Noticed) error {
	n.inboxes = make(map[string]*inbox)
	for i := range n.drafts {
		user := n.drafts[i].Stream.User()
		if n.inboxes[user] == nil {
			n.inboxes[user] = &inbox{key: string(n.drafts[i].Stream), Inbox: bridge.Inbox{
				Preferences: bridge.DefaultPreferences(), Stand: map[bridge.SendKey]chat.Entry{}, Unread: map[string]uint64{}}}
			n.users = append(n.users, user)
		}
	}
	slices.SortFunc(n.users, func(a, b string) int { return cmp.Compare(n.inboxes[a].key, n.inboxes[b].key) })
	if err := n.lock(ctx); err != nil {
		return err
	}
	if err := n.look(ctx); err != nil {
		return err
	}
	bridge.DecideNotices(n.now, n.drafts, func(user string) *bridge.Inbox { return &n.inboxes[user].Inbox }, out)
	if err := n.create(ctx); err != nil {
		return err
	}
	return n.write(ctx)
}

// lock holds the streams that exist.
func (n *notify) lock(ctx context.Context) error {
	keys := make([]string, len(n.users))
	for i, user := range n.users {
		keys[i] = n.inboxes[user].key
	}
	rows, err := n.tx.Query(ctx, lockInboxes, keys)
	if err != nil {
		return err
	}
	return eachRow(rows, func(rows pgx.Rows) error {
		var key string
		var id int64
		var head uint64
		err := rows.Scan(&key, &id, &head)
		if in := n.inboxes[chat.StreamID(key).User()]; in != nil {
			in.stream, in.Head = id, head
		}
		return err
	})
}

// look reads what the drafts may meet, in one round trip.
func (n *notify) look(ctx context.Context) error {
	var repeats, collapses []int // places in drafts
	var streams, collapsing []int64
	var senders, clients, keys []string
	for i := range n.drafts {
		d := &n.drafts[i]
		in := n.inboxes[d.Stream.User()]
		if in.stream == 0 {
			continue
		}
		if d.ClientID[0] != '~' {
			repeats, streams = append(repeats, i), append(streams, in.stream)
			senders, clients = append(senders, d.SenderID), append(clients, d.ClientID)
		}
		if d.Notice.Collapse != "" {
			collapses, collapsing, keys = append(collapses, i), append(collapsing, in.stream), append(keys, d.Notice.Collapse)
		}
	}
	b := &pgx.Batch{}
	b.Queue(selectPreferences, n.users).Query(func(rows pgx.Rows) error { return eachRow(rows, n.prefer) })
	if len(repeats) > 0 {
		b.Queue(selectStanding, streams, senders, clients).Query(func(rows pgx.Rows) error {
			return eachRow(rows, func(rows pgx.Rows) error { return n.stands(rows, repeats) })
		})
	}
	if len(collapses) > 0 {
		b.Queue(selectCollapsed, collapsing, keys).Query(func(rows pgx.Rows) error {
			return eachRow(rows, func(rows pgx.Rows) error {
				var at int64
				var seq uint64
				if err := rows.Scan(&at, &seq); err != nil {
					return err
				}
				d := &n.drafts[collapses[at-1]]
				n.inboxes[d.Stream.User()].Unread[d.Notice.Collapse] = seq
				return nil
			})
		})
	}
	return n.tx.SendBatch(ctx, b).Close()
}

func (n *notify) prefer(rows pgx.Rows) error {
	var user, body string
	if err := rows.Scan(&user, &body); err != nil {
		return err
	}
	p, err := decodePreferences(body)
	n.inboxes[user].Preferences = p
	return err
}

func (n *notify) stands(rows pgx.Rows, repeats []int) error {
	var at int64
	var unread bool
	e, err := scanEntry(rows, "", &at, &unread)
	if err != nil {
		return err
	}
	d := &n.drafts[repeats[at-1]]
	e.Stream, e.Notice.Read = d.Stream, !unread
	n.inboxes[d.Stream.User()].Stand[bridge.SendKey{SenderID: d.SenderID, ClientID: d.ClientID}] = e
	return nil
}

// create makes the streams of first notifications.
func (n *notify) create(ctx context.Context) error {
	var keys []string
	var heads []int64
	for _, user := range n.users {
		if in := n.inboxes[user]; in.stream == 0 && len(in.Append) > 0 {
			keys, heads = append(keys, in.key), append(heads, int64(in.Head))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	rows, err := n.tx.Query(ctx, createInboxes, keys, heads, n.now)
	if err != nil {
		return err
	}
	made := 0
	err = eachRow(rows, func(rows pgx.Rows) error {
		var key string
		var id int64
		err := rows.Scan(&key, &id)
		if in := n.inboxes[chat.StreamID(key).User()]; in != nil {
			in.stream = id
		}
		made++
		return err
	})
	if err == nil && made < len(keys) {
		return errAgain // one was created since, and must be locked first
	}
	return err
}

// write writes what was decided, in one round trip.
func (n *notify) write(ctx context.Context) error {
	var (
		raised                   []string
		heads                    = map[string]uint64{}
		streams, seqs            []int64
		ids                      [][16]byte
		senders, clients, extras []string
		unread, unreadSeqs       []int64
		unreadIDs                [][16]byte
		collapses                []string
		dropped, droppedSeqs     []int64
	)
	for _, user := range n.users {
		in := n.inboxes[user]
		if len(in.Append) == 0 {
			continue
		}
		raised, heads[in.key] = append(raised, in.key), in.Head
		for i := range in.Append {
			e := &in.Append[i]
			streams, seqs, ids = append(streams, in.stream), append(seqs, int64(e.Seq)), append(ids, [16]byte(e.ID))
			senders, clients = append(senders, e.SenderID), append(clients, e.ClientID)
			extras = append(extras, encodeNotice(e.Notice))
			if !e.Notice.Read {
				unread, unreadSeqs = append(unread, in.stream), append(unreadSeqs, int64(e.Seq))
				unreadIDs, collapses = append(unreadIDs, [16]byte(e.ID)), append(collapses, e.Notice.Collapse)
			}
		}
		for _, seq := range in.Drop {
			dropped, droppedSeqs = append(dropped, in.stream), append(droppedSeqs, int64(seq))
		}
	}
	if len(raised) == 0 {
		return nil
	}
	b := &pgx.Batch{}
	b.Queue(raiseInboxes, raised, heads, n.now)
	b.Queue(insertNotices, n.now, int16(chat.TypeNotification), streams, seqs, ids, senders, clients, extras)
	if len(dropped) > 0 { // before others take their keys
		b.Queue(dropUnread, dropped, droppedSeqs)
	}
	b.Queue(insertUnread, unread, unreadSeqs, unreadIDs, collapses)
	return n.tx.SendBatch(ctx, b).Close()
}

// ReadNotifications implements bridge.Store.
func (s *Store) ReadNotifications(ctx context.Context, user string, marks chat.ReadMarks) (m bridge.Marked, err error) {
	err = s.inTx(ctx, "read notifications", func(tx pgx.Tx) error {
		key := string(chat.NotificationStream(user))
		var stream int64
		var head uint64
		err := tx.QueryRow(ctx, lockInbox, key).Scan(&stream, &head)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if marks.All {
			marks.UpTo = head
		}
		b := &pgx.Batch{}
		if m.UpTo = min(marks.UpTo, head); m.UpTo > 0 {
			b.Queue(dropUnreadUpTo, stream, toBigint(m.UpTo))
		}
		if len(marks.IDs) > 0 {
			ids := make([][16]byte, len(marks.IDs))
			for i, id := range marks.IDs {
				ids[i] = id
			}
			b.Queue(dropUnreadIDs, stream, ids).Query(func(rows pgx.Rows) error {
				return eachRow(rows, func(rows pgx.Rows) error {
					var seq uint64
					err := rows.Scan(&seq)
					m.Seqs = append(m.Seqs, seq)
					return err
				})
			})
		}
		b.Queue(countUnread, []string{key}).QueryRow(func(row pgx.Row) error { return row.Scan(new(int64), &m.Unread) })
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return bridge.Marked{}, err
	}
	slices.Sort(m.Seqs)
	return m, nil
}

// UnreadNotifications implements bridge.Store.
func (s *Store) UnreadNotifications(ctx context.Context, users []string) ([]uint64, error) {
	keys := make([]string, len(users))
	for i, user := range users {
		keys[i] = string(chat.NotificationStream(user))
	}
	counts := make([]uint64, len(users))
	err := s.query(ctx, "count unread notifications", countUnread, []any{keys}, func(rows pgx.Rows) error {
		var n int64
		var count uint64
		err := rows.Scan(&n, &count)
		if err == nil {
			counts[n-1] = count
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return counts, nil
}

// Notifications implements bridge.Store.
func (s *Store) Notifications(ctx context.Context, user string, before uint64, unread bool, limit int) ([]chat.Entry, error) {
	stream := chat.NotificationStream(user)
	if !unread {
		got, err := s.Before(ctx, stream, before, limit)
		slices.Reverse(got)
		return got, err
	}
	if before == 0 {
		before = maxSeq
	}
	var got []chat.Entry
	args := []any{string(stream), toBigint(before), toLimit(limit)}
	err := s.query(ctx, "list notifications", selectUnread, args, func(rows pgx.Rows) error {
		e, err := scanEntry(rows, stream)
		got = append(got, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	inOrder(got)
	slices.Reverse(got)
	return got, nil
}

// Preferences implements bridge.Store.
func (s *Store) Preferences(ctx context.Context, user string) (bridge.Preferences, error) {
	p := bridge.DefaultPreferences()
	err := s.EachPreferences(ctx, []string{user}, func(_ string, set *bridge.Preferences) { p = *set })
	return p, err
}

// EachPreferences implements bridge.Store.
func (s *Store) EachPreferences(ctx context.Context, users []string, each func(user string, p *bridge.Preferences)) error {
	return s.query(ctx, "read preferences", selectPreferences, []any{users}, func(rows pgx.Rows) error {
		var user, body string
		if err := rows.Scan(&user, &body); err != nil {
			return err
		}
		p, err := decodePreferences(body)
		if err == nil {
			each(user, &p)
		}
		return err
	})
}

func decodePreferences(body string) (p bridge.Preferences, err error) {
	err = json.Unmarshal([]byte(body), &p)
	return p, err
}

// SavePreferences implements bridge.Store.
func (s *Store) SavePreferences(ctx context.Context, user string, p bridge.Preferences) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return s.exec(ctx, "save preferences", savePreferences, user, string(body))
}
