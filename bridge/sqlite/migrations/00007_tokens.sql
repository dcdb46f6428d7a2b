-- +goose Up

-- Tokens that do not hold any more. A number is never given twice.
CREATE TABLE revocations (
    n     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind  INTEGER NOT NULL, -- 1: value is a jti, 2: a user
    value BLOB    NOT NULL,
    at    INTEGER NOT NULL,
    until INTEGER,          -- null: it is kept for ever
    UNIQUE (kind, value)
);

CREATE INDEX revocations_until ON revocations (until) WHERE until IS NOT NULL;

-- Finds who came and went, and nothing else.
CREATE INDEX entries_moves ON entries (stream, seq) WHERE type IN (5, 6);
