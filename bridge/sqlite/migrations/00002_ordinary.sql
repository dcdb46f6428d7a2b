-- +goose Up

-- What a client sends is a blob here, also where it is text: order is the
-- order of bytes.

ALTER TABLE sessions ADD COLUMN ordinary INTEGER NOT NULL DEFAULT 0; -- 1: it has subscriptions of ordinary topics
ALTER TABLE sessions ADD COLUMN queue INTEGER NOT NULL DEFAULT 0;    -- 1: it has, or had, such subscriptions or deliveries

CREATE INDEX sessions_queue ON sessions (user_id, client_id) WHERE queue = 1;

-- Messages on their way to durable sessions, each once. expires 0 is never.
CREATE TABLE messages (
    n         INTEGER PRIMARY KEY,
    id        BLOB    NOT NULL UNIQUE,
    qos       INTEGER NOT NULL,
    published INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    topic     BLOB    NOT NULL,
    props     BLOB    NOT NULL,
    payload   BLOB    NOT NULL
);

-- Who is to get a message. A null message says that it was released.
CREATE TABLE deliveries (
    session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    n       INTEGER NOT NULL,
    message BLOB,
    qos     INTEGER NOT NULL,
    retain  INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    sub_ids BLOB    NOT NULL, -- four bytes each
    share   BLOB    NOT NULL,
    PRIMARY KEY (session, n)
) WITHOUT ROWID;

CREATE INDEX deliveries_message ON deliveries (message) WHERE message IS NOT NULL;

-- Messages that have lost a delivery, perhaps the last one.
CREATE TABLE loose (
    message BLOB PRIMARY KEY NOT NULL
) WITHOUT ROWID;

-- Triggers write it, so that a session that goes with its deliveries leaves
-- nothing behind.
-- +goose StatementBegin
CREATE TRIGGER deliveries_deleted AFTER DELETE ON deliveries WHEN old.message IS NOT NULL
BEGIN
    INSERT OR IGNORE INTO loose VALUES (old.message);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER deliveries_released AFTER UPDATE ON deliveries WHEN old.message IS NOT NULL
BEGIN
    INSERT OR IGNORE INTO loose VALUES (old.message);
END;
-- +goose StatementEnd

-- Up to where a session's deliveries were sent. It changes often, so it is not
-- in sessions, whose rows are wide.
CREATE TABLE sent (
    session INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    n       INTEGER NOT NULL
);

-- Packet identifiers of QoS 2 that a session has sent and not released.
CREATE TABLE received (
    session   INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    packet_id INTEGER NOT NULL,
    client_id BLOB    NOT NULL, -- of the draft that it became; empty: it was none
    PRIMARY KEY (session, packet_id)
) WITHOUT ROWID;

-- Retained messages. The payload is the last column: whoever counts does not
-- read it.
CREATE TABLE retained (
    n         INTEGER PRIMARY KEY,
    size      INTEGER NOT NULL,
    id        BLOB    NOT NULL,
    qos       INTEGER NOT NULL,
    published INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    topic     BLOB    NOT NULL UNIQUE,
    props     BLOB    NOT NULL,
    payload   BLOB    NOT NULL
);

CREATE INDEX retained_expires ON retained (expires) WHERE expires <> 0;

-- Wills. They do not hang on sessions: those that are not durable have wills
-- as well.
CREATE TABLE wills (
    n         INTEGER PRIMARY KEY,
    user_id   TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    id        BLOB    NOT NULL,
    qos       INTEGER NOT NULL,
    retain    INTEGER NOT NULL,
    expiry    INTEGER,          -- seconds; null: none
    delay     INTEGER NOT NULL, -- seconds
    due       INTEGER,          -- null: connected
    topic     BLOB    NOT NULL,
    props     BLOB    NOT NULL,
    payload   BLOB    NOT NULL,
    UNIQUE (user_id, client_id)
);
