ALTER TABLE users ADD COLUMN one_time_until_ms BIGINT;
-- One-time passwords that are out there are good for seven days more.
UPDATE users SET one_time_until_ms = (extract(epoch FROM now()) * 1000)::bigint + 604800000 WHERE one_time;
