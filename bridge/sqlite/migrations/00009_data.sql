-- +goose Up

-- How long the entries of a stream are kept, where its owner has said so:
-- seconds, and how many of the newest; 0 is no bound, null that nothing was
-- said.
ALTER TABLE streams ADD COLUMN keep_age INTEGER;
ALTER TABLE streams ADD COLUMN keep_count INTEGER;

CREATE INDEX streams_kept ON streams (key) WHERE keep_age IS NOT NULL;
