package postgres

import "strings"

// The first statement takes the locks of all streams of a batch, in the order of their
// keys, and raises each head by the drafts for it. The names go in with the
// counts as one JSON object: a join with an unnested array could be planned
// the wrong way round, through all streams.
//
// last_at is right when a draft of the stream is appended; else the next
// statement sets it back. raisePlain is for drafts that are messages all,
// raiseAny has the counts of messages in a parameter of their own.
const (
	raisePlain = `
UPDATE streams SET head = head + ($2::jsonb -> key)::int, messages = messages + ($2::jsonb -> key)::int, last_at = $3
WHERE key = ANY ($1::text[])
RETURNING key, head`
	raiseAny = `
UPDATE streams SET head = head + ($2::jsonb -> key)::int, messages = messages + ($4::jsonb -> key)::int, last_at = $3
WHERE key = ANY ($1::text[])
RETURNING key, head`
)

// appendPlain appends drafts that are nothing but text, as most are;
// appendAny appends all kinds. Both answer a row for each draft that is not
// appended.
//
// The parameters are: the streams; the time; then by draft: the place of the
// stream in the first array, how many drafts for the stream follow, the id,
// sender, clientId, content and its words; and for appendAny how many drafts
// for the stream came before, how many messages follow, the type, target,
// replyTo and the rarer fields.
//
//   - s has the streams in the order of the parameter. A stream counts only
//     when the row is of this transaction, that is, when the first statement
//     has raised it. One that was created since is not there yet.
//   - c has what becomes of each draft. seq and nth are those it gets if no
//     draft before it is refused. The checks stand in the order of the
//     contract.
//   - x has those that are not appended. It is empty nearly always, and what
//     depends on it then costs nothing.
//   - Who sends has read. Its row of members is there, or the draft would have
//     been refused: ON CONFLICT always finds it, by the primary key, whatever
//     the planner thinks of the table. Rows are locked in one order by all.
//   - The entries that a delete erases, and the message that an edit gives its
//     words to, are found by their place in the table. It cannot change
//     meanwhile: who does either holds the stream's lock.
var (
	appendPlain = appendSQL(map[string]string{
		"{types}":   "$3::int[], $4::int[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::tsvector[]",
		"{names}":   "slot, behind, id, sender, client, content, words",
		"{behind}":  "d.behind",
		"{checks}":  "",
		"{closed}":  "",
		"{message}": "true",
		"{lookups}": "",
		"{place}":   "",
		"{columns}": "",
		"{values}":  "",
		"{type}":    "1",
		"{words}":   "words",
		"{read}":    "",
		"{others}":  "",
	})
	appendAny = appendSQL(map[string]string{
		"{types}": `$3::int[], $4::int[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::tsvector[],
		$10::int[], $11::int[], $12::smallint[], $13::bigint[], $14::bigint[], $15::text[]`,
		"{names}":   "slot, behind, id, sender, client, content, words, ahead, messages_behind, type, target, reply, extra",
		"{behind}":  "d.messages_behind",
		"{closed}":  " AND d.type <> 3", // what one has said may be taken back
		"{message}": "type = 1",
		"{checks}": `
		WHEN d.target IS NOT NULL AND t.type IS NULL AND d.ahead > 0
			AND d.target BETWEEN (SELECT heads FROM s)[d.slot] - d.behind - d.ahead AND (SELECT heads FROM s)[d.slot] - d.behind - 1 THEN 7
		WHEN d.target IS NOT NULL AND (t.type IS DISTINCT FROM 1 OR t.deleted) THEN 4
		WHEN d.reply IS NOT NULL AND p.type IS NULL AND d.ahead > 0
			AND d.reply BETWEEN (SELECT heads FROM s)[d.slot] - d.behind - d.ahead AND (SELECT heads FROM s)[d.slot] - d.behind - 1 THEN 7
		WHEN d.reply IS NOT NULL AND p.type IS DISTINCT FROM 1 THEN 5
		WHEN d.type IN (2, 3) AND t.sender_id <> d.sender AND coalesce(m.role, 0) < 2 THEN 6`,
		"{lookups}": `
	LEFT JOIN LATERAL (SELECT ctid AS place, type, deleted, sender_id FROM entries
		WHERE stream = (SELECT ids FROM s)[d.slot] AND seq = d.target OFFSET 0) t ON true
	LEFT JOIN LATERAL (SELECT type FROM entries
		WHERE stream = (SELECT ids FROM s)[d.slot] AND seq = d.reply OFFSET 0) p ON true`,
		"{place}":   ", t.place",
		"{columns}": ", target, extra",
		"{values}":  ", target, extra",
		"{type}":    "type",
		"{words}":   "CASE type WHEN 1 THEN words END",
		"{read}":    " WHERE type = 1",
		"{others}": `, due AS (
	INSERT INTO mentions_due (stream, seq) SELECT stream, seq FROM appended WHERE extra LIKE '%"mentions":%'
), erased AS (
	UPDATE entries SET content = NULL, extra = NULL, deleted = true WHERE ctid = ANY (ARRAY(
		SELECT place FROM c WHERE type = 3 AND verdict = 0
		UNION ALL
		SELECT e.place FROM c CROSS JOIN LATERAL (SELECT ctid AS place FROM entries
			WHERE target = c.target AND stream + 0 = c.stream AND type = 2 OFFSET 0) e
		WHERE c.type = 3 AND c.verdict = 0))
), edited AS (
	UPDATE entries SET words = c.words FROM c WHERE entries.ctid = c.place AND c.type = 2 AND c.verdict = 0
)`,
	})
)

func appendSQL(parts map[string]string) string {
	var pairs []string
	for name, text := range parts {
		pairs = append(pairs, name, text)
	}
	return strings.NewReplacer(pairs...).Replace(`
WITH s AS MATERIALIZED (
	SELECT array_agg(id) AS ids, array_agg(head) AS heads, array_agg(messages) AS messages, array_agg(closed) AS closed
	FROM (
		SELECT coalesce(l.id, 0) AS id, coalesce(l.head, 0) AS head, l.messages, l.closed
		FROM unnest($1::text[]) WITH ORDINALITY AS k(key, i)
		LEFT JOIN LATERAL (SELECT id, head, messages, closed FROM streams
			WHERE key = k.key AND xmin = pg_current_xact_id()::xid OFFSET 0) l ON true
		ORDER BY k.i
	) o
), c AS MATERIALIZED (
	SELECT d.*, (SELECT ids FROM s)[d.slot] AS stream, (SELECT heads FROM s)[d.slot] - d.behind AS seq,
		(SELECT messages FROM s)[d.slot] - {behind} AS nth,
		r.seq AS first_seq, r.id AS first_id, r.created_at AS first_at{place},
		CASE
		WHEN (SELECT ids FROM s)[d.slot] = 0 THEN 2
		WHEN m.role IS NULL AND r.id IS DISTINCT FROM d.id THEN 3
		WHEN r.seq IS NOT NULL THEN 1
		WHEN (SELECT closed FROM s)[d.slot]{closed} THEN 8{checks}
		ELSE 0 END AS verdict
	FROM unnest({types}) WITH ORDINALITY AS d({names}, n)
	LEFT JOIN LATERAL (SELECT role FROM members
		WHERE stream = (SELECT ids FROM s)[d.slot] AND user_id = d.sender AND role > 0 OFFSET 0) m ON true
	LEFT JOIN LATERAL (SELECT seq, id, created_at FROM entries
		WHERE client_id = d.client AND stream + 0 = (SELECT ids FROM s)[d.slot] AND sender_id = d.sender OFFSET 0) r ON true{lookups}
), x AS MATERIALIZED (
	SELECT n, slot, stream, verdict, first_seq, first_id, first_at, {message} AS message FROM c WHERE verdict <> 0
), appended AS (
	INSERT INTO entries (stream, seq, nth, created_at, id, type, sender_id, client_id, content, words{columns})
	SELECT stream, CASE WHEN EXISTS (SELECT FROM x)
			THEN seq - (SELECT count(*) FROM x WHERE x.slot = c.slot AND x.n < c.n) ELSE seq END,
		CASE WHEN EXISTS (SELECT FROM x)
			THEN nth - (SELECT count(*) FROM x WHERE x.slot = c.slot AND x.n < c.n AND x.message) ELSE nth END,
		$2::timestamptz, id, {type}, sender, client, content, {words}{values}
	FROM c WHERE verdict = 0
	RETURNING stream, seq, type, sender_id, extra
), moved AS (
	INSERT INTO members (stream, user_id, role, joined_at, joined_seq, read, delivered, receipt_at)
	SELECT stream, sender_id, 1, $2, 0, seq, seq, $2
	FROM (SELECT stream, sender_id, max(seq) AS seq FROM appended{read} GROUP BY stream, sender_id) a
	ORDER BY stream, sender_id
	ON CONFLICT (stream, user_id) DO UPDATE SET read = excluded.read, receipt_at = excluded.receipt_at,
		delivered = greatest(members.delivered, excluded.delivered)
	WHERE members.read < excluded.read
), lowered AS (
	UPDATE streams SET head = head - (SELECT count(*) FROM x WHERE x.stream = streams.id),
		messages = messages - (SELECT count(*) FROM x WHERE x.stream = streams.id AND x.message),
		last_at = coalesce((SELECT created_at FROM entries WHERE entries.stream = streams.id
			AND entries.seq = streams.head - (SELECT count(*) FROM x WHERE x.stream = streams.id)), last_at)
	WHERE id = ANY (ARRAY(SELECT stream FROM x))
){others}
SELECT n, verdict, first_seq, first_id, first_at FROM x`)
}
