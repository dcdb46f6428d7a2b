-- +goose Up

-- When people were there last, 0 is never. Somebody who is marked as online
-- after a crash was there until then.
CREATE TABLE people (
    user_id   TEXT    PRIMARY KEY NOT NULL,
    last_seen INTEGER NOT NULL,
    online    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX people_online ON people (user_id) WHERE online = 1;
