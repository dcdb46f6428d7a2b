package sqlite

import (
	"context"
	"database/sql"
	"time"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
)

const (
	selectRosterHead = `SELECT id, head, first FROM streams WHERE key = ?`
	selectRoster     = `SELECT m.user_id, coalesce(p.last_seen, 0)
		FROM members m LEFT JOIN people p ON p.user_id = m.user_id WHERE m.stream = ? AND m.role > 0`
	selectPerson     = `SELECT online, last_seen FROM people WHERE user_id = ?`
	selectAcquainted = `SELECT 1 FROM members a CROSS JOIN members b ON b.stream = a.stream AND b.user_id = ?2 AND b.role > 0
		WHERE a.user_id = ?1 AND a.role > 0 LIMIT 1`
	upsertPerson = `INSERT INTO people (user_id, last_seen, online) VALUES (?, ?, ?)
		ON CONFLICT (user_id) DO UPDATE SET last_seen = excluded.last_seen, online = excluded.online`
	releasePeople = `UPDATE people SET online = 0, last_seen = ? WHERE online = 1`
)

// Rosters implements bridge.Store.
func (s *Store) Rosters(ctx context.Context, streams []chat.StreamID) ([]bridge.Roster, error) {
	return readAll(ctx, s, "rosters", streams, func(c *conn, key chat.StreamID) (r bridge.Roster, err error) {
		var stream int64
		found, err := c.row(selectRosterHead, string(key)).find(&stream, &r.Head.Head, &r.First)
		if err != nil || !found {
			return r, err
		}
		err = c.each(func(rows *sql.Rows) error {
			var m bridge.RosterMember
			var seen int64
			err := rows.Scan(&m.UserID, &seen)
			m.LastSeen = asSeen(seen)
			r.Members = append(r.Members, m)
			return err
		}, selectRoster, stream)
		return r, err
	})
}

// asSeen reads a time that may be none.
func asSeen(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return asTime(ms)
}

// People implements bridge.Store.
func (s *Store) People(ctx context.Context, users []string) ([]bridge.Person, error) {
	return readAll(ctx, s, "people", users, func(c *conn, user string) (bridge.Person, error) {
		p := bridge.Person{UserID: user}
		var seen int64
		_, err := c.row(selectPerson, user).find(&p.Online, &seen)
		p.LastSeen = asSeen(seen)
		return p, err
	})
}

// Acquainted implements bridge.Store.
func (s *Store) Acquainted(ctx context.Context, viewer string, users []string) ([]bool, error) {
	return readAll(ctx, s, "acquainted", users, func(c *conn, user string) (bool, error) {
		if user == viewer {
			return true, nil
		}
		var one int
		return c.row(selectAcquainted, viewer, user).find(&one)
	})
}

// SavePeople implements bridge.Store.
func (s *Store) SavePeople(ctx context.Context, people []bridge.Person) error {
	return s.write(ctx, func(c *conn) error {
		for _, p := range people {
			seen := int64(0)
			if !p.LastSeen.IsZero() {
				seen = p.LastSeen.UnixMilli()
			}
			if _, err := c.exec(upsertPerson, p.UserID, seen, p.Online); err != nil {
				return name("save people", err)
			}
		}
		return nil
	})
}

// ReleasePeople implements bridge.Store.
func (s *Store) ReleasePeople(ctx context.Context, at time.Time) error {
	return s.write(ctx, func(c *conn) error {
		_, err := c.exec(releasePeople, at.UnixMilli())
		return name("release people", err)
	})
}
