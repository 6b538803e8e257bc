-- Recordings name their call by its SID: one may be repaired whose call the database never heard of.
CREATE TABLE recordings (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    call_sid TEXT NOT NULL,
    location TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    ms BIGINT NOT NULL,
    started_ms BIGINT NOT NULL,
    offset_ms BIGINT NOT NULL,
    dropped_frames BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX recordings_by_call ON recordings (call_sid);
CREATE INDEX recordings_by_state ON recordings (state, started_ms);
