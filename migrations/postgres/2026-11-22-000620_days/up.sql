-- The same tables stand in migrations/sqlite.

-- Sums of days that are over, so that nobody adds up a year of quarters again. Made by whoever asks first; gone as soon
-- as anything of the day changes.
CREATE TABLE activity_days (
    from_ms BIGINT NOT NULL,
    to_ms BIGINT NOT NULL,
    counts TEXT NOT NULL,
    PRIMARY KEY (from_ms, to_ms)
);

-- What calls cost in each quarter of an hour, in millionths of the price table's currency: days are the business's.
-- spend_days (by days of UTC) stays for the version before.
CREATE TABLE spend (
    at_ms BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    micros BIGINT NOT NULL,
    PRIMARY KEY (at_ms, shard)
);
-- At noon: that is the same date almost anywhere.
INSERT INTO spend (at_ms, shard, micros) SELECT day * 86400000 + 43200000, 0, micros FROM spend_days;

CREATE INDEX messages_by_kind ON messages (kind, id);
CREATE INDEX messages_open_by_kind ON messages (kind, id) WHERE done_ms IS NULL;
CREATE INDEX messages_done_by_kind ON messages (kind, id) WHERE done_ms IS NOT NULL;
CREATE INDEX appointments_by_status ON appointments (status, starts_ms, id);
CREATE INDEX appointment_slots_held ON appointment_slots (expires_ms) WHERE hold_call IS NOT NULL;
CREATE INDEX jobs_by_owner ON jobs (lease_owner);

-- Summaries that were given up are not pending.
UPDATE calls SET summary_state = 'failed'
WHERE summary_state = 'pending'
AND call_sid IN (SELECT substr(key, 9) FROM jobs WHERE state = 'dead' AND kind = 'summary');

CREATE FUNCTION activity_days_forget() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed BIGINT := CASE TG_OP WHEN 'DELETE' THEN OLD.at_ms ELSE NEW.at_ms END;
BEGIN
    DELETE FROM activity_days
    WHERE from_ms > changed - 97200000 AND from_ms <= changed AND to_ms > changed;
    RETURN NULL;
END;
$$;
CREATE TRIGGER activity_days_changed AFTER INSERT OR UPDATE OR DELETE ON activity
FOR EACH ROW EXECUTE FUNCTION activity_days_forget();
CREATE TRIGGER latencies_days_changed AFTER INSERT OR UPDATE OR DELETE ON latencies
FOR EACH ROW EXECUTE FUNCTION activity_days_forget();
