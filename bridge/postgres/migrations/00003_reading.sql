-- +goose Up

-- How many messages a log has, so that unread ones are a difference and not a
-- walk. A closed log takes no messages: the two of a direct conversation have
-- fallen out.
ALTER TABLE streams
    ADD COLUMN messages bigint  NOT NULL DEFAULT 0,
    ADD COLUMN closed   boolean NOT NULL DEFAULT false;

-- How many messages stand up to this entry, deleted ones and itself among
-- them.
ALTER TABLE entries ADD COLUMN nth bigint NOT NULL DEFAULT 0;

UPDATE entries SET nth = c.nth
FROM (SELECT stream, seq, count(*) FILTER (WHERE type = 1) OVER (PARTITION BY stream ORDER BY seq) AS nth FROM entries) c
WHERE entries.stream = c.stream AND entries.seq = c.seq;

UPDATE streams SET messages = coalesce((SELECT nth FROM entries WHERE stream = streams.id AND seq = streams.head), 0);

-- Counts the deleted messages above a place, and nothing else.
CREATE INDEX entries_deleted ON entries (stream, seq) WHERE deleted AND type = 1;

-- How far a member has read, and what its devices have got. Who joins has
-- read what was there. A message raises its sender's read: no index has these
-- columns, and room is left in each page, so that the update is HOT.
ALTER TABLE members
    ADD COLUMN read       bigint NOT NULL DEFAULT 0,
    ADD COLUMN delivered  bigint NOT NULL DEFAULT 0,
    ADD COLUMN receipt_at timestamptz;

ALTER TABLE members SET (fillfactor = 70);

UPDATE members SET receipt_at = joined_at,
    read = greatest(joined_seq, coalesce((SELECT max(seq) FROM entries
        WHERE entries.stream = members.stream AND sender_id = members.user_id AND type = 1), 0));
UPDATE members SET delivered = read;

ALTER TABLE members ALTER COLUMN receipt_at SET NOT NULL, ALTER COLUMN receipt_at SET DEFAULT now();

-- Messages whose mentions nobody was told of yet.
CREATE TABLE mentions_due (
    stream bigint NOT NULL REFERENCES streams ON DELETE CASCADE,
    seq    bigint NOT NULL,
    PRIMARY KEY (stream, seq)
);
