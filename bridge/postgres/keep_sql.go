package postgres

// The statements of Keep. Those that are needed travel together and are one
// transaction. Rows of sessions are guarded by the sessions' locks, which are
// taken in one order; the other rows come in the order of their keys. So two
// nodes that change the same wait for each other and do not deadlock.
const (
	// lockSessions comes first, in the order in which markSessions locks. Who
	// changes or deletes one of the sessions is waited for, or waits until
	// all is done: so the statements that follow find rows by their place,
	// and the place is right.
	lockSessions = `
SELECT FROM sessions WHERE id = ANY (ARRAY(
	SELECT s.id FROM unnest($1::text[], $2::text[]) AS k(user_id, client_id)
	CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s))
ORDER BY id FOR NO KEY UPDATE`

	// A message that is known is written over with what it is: that locks it
	// against a sweep.
	addMessages = `
INSERT INTO messages (id, published, expires, qos, topic, payload, props, user_id)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::smallint[], $5::bytea[], $6::bytea[], $7::bytea[], $8::text[])
ON CONFLICT (id) DO UPDATE SET qos = messages.qos`

	// A message whose session does not stand may have no delivery at all.
	addDeliveries = `
WITH d AS MATERIALIZED (
	SELECT s.id AS session, s.queue, k.n, k.message, k.size, k.qos, k.retain, k.sub_ids, k.share
	FROM unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::int[], $6::smallint[], $7::bool[], $8::bytea[], $9::bytea[])
		AS k(user_id, client_id, n, message, size, qos, retain, sub_ids, share)
	LEFT JOIN LATERAL (SELECT id, queue FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s ON true
), added AS (
	INSERT INTO deliveries (session, n, message, size, qos, retain, sub_ids, share)
	SELECT session, n, message, size, qos, retain, sub_ids, share FROM d WHERE session IS NOT NULL
	ON CONFLICT DO NOTHING
), marked AS (
	UPDATE sessions SET queue = true WHERE id = ANY (ARRAY(SELECT session FROM d WHERE NOT queue))
)
INSERT INTO loose (message) SELECT DISTINCT message FROM d WHERE session IS NULL AND message IS NOT NULL`

	// theDeliveries are found by their places in the table.
	theDeliveries = `ctid = ANY (ARRAY(
	SELECT d.place FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k(user_id, client_id, n)
	CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s
	CROSS JOIN LATERAL (SELECT ctid AS place FROM deliveries WHERE session = s.id AND n = k.n OFFSET 0) d))`

	releaseDeliveries = `UPDATE deliveries SET message = NULL WHERE ` + theDeliveries
	removeDeliveries  = `DELETE FROM deliveries WHERE ` + theDeliveries

	// Messages with an empty payload are written too, and then removed: so
	// all topics are locked in one order.
	putRetained = `
INSERT INTO retained (id, published, expires, qos, topic, payload, props, user_id, size)
SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[], $4::smallint[], $5::bytea[], $6::bytea[], $7::bytea[], $8::text[], $9::int[])
ON CONFLICT (topic) DO UPDATE SET id = excluded.id, published = excluded.published, expires = excluded.expires,
	qos = excluded.qos, payload = excluded.payload, props = excluded.props, user_id = excluded.user_id, size = excluded.size`
	removeRetained = `DELETE FROM retained WHERE topic = ANY ($1::bytea[])`

	addReceived = `
INSERT INTO received (session, packet_id, client_id)
SELECT s.id, k.packet_id, k.draft FROM unnest($1::text[], $2::text[], $3::int[], $4::bytea[]) AS k(user_id, client_id, packet_id, draft)
CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s
ON CONFLICT (session, packet_id) DO UPDATE SET client_id = excluded.client_id`
	removeReceived = `
DELETE FROM received WHERE ctid = ANY (ARRAY(
	SELECT r.place FROM unnest($1::text[], $2::text[], $3::int[]) AS k(user_id, client_id, packet_id)
	CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s
	CROSS JOIN LATERAL (SELECT ctid AS place FROM received WHERE session = s.id AND packet_id = k.packet_id OFFSET 0) r))`

	putWills = `
INSERT INTO wills (user_id, client_id, id, qos, topic, payload, props, retain, expiry, delay, due)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::smallint[], $5::bytea[], $6::bytea[], $7::bytea[],
	$8::bool[], $9::bigint[], $10::bigint[], $11::timestamptz[])
ON CONFLICT (user_id, client_id) DO UPDATE SET id = excluded.id, qos = excluded.qos, topic = excluded.topic,
	payload = excluded.payload, props = excluded.props, retain = excluded.retain, expiry = excluded.expiry,
	delay = excluded.delay, due = excluded.due`
	removeWills = `
DELETE FROM wills WHERE ctid = ANY (ARRAY(
	SELECT w.place FROM unnest($1::text[], $2::text[]) AS k(user_id, client_id)
	CROSS JOIN LATERAL (SELECT ctid AS place FROM wills WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) w))`

	markSent = `
INSERT INTO sent (session, n)
SELECT s.id, k.n FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k(user_id, client_id, n)
CROSS JOIN LATERAL (SELECT id FROM sessions WHERE user_id = k.user_id AND client_id = k.client_id OFFSET 0) s
ON CONFLICT (session) DO UPDATE SET n = excluded.n`
)
