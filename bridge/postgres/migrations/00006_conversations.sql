-- +goose Up

-- What members may read is asked for wherever a stream is read, so it stands
-- here, beside what is asked for then.
ALTER TABLE streams ADD COLUMN since_join boolean NOT NULL DEFAULT false; -- members read nothing from before they joined

-- pair names the two of a direct conversation, the lesser id first. It is what
-- keeps two users from having two.
ALTER TABLE conversations
    ADD COLUMN pair text COLLATE "C",              -- "alice/bob"; null: not a direct one
    ADD COLUMN size integer NOT NULL DEFAULT 0;    -- how many members

CREATE UNIQUE INDEX conversations_pair ON conversations (pair) WHERE pair IS NOT NULL;

ALTER TABLE members ADD COLUMN archived boolean NOT NULL DEFAULT false;

-- The members of a conversation in the order in which they joined. What does
-- not say "joined_seq > 0" cannot take this index, as a look-up of one member
-- would while the table is tiny; see entries_repeat.
CREATE INDEX members_joined ON members (stream, joined_seq) WHERE role > 0 AND joined_seq > 0;

UPDATE conversations SET size = (SELECT count(*) FROM members WHERE members.stream = conversations.stream AND role > 0);

-- An owner who left took nobody's place: the admin who joined first gets it,
-- or the member who did, or nobody.
UPDATE conversations SET owner_id = coalesce((SELECT user_id FROM members
        WHERE members.stream = conversations.stream AND role > 0 ORDER BY role DESC, joined_seq LIMIT 1), '')
WHERE NOT EXISTS (SELECT FROM members WHERE members.stream = conversations.stream AND role = 3);

UPDATE members SET role = 3 FROM conversations
WHERE conversations.stream = members.stream AND conversations.owner_id = members.user_id AND role IN (1, 2);

-- Who blocks whom.
CREATE TABLE blocks (
    user_id text COLLATE "C" NOT NULL,
    blocked text COLLATE "C" NOT NULL,
    at      timestamptz NOT NULL,
    PRIMARY KEY (user_id, blocked)
);

-- By whom somebody is blocked, for what says "at > '-infinity'".
CREATE INDEX blocks_blocked ON blocks (blocked, user_id) WHERE at > '-infinity';
