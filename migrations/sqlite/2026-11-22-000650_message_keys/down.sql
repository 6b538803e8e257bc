DROP INDEX messages_by_key;
ALTER TABLE messages DROP COLUMN entry_key;
