-- Calls that we placed in the last day, for the ceilings that all processes share. The same table stands in
-- migrations/postgres. Without a destination: the person was erased.
CREATE TABLE tolls (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    at_ms BIGINT NOT NULL,
    destination TEXT
);
CREATE INDEX tolls_by_time ON tolls (at_ms);
CREATE INDEX tolls_by_destination ON tolls (destination, at_ms);
