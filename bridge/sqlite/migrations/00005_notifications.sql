-- +goose Up

-- The notifications that are unread, by stream. Reading one takes its row away.
CREATE TABLE unread_notices (
    stream   INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    seq      INTEGER NOT NULL,
    id       BLOB    NOT NULL, -- of the entry
    collapse TEXT    NOT NULL, -- empty: none
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;

CREATE UNIQUE INDEX unread_notices_collapse ON unread_notices (stream, collapse) WHERE collapse <> '';

-- What users have set about notifications, as JSON.
CREATE TABLE preferences (
    user_id TEXT PRIMARY KEY NOT NULL,
    body    TEXT NOT NULL
) WITHOUT ROWID;
