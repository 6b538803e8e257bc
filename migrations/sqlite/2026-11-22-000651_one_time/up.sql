ALTER TABLE users ADD COLUMN one_time_until_ms BIGINT;
-- One-time passwords that are out there are good for seven days more.
UPDATE users SET one_time_until_ms = CAST(strftime('%s', 'now') AS INTEGER) * 1000 + 604800000 WHERE one_time;
