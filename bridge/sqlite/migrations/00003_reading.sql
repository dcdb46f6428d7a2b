-- +goose Up

-- How many messages a log has, so that unread ones are a difference and not a
-- walk. A closed log takes no messages: the two of a direct conversation have
-- fallen out.
ALTER TABLE streams ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN closed   INTEGER NOT NULL DEFAULT 0;

-- How many messages stand up to this entry, deleted ones and itself among
-- them.
ALTER TABLE entries ADD COLUMN nth INTEGER NOT NULL DEFAULT 0;

UPDATE entries SET nth = c.nth
FROM (SELECT stream, seq, count(*) FILTER (WHERE type = 1) OVER (PARTITION BY stream ORDER BY seq) AS nth FROM entries) c
WHERE entries.stream = c.stream AND entries.seq = c.seq;

UPDATE streams SET messages = coalesce((SELECT nth FROM entries WHERE stream = streams.id AND seq = streams.head), 0);

-- Counts the deleted messages above a place, and nothing else.
CREATE INDEX entries_deleted ON entries (stream, seq) WHERE deleted = 1 AND type = 1;

-- How far a member has read, and what its devices have got. Who joins has
-- read what was there.
ALTER TABLE members ADD COLUMN read       INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN delivered  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE members ADD COLUMN receipt_at INTEGER NOT NULL DEFAULT 0;

UPDATE members SET receipt_at = joined_at,
    read = max(joined_seq, coalesce((SELECT max(seq) FROM entries
        WHERE entries.stream = members.stream AND sender_id = members.user_id AND type = 1), 0));
UPDATE members SET delivered = read;

-- Messages whose mentions nobody was told of yet.
CREATE TABLE mentions_due (
    stream INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;
