-- +goose Up

-- The words of a message, as the application finds them: of what it says now,
-- that is, of its newest edit. null: not a message, deleted, or no word in it.
ALTER TABLE entries ADD COLUMN words tsvector;

-- Finds messages by their words and by where they stand. Of every message the
-- index has two places: which 256 entries of its stream it is among, and which
-- 8,192 (a negative number). A search for a frequent word walks back through
-- the places of the streams that it is about and stops when it has enough; one
-- for a rare word takes many places at a time.
--
-- Commits note what is to be indexed, and a connection beside them indexes it.
-- Where that falls behind, the commit at which the note is full does it.
CREATE INDEX entries_words ON entries USING gin (words,
    (ARRAY[(stream << 24) | (seq >> 8), -((stream << 24) | (seq >> 13))]))
    WITH (fastupdate = on, gin_pending_list_limit = 4096) WHERE words IS NOT NULL;

-- Whoever erases what an entry says sets deleted. Its words go with it.
-- +goose StatementBegin
CREATE FUNCTION drop_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.words := NULL;
    RETURN NEW;
END $$;
-- +goose StatementEnd

CREATE TRIGGER entries_deleted BEFORE UPDATE ON entries FOR EACH ROW
    WHEN (NEW.deleted AND NEW.words IS NOT NULL) EXECUTE FUNCTION drop_words();
