-- +goose Up

-- How long the entries of a stream are kept, where its owner has said so:
-- seconds, and how many of the newest; 0 is no bound, null that nothing was
-- said. They hardly ever change, so appending to a stream stays HOT.
ALTER TABLE streams
    ADD COLUMN keep_age   bigint,
    ADD COLUMN keep_count bigint;

CREATE INDEX streams_kept ON streams (key) WHERE keep_age IS NOT NULL;

-- Who published a message, so that it can be found when the user is forgotten;
-- empty: not known. wills has it.
ALTER TABLE messages ADD COLUMN user_id text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE retained ADD COLUMN user_id text COLLATE "C" NOT NULL DEFAULT '';

CREATE INDEX retained_user ON retained (user_id);

-- Finds the notifications that somebody sent, and nothing else. What is erased
-- is not found again.
CREATE INDEX entries_notifier ON entries (sender_id, stream, seq) WHERE type = 8 AND NOT deleted;

-- Users that are being forgotten, and what of them is erased so far.
CREATE TABLE erasures (
    user_id       text COLLATE "C" PRIMARY KEY,
    began         timestamptz NOT NULL,
    messages      bigint NOT NULL DEFAULT 0,
    edits         bigint NOT NULL DEFAULT 0,
    reactions     bigint NOT NULL DEFAULT 0,
    notifications bigint NOT NULL DEFAULT 0,
    retained      bigint NOT NULL DEFAULT 0,
    sessions      bigint NOT NULL DEFAULT 0,
    conversations bigint NOT NULL DEFAULT 0
);
