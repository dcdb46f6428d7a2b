-- +goose Up

-- The words of messages, as the application finds them: of what a message says
-- now, that is, of its newest edit. They are parted by blanks; what is not
-- ASCII is never looked into. rowid is stream * 2^32 + seq.
CREATE VIRTUAL TABLE message_words USING fts5(words, content = '', contentless_delete = 1, detail = none,
    tokenize = 'ascii');

-- Whoever erases what an entry says sets deleted, or deletes it. Its words go
-- with it.
-- +goose StatementBegin
CREATE TRIGGER entries_erased AFTER UPDATE OF deleted ON entries WHEN new.deleted <> 0 AND new.type = 1
BEGIN
    DELETE FROM message_words WHERE rowid = new.stream << 32 | new.seq;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER entries_deleted AFTER DELETE ON entries WHEN old.type = 1
BEGIN
    DELETE FROM message_words WHERE rowid = old.stream << 32 | old.seq;
END;
-- +goose StatementEnd
