-- +goose Up

-- The notifications that are unread, by stream. Reading one takes its row away.
CREATE TABLE unread_notices (
    stream   bigint NOT NULL REFERENCES streams ON DELETE CASCADE,
    seq      bigint NOT NULL,
    id       uuid NOT NULL,    -- of the entry
    collapse text COLLATE "C", -- null: none
    PRIMARY KEY (stream, seq)
);

-- Finds the one with a collapse key, and nothing else. For "stream + 0" see
-- entries_repeat.
CREATE UNIQUE INDEX unread_notices_collapse ON unread_notices (collapse, (stream + 0)) WHERE collapse IS NOT NULL;

-- What users have set about notifications, as JSON; text, because it is never
-- asked for parts.
CREATE TABLE preferences (
    user_id text COLLATE "C" PRIMARY KEY,
    body    text NOT NULL
);
