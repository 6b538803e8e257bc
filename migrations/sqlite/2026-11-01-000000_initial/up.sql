-- Times are Unix milliseconds in UTC. JSON is text. The same tables stand in migrations/postgres.

CREATE TABLE customers (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT,
    phone TEXT UNIQUE,
    email TEXT,
    notes TEXT,
    import_key TEXT UNIQUE,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);

CREATE TABLE appointments (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    customer_id BIGINT REFERENCES customers (id),
    service TEXT NOT NULL,
    staff TEXT NOT NULL CHECK (staff <> ''),
    starts_ms BIGINT NOT NULL,
    minutes INTEGER NOT NULL CHECK (minutes > 0),
    buffer_minutes INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL,
    notes TEXT,
    call_sid TEXT,
    import_key TEXT UNIQUE,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX appointments_by_start ON appointments (starts_ms, id);
CREATE INDEX appointments_by_customer ON appointments (customer_id);
CREATE INDEX appointments_by_call ON appointments (call_sid);

-- Five minutes of a person's time each; the key is what makes a booking atomic.
CREATE TABLE appointment_slots (
    staff TEXT NOT NULL,
    slot_start_ms BIGINT NOT NULL,
    appointment_id BIGINT REFERENCES appointments (id) ON DELETE CASCADE,
    hold_call TEXT,
    hold_id TEXT,
    expires_ms BIGINT,
    PRIMARY KEY (staff, slot_start_ms),
    CHECK ((appointment_id IS NULL) = (hold_call IS NOT NULL AND expires_ms IS NOT NULL))
);
CREATE INDEX appointment_slots_by_start ON appointment_slots (slot_start_ms);
CREATE INDEX appointment_slots_by_appointment ON appointment_slots (appointment_id);
CREATE INDEX appointment_slots_by_hold ON appointment_slots (hold_call);

CREATE TABLE calls (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    call_sid TEXT NOT NULL UNIQUE,
    admission TEXT NOT NULL,
    kind TEXT NOT NULL,
    direction TEXT NOT NULL,
    caller_kind TEXT NOT NULL,
    phone_number TEXT,
    business_number TEXT NOT NULL,
    status TEXT NOT NULL,
    end_reason TEXT,
    lead_captured BOOLEAN NOT NULL DEFAULT FALSE,
    appointment_booked BOOLEAN NOT NULL DEFAULT FALSE,
    message_taken BOOLEAN NOT NULL DEFAULT FALSE,
    transferred BOOLEAN NOT NULL DEFAULT FALSE,
    follow_up BOOLEAN NOT NULL DEFAULT FALSE,
    customer_id BIGINT REFERENCES customers (id),
    started_ms BIGINT NOT NULL,
    answered_ms BIGINT,
    ended_ms BIGINT,
    duration_s BIGINT,
    transcript TEXT,
    summary TEXT,
    summary_state TEXT NOT NULL DEFAULT 'none',
    resume_json TEXT,
    epoch BIGINT NOT NULL,
    replica TEXT,
    breaks BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX calls_by_start ON calls (started_ms, id);
CREATE INDEX calls_by_customer ON calls (customer_id);
CREATE INDEX calls_open ON calls (started_ms) WHERE ended_ms IS NULL;

CREATE TABLE turns (
    call_id BIGINT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    n BIGINT NOT NULL,
    speaker TEXT NOT NULL,
    said TEXT NOT NULL,
    heard TEXT NOT NULL,
    interrupted BOOLEAN NOT NULL,
    at_ms BIGINT NOT NULL,
    latencies TEXT NOT NULL,
    PRIMARY KEY (call_id, n)
);

-- The audit trail. It names the call by its SID, so that a refused call can be audited too.
CREATE TABLE call_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    call_sid TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    code TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX call_events_by_call ON call_events (call_sid, id);
CREATE TRIGGER call_events_append_only BEFORE UPDATE ON call_events
BEGIN
    SELECT RAISE(ABORT, 'call_events is append-only');
END;

CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    call_sid TEXT NOT NULL,
    name TEXT,
    phone TEXT,
    text TEXT NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX messages_by_call ON messages (call_sid);
