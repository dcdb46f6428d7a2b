-- +goose Up

-- How far webhooks have told of each conversation. One without a row is told
-- from its first entry. Only seq changes, which is not indexed: HOT updates.
CREATE TABLE webhook_cursors (
    stream bigint PRIMARY KEY REFERENCES streams ON DELETE CASCADE,
    seq    bigint NOT NULL
) WITH (fillfactor = 70);

-- Since when there are webhooks: one row, or none.
CREATE TABLE webhook_start (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    at  timestamptz NOT NULL
);
