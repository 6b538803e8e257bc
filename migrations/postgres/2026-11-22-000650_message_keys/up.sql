-- A message that may be written twice (from the file where it waited for the database) is one row by its key.
ALTER TABLE messages ADD COLUMN entry_key TEXT;
CREATE UNIQUE INDEX messages_by_key ON messages (entry_key);
