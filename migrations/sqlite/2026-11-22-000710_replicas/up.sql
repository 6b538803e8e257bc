-- The processes that share this database: who they are, and when each was last heard of by the database's own clock.
-- Whose call it is stands in calls.replica. The same table stands in migrations/postgres.
CREATE TABLE replicas (
    id TEXT PRIMARY KEY NOT NULL,
    version TEXT NOT NULL,
    calls BIGINT NOT NULL,
    draining BOOLEAN NOT NULL,
    heartbeat_ms BIGINT NOT NULL
);

-- What Twilio is to be told when it asks how the call goes on.
ALTER TABLE calls ADD COLUMN onward TEXT;
CREATE INDEX calls_by_replica ON calls (replica) WHERE ended_ms IS NULL;
