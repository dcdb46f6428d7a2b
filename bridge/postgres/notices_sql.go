package postgres

const (
	// lockInboxes takes the locks in the order of the keys, as raising heads
	// does.
	lockInboxes = `SELECT key, id, head FROM streams WHERE key = ANY ($1::text[]) ORDER BY key FOR NO KEY UPDATE`

	selectPreferences = `
SELECT p.user_id, p.body
FROM unnest($1::text[]) AS u(user_id)
CROSS JOIN LATERAL (SELECT * FROM preferences WHERE user_id = u.user_id OFFSET 0) p`

	savePreferences = `
INSERT INTO preferences (user_id, body) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET body = excluded.body`

	// selectStanding finds what drafts repeat, and whether that is unread.
	selectStanding = `
SELECT r.n, u.seq IS NOT NULL, ` + entryColumns + `
FROM unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS r(stream, sender_id, client_id, n)
CROSS JOIN LATERAL (SELECT * FROM entries
	WHERE client_id = r.client_id AND stream + 0 = r.stream AND sender_id = r.sender_id OFFSET 0) e
LEFT JOIN LATERAL (SELECT seq FROM unread_notices WHERE stream = r.stream AND seq = e.seq OFFSET 0) u ON true`

	selectCollapsed = `
SELECT c.n, u.seq
FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS c(stream, collapse, n)
CROSS JOIN LATERAL (SELECT seq FROM unread_notices WHERE collapse = c.collapse AND stream + 0 = c.stream OFFSET 0) u`

	// Whoever creates one of the same streams waits here for the other's end.
	createInboxes = `
INSERT INTO streams (key, head, last_at)
SELECT i.key, i.head, $3 FROM unnest($1::text[], $2::bigint[]) AS i(key, head) ORDER BY i.key
ON CONFLICT (key) DO NOTHING RETURNING key, id`

	// The heads are one JSON object, for the reason given at raiseHeads.
	raiseInboxes = `UPDATE streams SET head = ($2::jsonb ->> key)::bigint, last_at = $3 WHERE key = ANY ($1::text[])`

	insertNotices = `
INSERT INTO entries (stream, seq, created_at, id, type, sender_id, client_id, extra)
SELECT n.stream, n.seq, $1, n.id, $2, n.sender_id, n.client_id, n.extra
FROM unnest($3::bigint[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::text[])
	AS n(stream, seq, id, sender_id, client_id, extra)`

	insertUnread = `
INSERT INTO unread_notices (stream, seq, id, collapse)
SELECT u.stream, u.seq, u.id, nullif(u.collapse, '')
FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::text[]) AS u(stream, seq, id, collapse)`

	dropUnread = `
DELETE FROM unread_notices WHERE ctid = ANY (ARRAY(
	SELECT u.place FROM unnest($1::bigint[], $2::bigint[]) AS d(stream, seq)
	CROSS JOIN LATERAL (SELECT ctid AS place FROM unread_notices WHERE stream = d.stream AND seq = d.seq OFFSET 0) u))`

	lockInbox      = `SELECT id, head FROM streams WHERE key = $1 FOR NO KEY UPDATE`
	dropUnreadUpTo = `DELETE FROM unread_notices WHERE stream = $1 AND seq <= $2`
	dropUnreadIDs  = `DELETE FROM unread_notices WHERE stream = $1 AND seq > 0 AND id = ANY ($2::uuid[]) RETURNING seq`

	countUnread = `
SELECT k.n, u.unread
FROM unnest($1::text[]) WITH ORDINALITY AS k(key, n)
CROSS JOIN LATERAL (SELECT id FROM streams WHERE key = k.key OFFSET 0) s
CROSS JOIN LATERAL (SELECT count(*) AS unread FROM unread_notices WHERE stream = s.id) u`

	selectUnreadIn = `
SELECT k.n, u.seq
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS k(key, low, high, n)
CROSS JOIN LATERAL (SELECT id FROM streams WHERE key = k.key OFFSET 0) s
CROSS JOIN LATERAL (SELECT seq FROM unread_notices WHERE stream = s.id AND seq BETWEEN k.low AND k.high OFFSET 0) u`

	selectUnread = `
SELECT ` + entryColumns + `
FROM (SELECT id FROM streams WHERE key = $1 OFFSET 0) s
CROSS JOIN LATERAL (SELECT seq FROM unread_notices WHERE stream = s.id AND seq < $2 ORDER BY seq DESC LIMIT $3) u
CROSS JOIN LATERAL (SELECT * FROM entries WHERE stream = s.id AND seq = u.seq OFFSET 0) e`

	// takeDue passes over what another one has taken and not committed yet.
	takeDue = `
DELETE FROM mentions_due WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM mentions_due WHERE stream > 0 ORDER BY stream, seq LIMIT $1 FOR UPDATE SKIP LOCKED))
RETURNING stream, seq`

	selectThese = `
SELECT t.stream, s.key, ` + entryColumns + `
FROM unnest($1::bigint[], $2::bigint[]) AS t(stream, seq)
CROSS JOIN LATERAL (SELECT key FROM streams WHERE id = t.stream OFFSET 0) s
CROSS JOIN LATERAL (SELECT * FROM entries WHERE stream = t.stream AND seq = t.seq OFFSET 0) e`

	selectReaders = `
SELECT r.n
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) WITH ORDINALITY AS r(stream, seq, user_id, n)
CROSS JOIN LATERAL (SELECT FROM members
	WHERE stream = r.stream AND user_id = r.user_id AND role > 0 AND joined_seq <= r.seq OFFSET 0) m`
)
