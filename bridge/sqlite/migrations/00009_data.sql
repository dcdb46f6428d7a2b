-- +goose Up

-- How long the entries of a stream are kept, where its owner has said so:
-- seconds, and how many of the newest; 0 is no bound, null that nothing was
-- said.
ALTER TABLE streams ADD COLUMN keep_age INTEGER;
ALTER TABLE streams ADD COLUMN keep_count INTEGER;

CREATE INDEX streams_kept ON streams (key) WHERE keep_age IS NOT NULL;

-- Who published a message, so that it can be found when the user is forgotten;
-- empty: not known. wills has it.
ALTER TABLE messages ADD COLUMN user_id TEXT NOT NULL DEFAULT '';
ALTER TABLE retained ADD COLUMN user_id TEXT NOT NULL DEFAULT '';

CREATE INDEX retained_user ON retained (user_id);

-- Finds the notifications that somebody sent, and nothing else. What is erased
-- is not found again.
CREATE INDEX entries_notifier ON entries (sender_id, stream, seq) WHERE type = 8 AND deleted = 0;

-- Users that are being forgotten, and what of them is erased so far.
CREATE TABLE erasures (
    user_id       TEXT    PRIMARY KEY NOT NULL,
    began         INTEGER NOT NULL,
    messages      INTEGER NOT NULL DEFAULT 0,
    edits         INTEGER NOT NULL DEFAULT 0,
    reactions     INTEGER NOT NULL DEFAULT 0,
    notifications INTEGER NOT NULL DEFAULT 0,
    retained      INTEGER NOT NULL DEFAULT 0,
    sessions      INTEGER NOT NULL DEFAULT 0,
    conversations INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
