-- +goose Up

-- What members may read is asked for wherever a stream is read, so it stands
-- here, beside what is asked for then.
ALTER TABLE streams ADD COLUMN since_join INTEGER NOT NULL DEFAULT 0; -- 1: members read nothing from before they joined

-- pair names the two of a direct conversation, the lesser id first:
-- 'alice/bob'. It is what keeps two users from having two. '' is no direct one.
ALTER TABLE conversations ADD COLUMN pair TEXT NOT NULL DEFAULT '';
ALTER TABLE conversations ADD COLUMN size INTEGER NOT NULL DEFAULT 0; -- how many members

CREATE UNIQUE INDEX conversations_pair ON conversations (pair) WHERE pair <> '';

ALTER TABLE members ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;

-- The members of a conversation in the order in which they joined.
CREATE INDEX members_joined ON members (stream, joined_seq) WHERE role <> 0;

UPDATE conversations SET size = (SELECT count(*) FROM members WHERE members.stream = conversations.stream AND role <> 0);

-- An owner who left took nobody's place: the admin who joined first gets it,
-- or the member who did, or nobody.
UPDATE conversations SET owner_id = coalesce((SELECT user_id FROM members
        WHERE members.stream = conversations.stream AND role <> 0 ORDER BY role DESC, joined_seq LIMIT 1), '')
WHERE NOT EXISTS (SELECT 1 FROM members WHERE members.stream = conversations.stream AND role = 3);

UPDATE members SET role = 3 FROM conversations
WHERE conversations.stream = members.stream AND conversations.owner_id = members.user_id AND role IN (1, 2);

-- Who blocks whom.
CREATE TABLE blocks (
    user_id TEXT    NOT NULL,
    blocked TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (user_id, blocked)
) WITHOUT ROWID;

CREATE INDEX blocks_blocked ON blocks (blocked);
