package postgres

import (
	"context"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/parley-mqtt/parley/internal/testkit/pgtest"
)

// statements are those whose cost must not grow with the tables.
var statements = map[string]string{
	"raisePlain":          raisePlain,
	"raiseAny":            raiseAny,
	"moveReceipts":        moveReceipts,
	"selectReceipts":      selectReceipts,
	"selectStandings":     selectStandings,
	"appendPlain":         appendPlain,
	"appendAny":           appendAny,
	"readRanges":          readRanges,
	"readBefore":          readBefore,
	"readHeads":           readHeads,
	"selectConversation":  selectConversation,
	"selectConversations": selectConversations,
	"peekStream":          peekStream,
	"lockStream":          lockStream,
	"selectRoles":         selectRoles,
	"raiseHead":           raiseHead,
	"deleteEntries":       deleteEntries,
	"leaveMember":         leaveMember,
	"selectMemberships":   selectMemberships,
	"selectMembershipsIn": selectMembershipsIn,
	"selectSessions":      selectSessions,
	"saveCursors":         saveCursors,
	"markSessions":        markSessions,
	"dropCursors":         dropCursors,
	"sweepSessions":       sweepSessions,
	"selectOldest":        selectOldest,
	"selectOldestOwn":     selectOldestOwn,
	"lockHeld":            lockHeld,
	"findKept":            findKept,
	"trimEntries":         trimEntries,
	"raiseFirst":          raiseFirst,
	"setRetention":        setRetention,
	"peekHead":            peekHead,
	"selectSaid":          selectSaid,
	"selectSessionKeys":   selectSessionKeys,
	"findSaid":            findSaid,
	"eraseSaid":           eraseSaid,
	"selectExtra":         selectExtra,
	"setExtra":            setExtra,
	"eraseRetained":       eraseRetained,
	"selectMessageIDs":    selectMessageIDs,
	"emptyMessages":       emptyMessages,
	"eraseMemberships":    eraseMemberships,
	"erasePerson":         erasePerson,
	"erasePreferences":    erasePreferences,
	"eraseUnread":         eraseUnread,
	"eraseInbox":          eraseInbox,
	"selectSentBy":        selectSentBy,
	"eraseSent":           eraseSent,
	"eraseCollapse":       eraseCollapse,
	"eraseBlocks":         eraseBlocks,
	"eraseBlockedBy":      eraseBlockedBy,

	"putRevocation": putRevocation, "selectRevocations": selectRevocations, "sweepRevocations": sweepRevocations,
	"selectSessionsOf": selectSessionsOf, "selectOwnPlaces": selectOwnPlaces,
	"readPieces": readPieces, "selectMoves": selectMoves, "selectCreated": selectCreated,

	"selectRosters": selectRosters, "selectPeople": selectPeople, "selectAcquainted": selectAcquainted,
	"selectSearched": selectSearched, "selectSearchedOne": selectSearchedOne, "selectTimes": selectTimes, "selectEdits": selectEdits,

	"selectHeir": selectHeir, "selectFull": selectFull, "setRole": setRole, "setOwner": setOwner, "resize": resize,
	"setHistory": setHistory, "setArchived": setArchived, "selectMembers": selectMembers,
	"selectDirect": selectDirect, "closeDirect": closeDirect, "selectBlocked": selectBlocked, "countBlocks": countBlocks,
	"deleteBlock": deleteBlock, "selectBlockList": selectBlockList, "selectBlocks": selectBlocks,
	"foldedForward": foldedForward, "foldedBack": foldedBack, "selectVersions": selectVersions,
	"lockInboxes": lockInboxes, "selectPreferences": selectPreferences, "selectStanding": selectStanding,
	"selectCollapsed": selectCollapsed, "raiseInboxes": raiseInboxes, "dropUnread": dropUnread, "lockInbox": lockInbox,
	"dropUnreadUpTo": dropUnreadUpTo, "dropUnreadIDs": dropUnreadIDs, "countUnread": countUnread,
	"selectUnreadIn": selectUnreadIn, "selectUnread": selectUnread, "takeDue": takeDue, "selectThese": selectThese,
	"selectReaders": selectReaders, "createInboxes": createInboxes, "insertNotices": insertNotices, "insertUnread": insertUnread,

	"lockSessions": lockSessions, "addMessages": addMessages, "addDeliveries": addDeliveries,
	"releaseDeliveries": releaseDeliveries, "removeDeliveries": removeDeliveries,
	"putRetained": putRetained, "removeRetained": removeRetained, "addReceived": addReceived, "removeReceived": removeReceived,
	"putWills": putWills, "removeWills": removeWills, "markSent": markSent,
	"selectQueued": selectQueued, "selectQueues": selectQueues, "selectWills": selectWills,
	"selectRetainedFrom": selectRetainedFrom, "selectRetainedBetween": selectRetainedBetween, "selectRetainedOn": selectRetainedOn, "selectRetainedBy": selectRetainedBy,
	"selectBehind": selectBehind, "selectPlaces": selectPlaces, "savePlaces": savePlaces,
	"sweepRetained": sweepRetained, "takeLoose": takeLoose, "lockMessages": lockMessages, "removeMessages": removeMessages,
}

// TestPlans: every table is reached by an index and a condition on it, in a
// new database, in one that was analyzed while it was tiny, and in one with
// many rows. A plan may live as long as its connection, so those made for a
// few rows count most.
func TestPlans(t *testing.T) {
	s := openStore(t, pgtest.URL(t), true)
	check := func(when string) {
		t.Run(when, func(t *testing.T) {
			for name, sql := range statements {
				t.Run(name, func(t *testing.T) { checkPlan(t, explain(t, s, sql)) })
			}
		})
	}
	check("new")
	run(t, s, `INSERT INTO streams (key, head, last_at) VALUES ('c/one', 3, now())`)
	run(t, s, `INSERT INTO members (stream, user_id, role, joined_at, joined_seq) VALUES (1, 'u', 1, now(), 1)`)
	run(t, s, `INSERT INTO conversations (stream, name, owner_id, created_at) VALUES (1, '', 'u', now())`)
	run(t, s, `INSERT INTO entries (stream, seq, created_at, id, type, sender_id) VALUES (1, 1, now(), gen_random_uuid(), 1, 'u')`)
	run(t, s, `INSERT INTO sessions (user_id, client_id, expiry, subscriptions) VALUES ('u', 'c', 0, '[]')`)
	run(t, s, `INSERT INTO cursors VALUES (1, 1, 1)`)
	run(t, s, `INSERT INTO messages VALUES (gen_random_uuid(), now(), NULL, 1, 'a', 'x', '')`)
	run(t, s, `INSERT INTO deliveries SELECT 1, 1, id, 1, 1, false FROM messages`)
	run(t, s, `INSERT INTO loose (message) SELECT id FROM messages`)
	run(t, s, `INSERT INTO retained VALUES ('a', gen_random_uuid(), now(), now(), 1, 1, 'x', '')`)
	run(t, s, `INSERT INTO wills VALUES ('u', 'c', gen_random_uuid(), NULL, 0, NULL, 1, false, 'a', 'x', '')`)
	run(t, s, `INSERT INTO received VALUES (1, 1, '')`)
	run(t, s, `INSERT INTO sent VALUES (1, 1)`)
	run(t, s, `INSERT INTO people VALUES ('u', now(), true)`)
	run(t, s, `INSERT INTO revocations (kind, value, at, until) VALUES (1, 'a', now(), now())`)
	run(t, s, `INSERT INTO webhook_cursors VALUES (1, 1)`)
	run(t, s, `INSERT INTO blocks VALUES ('u', 'v', now())`)
	run(t, s, `INSERT INTO unread_notices VALUES (1, 1, gen_random_uuid(), 'k')`)
	run(t, s, `INSERT INTO preferences VALUES ('u', '{}')`)
	run(t, s, `INSERT INTO mentions_due VALUES (1, 1)`)
	run(t, s, `ANALYZE`)
	check("tiny")
	run(t, s, `INSERT INTO streams (key, last_at) SELECT 'c/' || g, now() FROM generate_series(1, 2000) g`)
	run(t, s, `INSERT INTO members SELECT s.id, 'u' || g, 1, now(), 1 FROM streams s, generate_series(1, 5) g`)
	run(t, s, `INSERT INTO entries (stream, seq, created_at, target, id, type, sender_id, client_id)
		SELECT s.id, g, now(), CASE WHEN g % 4 = 0 THEN g - 1 END, gen_random_uuid(), 1 + g % 4 / 3, 'u1', s.id || '-' || g
		FROM streams s, generate_series(2, 51) g`)
	run(t, s, `INSERT INTO sessions (user_id, client_id, expiry, subscriptions, ordinary, queue)
		SELECT 'u' || g % 100, 'c' || g, 0, '[]', g % 2 = 0, g % 2 = 0 FROM generate_series(1, 2000) g`)
	run(t, s, `INSERT INTO messages SELECT gen_random_uuid(), now(), NULL, 1, 'a', 'x', '' FROM generate_series(1, 10000)`)
	run(t, s, `INSERT INTO deliveries SELECT 1 + g % 2000, 10 + g, m.id, 1, 1, false
		FROM (SELECT id, row_number() OVER () AS g FROM messages) m`)
	run(t, s, `INSERT INTO loose (message) SELECT id FROM messages LIMIT 5000`)
	run(t, s, `INSERT INTO retained SELECT ('t' || g)::bytea, gen_random_uuid(), now(), CASE WHEN g % 4 = 0 THEN now() END, 1, 1, 'x', ''
		FROM generate_series(1, 20000) g`)
	run(t, s, `INSERT INTO wills SELECT 'u' || g % 100, 'd' || g, gen_random_uuid(), NULL, 0, NULL, 1, false, 'a', 'x', '' FROM generate_series(1, 2000) g`)
	run(t, s, `INSERT INTO received SELECT 1 + g % 2000, g, '' FROM generate_series(2, 10000) g`)
	run(t, s, `INSERT INTO sent SELECT g, 1 FROM generate_series(2, 2000) g`)
	run(t, s, `INSERT INTO revocations (kind, value, at, until)
		SELECT 1, ('t' || g)::bytea, now(), CASE WHEN g % 2 = 0 THEN now() END FROM generate_series(1, 10000) g`)
	run(t, s, `INSERT INTO people SELECT 'u' || g, now(), g % 10 = 0 FROM generate_series(1, 20000) g`)
	run(t, s, `INSERT INTO webhook_cursors SELECT id, 0 FROM streams WHERE id > 1 AND id % 3 = 0`)
	run(t, s, `INSERT INTO conversations (stream, name, owner_id, created_at, pair)
		SELECT id, '', '', now(), CASE WHEN id % 2 = 0 THEN 'u/' || id END FROM streams WHERE id > 1`)
	run(t, s, `INSERT INTO members SELECT 1, 'm' || g, 1, now(), 10 + g FROM generate_series(1, 10000) g`)
	run(t, s, `INSERT INTO blocks SELECT 'u' || g % 50, 'b' || g, now() FROM generate_series(1, 5000) g`)
	run(t, s, `INSERT INTO unread_notices SELECT s.id, g, gen_random_uuid(), CASE WHEN g % 2 = 0 THEN 'k' || g END
		FROM streams s, generate_series(2, 11) g`)
	run(t, s, `INSERT INTO preferences SELECT 'u' || g, '{}' FROM generate_series(1, 2000) g`)
	run(t, s, `INSERT INTO mentions_due SELECT id, 2 FROM streams`)
	check("many, not analyzed")
	run(t, s, `ANALYZE`)
	check("many")
}

func run(t testing.TB, s *Store, sql string) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// explain answers the plan that a connection of the pool would keep.
func explain(t *testing.T, s *Store, sql string) (plan []string) {
	t.Helper()
	ctx := t.Context()
	err := s.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		conn := c.Conn()
		if _, err := conn.Exec(ctx, "PREPARE explained AS "+sql); err != nil {
			return err
		}
		defer func() { _, _ = conn.Exec(context.Background(), "DEALLOCATE explained") }()
		var n int
		if err := conn.QueryRow(ctx, `SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'explained'`).Scan(&n); err != nil {
			return err
		}
		call := "explained"
		if n > 0 {
			call += "(NULL" + strings.Repeat(", NULL", n-1) + ")"
		}
		rows, err := conn.Query(ctx, "EXPLAIN EXECUTE "+call, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return err
		}
		plan, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// leading is the column that the condition on an index must have.
var leading = map[string]string{
	"streams_pkey": "id", "streams_key_key": "key", "streams_kept": "key", "conversations_pkey": "stream",
	"members_pkey": "stream", "members_user": "user_id", "members_joined": "stream",
	"conversations_pair": "pair", "blocks_pkey": "user_id", "blocks_blocked": "blocked",
	"entries_pkey": "stream", "entries_deleted": "stream", "entries_repeat": "client_id", "entries_target": "target",
	"sessions_pkey": "id", "sessions_user_id_client_id_key": "user_id", "sessions_expired": "expires_at",
	"cursors_pkey": "session", "cursors_stream": "stream",
	"sessions_queue": "user_id", "messages_pkey": "id", "deliveries_pkey": "session", "deliveries_message": "message", "loose_pkey": "id",
	"sent_pkey": "session", "received_pkey": "session", "retained_pkey": "topic", "retained_expires": "expires", "retained_user": "user_id", "entries_notifier": "sender_id", "wills_pkey": "user_id", "people_pkey": "user_id",
	"revocations_pkey": "n", "revocations_until": "until", "revocations_kind_value_key": "kind", "entries_moves": "stream",
	"webhook_cursors_pkey": "stream",
	"unread_notices_pkey":  "stream", "unread_notices_collapse": "collapse", "preferences_pkey": "user_id", "mentions_due_pkey": "stream",
}

var (
	indexScan = regexp.MustCompile(`Index (?:Only )?Scan (?:Backward )?using (\w+) on `)
	keyFilter = regexp.MustCompile(`\b(stream|seq|user_id|client_id|sender_id|session|target|key|id|n|message|topic|packet_id)\b = `)
)

func checkPlan(t *testing.T, plan []string) {
	t.Helper()
	node := ""
	for i, line := range plan {
		if strings.Contains(line, "(cost=") {
			node = line
		}
		switch index := indexScan.FindStringSubmatch(line); {
		case strings.Contains(line, "Seq Scan"), strings.Contains(line, "Bitmap"), strings.Contains(line, "Hash Join"), strings.Contains(line, "Merge Join"):
			t.Errorf("%s", line)
		case index != nil:
			column := leading[index[1]]
			if i+1 == len(plan) || column == "" || !regexp.MustCompile(`Index Cond: \(+(?:ROW\()?`+column+`(, \w+\))? (=|<=|>=|>) `).MatchString(plan[i+1]) {
				t.Errorf("no condition on the leading column: %s", line)
			}
		case strings.Contains(node, "cursors_pkey"): // all of one session's, which are few
		case strings.Contains(node, "unread_notices_pkey"): // all of one user's
		case strings.Contains(line, "Filter:") && strings.Contains(node, "Index") && keyFilter.MatchString(line):
			t.Errorf("a filter does what the index should: %s", line)
		}
	}
	if t.Failed() {
		t.Logf("%s", strings.Join(plan, "\n"))
	}
}
