package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	// One statement sees one state of the database: head and members belong
	// together.
	selectRosters = `
SELECT k.n, s.head, s.first, m.user_id, p.last_seen
FROM unnest($1::text[]) WITH ORDINALITY AS k(key, n)
CROSS JOIN LATERAL (SELECT id, head, first FROM streams WHERE key = k.key OFFSET 0) s
LEFT JOIN LATERAL (SELECT user_id FROM members WHERE stream BETWEEN s.id AND s.id AND role > 0 ORDER BY stream OFFSET 0) m ON true
LEFT JOIN LATERAL (SELECT last_seen FROM people WHERE user_id = m.user_id OFFSET 0) p ON true`

	selectPeople = `
SELECT k.n, p.online, p.last_seen
FROM unnest($1::text[]) WITH ORDINALITY AS k(user_id, n)
CROSS JOIN LATERAL (SELECT online, last_seen FROM people WHERE user_id = k.user_id OFFSET 0) p`

	selectAcquainted = `
SELECT DISTINCT k.n
FROM (SELECT stream FROM members WHERE user_id = $1 AND role > 0 ORDER BY stream OFFSET 0) a
CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS k(user_id, n)
CROSS JOIN LATERAL (SELECT 1 FROM members WHERE stream = a.stream AND user_id = k.user_id AND role > 0 OFFSET 0) b`

	// The order is that of the locks.
	savePeople = `
INSERT INTO people (user_id, last_seen, online)
SELECT * FROM unnest($1::text[], $2::timestamptz[], $3::boolean[]) AS k(user_id, last_seen, online) ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET last_seen = excluded.last_seen, online = excluded.online`

	releasePeople = `UPDATE people SET online = false, last_seen = $1 WHERE online`
)

// Rosters implements bridge.Store.
func (s *Store) Rosters(ctx context.Context, streams []chat.StreamID) ([]bridge.Roster, error) {
	got := make([]bridge.Roster, len(streams))
	err := s.query(ctx, "read rosters", selectRosters, []any{keysOf(streams)}, func(rows pgx.Rows) error {
		var n int64
		var head bridge.Head
		var user *string
		var seen *time.Time
		if err := rows.Scan(&n, &head.Head, &head.First, &user, &seen); err != nil {
			return err
		}
		r := &got[n-1]
		if r.Head = head; user == nil {
			return nil
		}
		r.Members = append(r.Members, bridge.RosterMember{UserID: *user, LastSeen: seenAt(seen)})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

func seenAt(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// People implements bridge.Store.
func (s *Store) People(ctx context.Context, users []string) ([]bridge.Person, error) {
	got := make([]bridge.Person, len(users))
	for i, user := range users {
		got[i].UserID = user
	}
	err := s.query(ctx, "read people", selectPeople, []any{users}, func(rows pgx.Rows) error {
		var n int64
		var online bool
		var seen *time.Time
		if err := rows.Scan(&n, &online, &seen); err != nil {
			return err
		}
		got[n-1].Online, got[n-1].LastSeen = online, seenAt(seen)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return got, nil
}

// Acquainted implements bridge.Store.
func (s *Store) Acquainted(ctx context.Context, viewer string, users []string) ([]bool, error) {
	got := make([]bool, len(users))
	err := s.query(ctx, "read acquaintances", selectAcquainted, []any{viewer, users}, func(rows pgx.Rows) error {
		var n int64
		err := rows.Scan(&n)
		if err == nil {
			got[n-1] = true
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, user := range users {
		got[i] = got[i] || user == viewer
	}
	return got, nil
}

// SavePeople implements bridge.Store.
func (s *Store) SavePeople(ctx context.Context, people []bridge.Person) error {
	users, online := make([]string, len(people)), make([]bool, len(people))
	seen := make([]*time.Time, len(people))
	for i, p := range people {
		users[i], online[i] = p.UserID, p.Online
		if !p.LastSeen.IsZero() {
			at := stored(p.LastSeen)
			seen[i] = &at
		}
	}
	return s.exec(ctx, "save people", savePeople, users, seen, online)
}

// ReleasePeople implements bridge.Store.
func (s *Store) ReleasePeople(ctx context.Context, at time.Time) error {
	return s.exec(ctx, "release people", releasePeople, stored(at))
}
