-- +goose Up

-- Times are milliseconds since 1970, ids of entries are 16 bytes. Empty
-- strings and zeros stand for what is not there, so that no column of an
-- entry needs a null.

-- key is 'c/<conversation>' or 'n/<user>'.
CREATE TABLE streams (
    id      INTEGER PRIMARY KEY,
    key     TEXT    NOT NULL UNIQUE,
    head    INTEGER NOT NULL,
    first   INTEGER NOT NULL DEFAULT 1,
    last_at INTEGER NOT NULL
);

CREATE TABLE conversations (
    stream     INTEGER PRIMARY KEY REFERENCES streams (id),
    name       TEXT    NOT NULL,
    owner_id   TEXT    NOT NULL,
    created_at INTEGER NOT NULL
);

-- Whoever left keeps a row, with role 0 and the seq of the leave entry.
CREATE TABLE members (
    stream     INTEGER NOT NULL REFERENCES streams (id),
    user_id    TEXT    NOT NULL,
    role       INTEGER NOT NULL,
    joined_at  INTEGER NOT NULL,
    joined_seq INTEGER NOT NULL,
    left_seq   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, user_id)
) WITHOUT ROWID;

CREATE INDEX members_user ON members (user_id);

-- Entries of one stream lie side by side: reading history is one walk. A
-- foreign key would cost each insert a look-up of the stream, which Commit
-- has just read.
CREATE TABLE entries (
    stream     INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    type       INTEGER NOT NULL,
    sender_id  TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    target     INTEGER NOT NULL,
    content    TEXT    NOT NULL,
    extra      TEXT    NOT NULL,
    deleted    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;

-- Joins, leaves and renames have no clientId and cannot be repeated.
CREATE UNIQUE INDEX entries_client ON entries (stream, sender_id, client_id) WHERE client_id <> '';

CREATE INDEX entries_target ON entries (stream, target) WHERE target <> 0;

CREATE TABLE sessions (
    id            INTEGER PRIMARY KEY,
    user_id       TEXT    NOT NULL,
    client_id     TEXT    NOT NULL,
    expiry        INTEGER NOT NULL,
    ended_at      INTEGER,
    subscriptions TEXT    NOT NULL,
    expires_at    INTEGER AS (CASE WHEN expiry < 4294967295 THEN ended_at + expiry * 1000 END) VIRTUAL,
    UNIQUE (user_id, client_id)
);

CREATE INDEX sessions_expires ON sessions (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE cursors (
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    stream  INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    PRIMARY KEY (session, stream)
) WITHOUT ROWID;

CREATE INDEX cursors_stream ON cursors (stream);
