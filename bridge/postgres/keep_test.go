package postgres

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/parley-mqtt/parley/bridge"
	"github.com/parley-mqtt/parley/internal/chat"
	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

func durable(t *testing.T, s *Store, keys ...bridge.SessionKey) {
	t.Helper()
	for _, key := range keys {
		err := s.SaveSession(t.Context(), bridge.Session{Key: key, Subscriptions: []bridge.Subscription{{Filter: "#", QoS: 1}}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func testMessage(topic string) *bridge.Message {
	return &bridge.Message{ID: benchID(), Topic: topic, Payload: []byte("x"), QoS: 1, Published: testNow}
}

// deliverAll brings a message to each session, takes away the one before, and
// replaces and removes retained messages.
func deliverAll(keys []bridge.SessionKey, n uint64, shift int) (c bridge.Changes) {
	for i, key := range keys {
		m := testMessage(fmt.Sprint("t", i))
		c.Messages = append(c.Messages, m)
		c.Deliveries = append(c.Deliveries, bridge.Delivery{Key: key, N: n, QoS: 2, Message: m})
		c.Done = append(c.Done, bridge.DeliveryKey{Key: key, N: n - 1})
		c.Released = append(c.Released, bridge.DeliveryKey{Key: key, N: n + 1000}) // another lane's
		c.Received = append(c.Received, bridge.ReceivedAt{Key: key, Received: bridge.Received{PacketID: uint16(n % 3)}})
		c.Sent = append(c.Sent, bridge.SentMark{Key: key, N: n})
		r := testMessage(m.Topic)
		if (i+shift)%2 == 0 {
			r.Payload = nil
		}
		c.Retained = append(c.Retained, r)
	}
	return c
}

// TestKeepsInOppositeOrder: calls that name the same things in opposite orders,
// while sessions are marked, saved and deleted, wait for each other. None of
// them has to be repeated.
func TestKeepsInOppositeOrder(t *testing.T) {
	t.Parallel()
	const sessions, rounds = 12, 30
	s := openStore(t, pgtest.URL(t), true)
	var keys []bridge.SessionKey
	for i := range sessions { // their order by key is not that by id
		keys = append(keys, bridge.SessionKey{UserID: fmt.Sprint("u", i*7%sessions), ClientID: "phone"})
	}
	durable(t, s, keys...)
	var lanes sync.WaitGroup
	for lane := range 3 {
		lanes.Go(func() {
			for round := range rounds {
				c := deliverAll(keys, uint64(1000*(1+lane)+round), lane+round)
				if lane == 1 {
					slices.Reverse(c.Messages)
					slices.Reverse(c.Deliveries)
					slices.Reverse(c.Done)
					slices.Reverse(c.Received)
					slices.Reverse(c.Retained)
					slices.Reverse(c.Sent)
				}
				if err := s.Keep(t.Context(), &c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	lanes.Go(func() {
		for round := range rounds {
			var marks []bridge.SessionMark
			for _, key := range keys {
				marks = append(marks, bridge.SessionMark{Key: key, Expiry: 1})
			}
			err := s.MarkSessions(t.Context(), marks)
			if err == nil {
				err = s.DeleteSession(t.Context(), keys[round%sessions])
			}
			if err == nil {
				err = s.SaveSession(t.Context(), bridge.Session{Key: keys[round%sessions]})
			}
			if err == nil {
				_, err = s.SweepMessages(t.Context(), testNow, 10)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	lanes.Wait()
}

// TestKeepsWithoutSessions is the same for what belongs to no session: nothing
// but the order of their keys keeps these calls from a deadlock.
func TestKeepsWithoutSessions(t *testing.T) {
	t.Parallel()
	const names = 40
	var messages []*bridge.Message
	for range names {
		messages = append(messages, testMessage("a"))
	}
	for part, changes := range map[string]func(turn int) bridge.Changes{
		"messages": func(int) bridge.Changes { return bridge.Changes{Messages: slices.Clone(messages)} },
		"retained": func(turn int) (c bridge.Changes) {
			for i := range names {
				m := testMessage(fmt.Sprint("t", i))
				if (i+turn)%2 == 0 {
					m.Payload = nil
				}
				c.Retained = append(c.Retained, m)
			}
			return c
		},
		"wills": func(int) (c bridge.Changes) {
			for i := range names {
				c.Wills = append(c.Wills, bridge.Will{Key: bridge.SessionKey{UserID: fmt.Sprint("u", i)}, Message: *testMessage("a")})
			}
			return c
		},
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			keepInBothOrders(t, openStore(t, pgtest.URL(t), true), changes)
		})
	}
}

func keepInBothOrders(t *testing.T, s *Store, changes func(turn int) bridge.Changes) {
	const rounds = 40
	var lanes sync.WaitGroup
	for lane := range 4 {
		lanes.Go(func() {
			for round := range rounds {
				c := changes(lane + round)
				if lane%2 == 1 {
					slices.Reverse(c.Messages)
					slices.Reverse(c.Retained)
					slices.Reverse(c.Wills)
				}
				if err := s.Keep(t.Context(), &c); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	lanes.Wait()
}

// TestSweepMeetsKeep: a sweep that was under way before a message came again
// does not take it, though it was free to go for a moment.
func TestSweepMeetsKeep(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	ctx := t.Context()
	key := bridge.SessionKey{UserID: "u", ClientID: "phone"}
	durable(t, s, key)
	again, other := testMessage("again"), testMessage("other")
	keep := func(c bridge.Changes) {
		t.Helper()
		if err := s.Keep(ctx, &c); err != nil {
			t.Fatal(err)
		}
	}
	bring := func(m *bridge.Message, n uint64) bridge.Changes {
		return bridge.Changes{Messages: []*bridge.Message{m}, Deliveries: []bridge.Delivery{{Key: key, N: n, Message: m}}}
	}
	done := func(n uint64) bridge.Changes { return bridge.Changes{Done: []bridge.DeliveryKey{{Key: key, N: n}}} }
	begin := func(sql string, id chat.ID) pgx.Tx {
		t.Helper()
		tx, err := s.pool.Begin(ctx)
		if err == nil {
			_, err = tx.Exec(ctx, sql, [16]byte(id))
		}
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	commit := func(tx pgx.Tx) {
		t.Helper()
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	keep(bring(again, 1))
	keep(bring(other, 2))
	keep(done(1))
	keep(done(2))
	commit(begin(`DELETE FROM messages WHERE id = $1`, again.ID)) // another sweep was faster
	slow := begin(`SELECT FROM messages WHERE id = $1 FOR UPDATE`, other.ID)
	swept := make(chan error, 1)
	go func() {
		_, err := s.SweepMessages(ctx, testNow, 10)
		swept <- err
	}()
	waitBlocked(t, s) // it has looked for the first and waits for the second
	keep(bring(again, 3))
	keep(done(3)) // it is free again
	late := begin(addMessage, again.ID)
	if _, err := late.Exec(ctx, `INSERT INTO deliveries SELECT id, 4, $1, 1, 1, false FROM sessions`, [16]byte(again.ID)); err != nil {
		t.Fatal(err)
	}
	commit(slow)
	waitUntil(t, "the sweep, which ends or waits for the late one", func() bool {
		var waits bool
		err := s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))`,
			late.Conn().PgConn().PID()).Scan(&waits)
		return err == nil && waits || len(swept) > 0
	})
	commit(late)
	if err := <-swept; err != nil {
		t.Fatal(err)
	}
	got, err := s.Queued(ctx, []bridge.QueueRange{{Key: key, Limit: 9}})
	if err != nil || len(got[0]) != 1 || got[0][0].Message == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// addMessage is what addMessages does with a message that is known.
const addMessage = `UPDATE messages SET qos = qos WHERE id = $1`

// TestKeepFails: a call that breaks at its end has done nothing.
func TestKeepFails(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	key := bridge.SessionKey{UserID: "u", ClientID: "phone"}
	durable(t, s, key)
	good := deliverAll([]bridge.SessionKey{key}, 1, 1)
	bad := good
	bad.Wills = []bridge.Will{{Key: key}, {Key: bridge.SessionKey{UserID: "\x00"}}}
	err := s.Keep(t.Context(), &bad)
	if err == nil || errors.Is(err, bridge.ErrAgain) || errors.Is(err, bridge.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	count := func() (rows int) {
		t.Helper()
		err := s.pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM received)
			+ (SELECT count(*) FROM retained) + (SELECT count(*) FROM wills) + (SELECT count(*) FROM sent)`).Scan(&rows)
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	if n := count(); n != 0 {
		t.Errorf("%d rows of a call that failed", n)
	}
	if err := s.Keep(t.Context(), &good); err != nil {
		t.Error(err)
	}
	if n := count(); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
}

// TestDoneMeetsReleased: a delivery that is done goes, also where somebody
// else has just changed it.
func TestDoneMeetsReleased(t *testing.T) {
	t.Parallel()
	s := openStore(t, pgtest.URL(t), true)
	key := bridge.SessionKey{UserID: "u", ClientID: "phone"}
	durable(t, s, key)
	c := deliverAll([]bridge.SessionKey{key}, 1, 0)
	if err := s.Keep(t.Context(), &c); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		args := []any{[]string{key.UserID}, []string{key.ClientID}}
		if _, err := tx.Exec(t.Context(), lockSessions, args...); err != nil {
			return err
		}
		if _, err := tx.Exec(t.Context(), releaseDeliveries, append(args, []int64{1})...); err != nil {
			return err
		}
		go func() {
			done <- s.Keep(t.Context(), &bridge.Changes{Done: []bridge.DeliveryKey{{Key: key, N: 1}}})
		}()
		waitBlocked(t, s)
		return nil
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	got, err := s.Queued(t.Context(), []bridge.QueueRange{{Key: key, Limit: 9}})
	if err != nil || len(got[0]) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
