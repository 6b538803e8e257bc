DROP INDEX messages_one_callback;
ALTER TABLE messages DROP COLUMN kind;
DROP TABLE spend_days;
DROP TABLE call_usage;
DROP TABLE call_outcomes;
DROP TABLE jobs;
