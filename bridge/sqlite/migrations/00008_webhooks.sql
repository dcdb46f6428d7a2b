-- +goose Up

-- How far webhooks have told of each conversation. One without a row is told
-- from its first entry.
CREATE TABLE webhook_cursors (
    stream INTEGER PRIMARY KEY REFERENCES streams (id) ON DELETE CASCADE,
    seq    INTEGER NOT NULL
);

-- Since when there are webhooks: one row, or none.
CREATE TABLE webhook_start (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    at  INTEGER NOT NULL
);
