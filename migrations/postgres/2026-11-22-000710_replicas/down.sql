DROP INDEX calls_by_replica;
ALTER TABLE calls DROP COLUMN onward;
DROP TABLE replicas;
