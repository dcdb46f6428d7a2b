-- +goose Up

-- What a client sends is bytea here, also where it is text: nothing can break
-- a statement, and order is the order of bytes.

-- Columns of fixed width that hardly ever change.
ALTER TABLE sessions
    ADD COLUMN ordinary boolean NOT NULL DEFAULT false, -- it has subscriptions of ordinary topics
    ADD COLUMN queue    boolean NOT NULL DEFAULT false; -- it has, or had, such subscriptions or deliveries; never goes back

CREATE INDEX sessions_queue ON sessions (user_id, client_id) WHERE queue;

-- Messages on their way to durable sessions, each once.
CREATE TABLE messages (
    id        uuid PRIMARY KEY,
    published timestamptz NOT NULL,
    expires   timestamptz,        -- null: never
    qos       smallint NOT NULL,  -- of the publisher
    topic     bytea NOT NULL,
    payload   bytea NOT NULL,
    props     bytea NOT NULL
);

-- Who is to get a message. There is no foreign key to it: whoever takes away
-- messages locks them first, and so does whoever brings deliveries for one
-- that may be taken.
CREATE TABLE deliveries (
    session bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    n       bigint NOT NULL,
    message uuid,               -- null: released
    size    integer NOT NULL,
    qos     smallint NOT NULL,
    retain  boolean NOT NULL,
    sub_ids bytea,              -- four bytes each; null: none
    share   bytea,              -- null: none
    PRIMARY KEY (session, n)
);

CREATE INDEX deliveries_message ON deliveries (message) WHERE message IS NOT NULL;

-- Messages that have lost a delivery, perhaps the last one. A message may
-- stand here more than once: whoever writes here waits for nobody.
CREATE TABLE loose (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message uuid NOT NULL
);

-- Triggers write it, so that a session that goes with its deliveries leaves
-- nothing behind.
-- +goose StatementBegin
CREATE FUNCTION note_loose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loose (message) SELECT DISTINCT message FROM gone WHERE message IS NOT NULL;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER deliveries_deleted AFTER DELETE ON deliveries
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_loose();
CREATE TRIGGER deliveries_released AFTER UPDATE ON deliveries
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_loose();

-- Up to where a session's deliveries were sent. It changes often, so it is not
-- in sessions, whose rows are wide.
CREATE TABLE sent (
    session bigint PRIMARY KEY REFERENCES sessions ON DELETE CASCADE,
    n       bigint NOT NULL
) WITH (fillfactor = 50);

-- Packet identifiers of QoS 2 that a session has sent and not released.
CREATE TABLE received (
    session   bigint NOT NULL REFERENCES sessions ON DELETE CASCADE,
    packet_id integer NOT NULL,
    client_id bytea NOT NULL,   -- of the draft that it became; empty: it was none
    PRIMARY KEY (session, packet_id)
);

-- Retained messages.
CREATE TABLE retained (
    topic     bytea PRIMARY KEY,
    id        uuid NOT NULL,
    published timestamptz NOT NULL,
    expires   timestamptz,
    size      integer NOT NULL,
    qos       smallint NOT NULL,
    payload   bytea NOT NULL,
    props     bytea NOT NULL
);

CREATE INDEX retained_expires ON retained (expires) WHERE expires IS NOT NULL;

-- Wills. They do not hang on sessions: those that are not durable have wills
-- as well.
CREATE TABLE wills (
    user_id   text COLLATE "C" NOT NULL,
    client_id text COLLATE "C" NOT NULL,
    id        uuid NOT NULL,
    due       timestamptz,        -- null: connected
    delay     bigint NOT NULL,    -- seconds
    expiry    bigint,             -- seconds; null: none
    qos       smallint NOT NULL,
    retain    boolean NOT NULL,
    topic     bytea NOT NULL,
    payload   bytea NOT NULL,
    props     bytea NOT NULL,
    PRIMARY KEY (user_id, client_id)
);
