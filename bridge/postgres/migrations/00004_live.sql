-- +goose Up

-- When people were there last. Somebody who is marked as online after a crash
-- was there until then.
CREATE TABLE people (
    user_id   text COLLATE "C" PRIMARY KEY,
    last_seen timestamptz,             -- null: never
    online    boolean NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX people_online ON people (user_id) WHERE online;
