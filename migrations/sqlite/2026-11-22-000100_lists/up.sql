-- The same tables stand in migrations/postgres; what is searched is an index of its own kind in each.

-- Who finished a message, and when.
ALTER TABLE messages ADD COLUMN done_ms BIGINT;
ALTER TABLE messages ADD COLUMN done_by TEXT;
CREATE INDEX messages_open ON messages (id) WHERE done_ms IS NULL;
CREATE INDEX messages_done ON messages (id) WHERE done_ms IS NOT NULL;

-- Each list is read along one of these, newest first.
CREATE INDEX calls_by_status ON calls (status, started_ms, id);
CREATE INDEX calls_by_direction ON calls (direction, started_ms, id);
CREATE INDEX calls_by_customer_start ON calls (customer_id, started_ms, id);
CREATE INDEX calls_by_phone ON calls (phone_number, started_ms, id);
CREATE INDEX calls_with_lead ON calls (started_ms, id) WHERE lead_captured;
CREATE INDEX calls_booked ON calls (started_ms, id) WHERE appointment_booked;
CREATE INDEX calls_with_message ON calls (started_ms, id) WHERE message_taken;
CREATE INDEX calls_transferred ON calls (started_ms, id) WHERE transferred;
CREATE INDEX calls_to_follow_up ON calls (started_ms, id) WHERE follow_up;
CREATE INDEX appointments_by_staff ON appointments (staff, starts_ms, id);
CREATE INDEX appointments_by_customer_start ON appointments (customer_id, starts_ms, id);

-- Time in which a person, or without a name everybody, is not booked.
CREATE TABLE time_off (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    staff TEXT,
    from_ms BIGINT NOT NULL,
    to_ms BIGINT NOT NULL,
    reason TEXT,
    created_ms BIGINT NOT NULL,
    created_by TEXT,
    CHECK (from_ms < to_ms)
);
CREATE INDEX time_off_by_end ON time_off (to_ms);
CREATE INDEX time_off_by_start ON time_off (from_ms, id);

-- What happened in each quarter of an hour. A quarter is the coarsest stretch of which every time zone's hours and days
-- are made. Several processes write rows (shards) of their own, so that none waits for another.
CREATE TABLE activity (
    at_ms BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    inbound BIGINT NOT NULL DEFAULT 0,
    outbound BIGINT NOT NULL DEFAULT 0,
    ended_completed BIGINT NOT NULL DEFAULT 0,
    ended_transferred BIGINT NOT NULL DEFAULT 0,
    ended_message_taken BIGINT NOT NULL DEFAULT 0,
    ended_apology BIGINT NOT NULL DEFAULT 0,
    ended_silence BIGINT NOT NULL DEFAULT 0,
    ended_max_duration BIGINT NOT NULL DEFAULT 0,
    ended_lost BIGINT NOT NULL DEFAULT 0,
    ended_spend_cap BIGINT NOT NULL DEFAULT 0,
    ended_ended BIGINT NOT NULL DEFAULT 0,
    ended_shutdown BIGINT NOT NULL DEFAULT 0,
    ended_never_started BIGINT NOT NULL DEFAULT 0,
    ended_failed BIGINT NOT NULL DEFAULT 0,
    ended_busy BIGINT NOT NULL DEFAULT 0,
    ended_no_answer BIGINT NOT NULL DEFAULT 0,
    ended_canceled BIGINT NOT NULL DEFAULT 0,
    leads BIGINT NOT NULL DEFAULT 0,
    calls_booked BIGINT NOT NULL DEFAULT 0,
    messages BIGINT NOT NULL DEFAULT 0,
    transfers BIGINT NOT NULL DEFAULT 0,
    follow_ups BIGINT NOT NULL DEFAULT 0,
    appointments_made BIGINT NOT NULL DEFAULT 0,
    appointments_cancelled BIGINT NOT NULL DEFAULT 0,
    duration_s BIGINT NOT NULL DEFAULT 0,
    barge_ins BIGINT NOT NULL DEFAULT 0,
    errors_stt BIGINT NOT NULL DEFAULT 0,
    errors_tts BIGINT NOT NULL DEFAULT 0,
    errors_llm BIGINT NOT NULL DEFAULT 0,
    errors_tools BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (at_ms, shard)
);

-- How long the stages of an answer took: how many there were in each class of milliseconds.
CREATE TABLE latencies (
    at_ms BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    stage TEXT NOT NULL,
    n BIGINT NOT NULL DEFAULT 0,
    sum_ms BIGINT NOT NULL DEFAULT 0,
    le_100 BIGINT NOT NULL DEFAULT 0,
    le_200 BIGINT NOT NULL DEFAULT 0,
    le_300 BIGINT NOT NULL DEFAULT 0,
    le_400 BIGINT NOT NULL DEFAULT 0,
    le_500 BIGINT NOT NULL DEFAULT 0,
    le_600 BIGINT NOT NULL DEFAULT 0,
    le_800 BIGINT NOT NULL DEFAULT 0,
    le_1000 BIGINT NOT NULL DEFAULT 0,
    le_1250 BIGINT NOT NULL DEFAULT 0,
    le_1500 BIGINT NOT NULL DEFAULT 0,
    le_2000 BIGINT NOT NULL DEFAULT 0,
    le_2500 BIGINT NOT NULL DEFAULT 0,
    le_3000 BIGINT NOT NULL DEFAULT 0,
    le_5000 BIGINT NOT NULL DEFAULT 0,
    longer BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (at_ms, shard, stage)
);

-- How many rows a table has, so that nobody counts them.
CREATE TABLE totals (
    name TEXT PRIMARY KEY NOT NULL,
    n BIGINT NOT NULL
);
INSERT INTO totals (name, n) SELECT 'customers', count(*) FROM customers;

INSERT INTO activity (at_ms, shard, inbound, outbound, ended_completed, ended_transferred, ended_message_taken, ended_apology, ended_silence, ended_max_duration, ended_lost, ended_ended, ended_shutdown, ended_never_started, ended_failed, ended_busy, ended_no_answer, ended_canceled, leads, calls_booked, messages, transfers, follow_ups, duration_s)
SELECT
    started_ms / 900000 * 900000,
    0,
    sum(CASE WHEN direction = 'inbound' THEN 1 ELSE 0 END),
    sum(CASE WHEN direction = 'outbound' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'completed' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'transferred' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'message_taken' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'apology' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'silence' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'max_duration' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'lost' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'ended' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'shutdown' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'never_started' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'failed' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'busy' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'no_answer' THEN 1 ELSE 0 END),
    sum(CASE WHEN end_reason = 'canceled' THEN 1 ELSE 0 END),
    sum(CASE WHEN lead_captured THEN 1 ELSE 0 END),
    sum(CASE WHEN appointment_booked THEN 1 ELSE 0 END),
    sum(CASE WHEN message_taken THEN 1 ELSE 0 END),
    sum(CASE WHEN transferred THEN 1 ELSE 0 END),
    sum(CASE WHEN follow_up THEN 1 ELSE 0 END),
    sum(coalesce(duration_s, 0))
FROM calls GROUP BY started_ms / 900000;
INSERT INTO activity (at_ms, shard, appointments_made)
SELECT created_ms / 900000 * 900000, 1, count(*) FROM appointments GROUP BY created_ms / 900000;

CREATE TRIGGER customers_counted_in AFTER INSERT ON customers
BEGIN
    UPDATE totals SET n = n + 1 WHERE name = 'customers';
END;
CREATE TRIGGER customers_counted_out AFTER DELETE ON customers
BEGIN
    UPDATE totals SET n = n - 1 WHERE name = 'customers';
END;

-- The words by which a call is found: what was said in it, its summary, the number and its last digits.
CREATE VIEW call_words AS
SELECT
    calls.id AS call_id,
    coalesce(calls.summary, '') || ' ' || coalesce(calls.transcript, '') || ' ' ||
    coalesce(calls.phone_number, '') || ' ' || coalesce(substr(calls.phone_number, -10), '') || ' ' || coalesce(substr(calls.phone_number, -9), '') || ' ' || coalesce(substr(calls.phone_number, -8), '') || ' ' || coalesce(substr(calls.phone_number, -7), '') || ' ' || coalesce(substr(calls.phone_number, -6), '') || ' ' || coalesce(substr(calls.phone_number, -5), '') || ' ' || coalesce(substr(calls.phone_number, -4), '') || ' ' ||
    coalesce((SELECT group_concat(turns.said, ' ') FROM turns WHERE turns.call_id = calls.id), '') AS words
FROM calls;

CREATE VIEW customer_words AS
SELECT
    customers.id AS customer_id,
    coalesce(customers.name, '') || ' ' || coalesce(customers.email, '') || ' ' || coalesce(customers.notes, '') || ' ' ||
    coalesce(customers.phone, '') || ' ' || coalesce(substr(customers.phone, -10), '') || ' ' || coalesce(substr(customers.phone, -9), '') || ' ' || coalesce(substr(customers.phone, -8), '') || ' ' || coalesce(substr(customers.phone, -7), '') || ' ' || coalesce(substr(customers.phone, -6), '') || ' ' || coalesce(substr(customers.phone, -5), '') || ' ' || coalesce(substr(customers.phone, -4), '') AS words
FROM customers;

CREATE VIRTUAL TABLE call_search USING fts5 (words, content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 2");
CREATE VIRTUAL TABLE customer_search USING fts5 (words, content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 2");

-- A call is indexed when it has ended: what is said while it goes on would be indexed anew with every turn.
CREATE TRIGGER calls_search_insert AFTER INSERT ON calls WHEN NEW.ended_ms IS NOT NULL
BEGIN
    INSERT INTO call_search (rowid, words) SELECT call_id, words FROM call_words WHERE call_id = NEW.id;
END;
CREATE TRIGGER calls_search_update AFTER UPDATE OF ended_ms, summary, transcript, phone_number ON calls
WHEN NEW.ended_ms IS NOT NULL
BEGIN
    DELETE FROM call_search WHERE rowid = NEW.id;
    INSERT INTO call_search (rowid, words) SELECT call_id, words FROM call_words WHERE call_id = NEW.id;
END;
CREATE TRIGGER calls_search_delete AFTER DELETE ON calls
BEGIN
    DELETE FROM call_search WHERE rowid = OLD.id;
END;
CREATE TRIGGER turns_search_insert AFTER INSERT ON turns
WHEN (SELECT ended_ms FROM calls WHERE id = NEW.call_id) IS NOT NULL
BEGIN
    DELETE FROM call_search WHERE rowid = NEW.call_id;
    INSERT INTO call_search (rowid, words) SELECT call_id, words FROM call_words WHERE call_id = NEW.call_id;
END;
CREATE TRIGGER turns_search_update AFTER UPDATE OF said ON turns
WHEN (SELECT ended_ms FROM calls WHERE id = NEW.call_id) IS NOT NULL
BEGIN
    DELETE FROM call_search WHERE rowid = NEW.call_id;
    INSERT INTO call_search (rowid, words) SELECT call_id, words FROM call_words WHERE call_id = NEW.call_id;
END;
CREATE TRIGGER turns_search_delete AFTER DELETE ON turns
WHEN (SELECT ended_ms FROM calls WHERE id = OLD.call_id) IS NOT NULL
BEGIN
    DELETE FROM call_search WHERE rowid = OLD.call_id;
    INSERT INTO call_search (rowid, words) SELECT call_id, words FROM call_words WHERE call_id = OLD.call_id;
END;

CREATE TRIGGER customers_search_insert AFTER INSERT ON customers
BEGIN
    INSERT INTO customer_search (rowid, words) SELECT customer_id, words FROM customer_words WHERE customer_id = NEW.id;
END;
CREATE TRIGGER customers_search_update AFTER UPDATE OF name, phone, email, notes ON customers
BEGIN
    DELETE FROM customer_search WHERE rowid = NEW.id;
    INSERT INTO customer_search (rowid, words) SELECT customer_id, words FROM customer_words WHERE customer_id = NEW.id;
END;
CREATE TRIGGER customers_search_delete AFTER DELETE ON customers
BEGIN
    DELETE FROM customer_search WHERE rowid = OLD.id;
END;

INSERT INTO call_search (rowid, words)
SELECT call_id, words FROM call_words WHERE call_id IN (SELECT id FROM calls WHERE ended_ms IS NOT NULL);
INSERT INTO customer_search (rowid, words) SELECT customer_id, words FROM customer_words;
