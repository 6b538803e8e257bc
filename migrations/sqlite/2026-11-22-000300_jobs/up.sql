-- Work that outlives a process, what came of a call, and what it cost. The same tables stand in migrations/postgres.

-- `next_run_ms` is when somebody should look at a job next: when it is due, or when the lease of whoever has it lapses.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    payload TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'queued',
    attempts BIGINT NOT NULL DEFAULT 0,
    next_run_ms BIGINT NOT NULL,
    lease_until_ms BIGINT,
    lease_owner TEXT,
    last_error TEXT,
    created_ms BIGINT NOT NULL,
    done_ms BIGINT,
    CHECK (state IN ('queued', 'leased', 'done', 'dead')),
    CHECK ((state = 'leased') = (lease_owner IS NOT NULL))
);
CREATE INDEX jobs_due ON jobs (state, next_run_ms, id);
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_by_end ON jobs (state, done_ms);
INSERT INTO jobs (kind, key, payload, next_run_ms, created_ms)
SELECT 'summary', 'summary:' || call_sid, json_object('call_sid', call_sid), coalesce(ended_ms, started_ms), coalesce(ended_ms, started_ms)
FROM calls WHERE summary_state = 'pending' ORDER BY id;

CREATE TABLE call_outcomes (
    call_id BIGINT PRIMARY KEY NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    intent TEXT,
    sentiment TEXT,
    outcome TEXT NOT NULL,
    model TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX call_outcomes_by_intent ON call_outcomes (intent, call_id);

-- What a call used, in the unit of its item, and what that cost in millionths of the price table's currency.
CREATE TABLE call_usage (
    call_id BIGINT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    item TEXT NOT NULL,
    model TEXT NOT NULL,
    amount BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    PRIMARY KEY (call_id, item, model)
);

-- Days are counted from 1970-01-01 in UTC.
CREATE TABLE spend_days (
    day BIGINT PRIMARY KEY NOT NULL,
    micros BIGINT NOT NULL
);

-- What is to be called back about: left by the caller, or noted by us because the conversation broke off.
ALTER TABLE messages ADD COLUMN kind TEXT NOT NULL DEFAULT 'message';
CREATE UNIQUE INDEX messages_one_callback ON messages (call_sid) WHERE kind = 'callback';
