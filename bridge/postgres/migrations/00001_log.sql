-- +goose Up

-- One row for each log. Whoever appends to a log holds this row's lock until
-- it commits, which is what makes seq gap-free and membership exact. Each
-- append updates head and last_at, so the row is narrow, neither column is
-- indexed and half of each page stays free: the updates are HOT and touch no
-- index.
CREATE TABLE streams (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key     text COLLATE "C" NOT NULL UNIQUE, -- "c/<conversation>" or "n/<user>"
    head    bigint NOT NULL DEFAULT 0,        -- newest seq
    first   bigint NOT NULL DEFAULT 1,        -- oldest seq still held
    last_at timestamptz NOT NULL              -- created_at of the newest entry
) WITH (fillfactor = 50);

-- What a conversation has beside its log. Its id is in the key of the stream.
CREATE TABLE conversations (
    stream     bigint PRIMARY KEY REFERENCES streams ON DELETE CASCADE,
    name       text NOT NULL,
    owner_id   text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL
);

-- Who is or was a member. A row stays when the member leaves.
CREATE TABLE members (
    stream     bigint NOT NULL REFERENCES streams ON DELETE CASCADE,
    user_id    text COLLATE "C" NOT NULL,
    role       smallint NOT NULL,           -- 0: has left
    joined_at  timestamptz NOT NULL,
    joined_seq bigint NOT NULL,             -- of the newest join entry
    left_seq   bigint NOT NULL DEFAULT 0,   -- of the leave entry that ended it; 0: is a member
    PRIMARY KEY (stream, user_id)
);

-- With both columns, so that either index serves a look-up of one member. The
-- order of rows that a statement asks for decides where only one will do.
CREATE INDEX members_user ON members (user_id, stream);

-- The entries. The columns of fixed width come first: no padding between them.
-- There is no foreign key: it would cost a look-up and a lock for each entry.
CREATE TABLE entries (
    stream     bigint NOT NULL,
    seq        bigint NOT NULL,
    created_at timestamptz NOT NULL,
    target     bigint,
    id         uuid NOT NULL,
    type       smallint NOT NULL,
    deleted    boolean NOT NULL DEFAULT false,
    sender_id  text COLLATE "C" NOT NULL,
    client_id  text COLLATE "C", -- "~..." was made by the server; null: an entry that nobody sends twice
    content    text,
    extra      text,             -- JSON of the rarer fields; text, because jsonb costs more and is never asked for parts
    PRIMARY KEY (stream, seq)
);

-- Finds repeats, and keeps two nodes from writing one. client_id comes first:
-- ids made by the server grow with time, so that new ones meet in the last,
-- cached page, and one comparison tells two entries apart. In the order
-- (stream, sender_id, client_id) an insert cost a third more.
--
-- While the table is tiny, all its indexes look alike to the planner, and the
-- plan that it makes then is kept. "stream + 0" has it take this index for
-- repeats and for nothing else: what asks for a stream asks for "stream".
CREATE UNIQUE INDEX entries_repeat ON entries (client_id, (stream + 0), sender_id);

-- Finds the edits of a message, and nothing else.
CREATE INDEX entries_target ON entries (target, (stream + 0)) WHERE target IS NOT NULL;

-- Durable sessions.
CREATE TABLE sessions (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id       text COLLATE "C" NOT NULL,
    client_id     text COLLATE "C" NOT NULL,
    expiry        bigint NOT NULL,  -- seconds after ended_at; 4294967295: never
    ended_at      timestamptz,      -- null: connected
    expires_at    timestamptz,      -- null: connected, or never
    subscriptions jsonb NOT NULL,   -- [{"filter": "chat/+/messages", "qos": 1}]
    UNIQUE (user_id, client_id)
);

CREATE INDEX sessions_expired ON sessions (expires_at) WHERE expires_at IS NOT NULL;

-- How far a session has acknowledged a stream. Only seq changes, which is not
-- indexed: HOT updates, as above.
CREATE TABLE cursors (
    session bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    stream  bigint NOT NULL REFERENCES streams ON DELETE CASCADE,
    seq     bigint NOT NULL,
    PRIMARY KEY (session, stream)
) WITH (fillfactor = 70);

CREATE INDEX cursors_stream ON cursors (stream);
