-- Letters that the index's tokeniser does not take apart into a plain one and an accent. `words` of `db/lists/snippet.rs`
-- does the same to what is looked for.

CREATE TEMP TABLE search_again (kind TEXT NOT NULL, id BIGINT NOT NULL);
INSERT INTO search_again (kind, id)
SELECT 'call', calls.id FROM calls
WHERE calls.ended_ms IS NOT NULL AND (
    coalesce(calls.summary, '') || coalesce(calls.transcript, '') GLOB '*[øØłŁđĐðÐħĦŧŦıæÆœŒßẞþÞ]*'
    OR EXISTS (SELECT 1 FROM turns WHERE turns.call_id = calls.id AND turns.said GLOB '*[øØłŁđĐðÐħĦŧŦıæÆœŒßẞþÞ]*')
);
INSERT INTO search_again (kind, id)
SELECT 'customer', id FROM customers
WHERE coalesce(name, '') || coalesce(email, '') || coalesce(notes, '') GLOB '*[øØłŁđĐðÐħĦŧŦıæÆœŒßẞþÞ]*';

DROP VIEW call_words;
DROP VIEW customer_words;
CREATE VIEW call_words AS
SELECT
    call_id,
    replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(words, 'ø', 'o'), 'Ø', 'o'), 'ł', 'l'), 'Ł', 'l'), 'đ', 'd'), 'Đ', 'd'), 'ð', 'd'), 'Ð', 'd'), 'ħ', 'h'), 'Ħ', 'h'), 'ŧ', 't'), 'Ŧ', 't'), 'ı', 'i'), 'æ', 'ae'), 'Æ', 'ae'), 'œ', 'oe'), 'Œ', 'oe'), 'ß', 'ss'), 'ẞ', 'ss'), 'þ', 'th'), 'Þ', 'th') AS words
FROM (
    SELECT
        calls.id AS call_id,
        coalesce(calls.summary, '') || ' ' || coalesce(calls.transcript, '') || ' ' ||
        coalesce(calls.phone_number, '') || ' ' || coalesce(substr(calls.phone_number, -10), '') || ' ' || coalesce(substr(calls.phone_number, -9), '') || ' ' || coalesce(substr(calls.phone_number, -8), '') || ' ' || coalesce(substr(calls.phone_number, -7), '') || ' ' || coalesce(substr(calls.phone_number, -6), '') || ' ' || coalesce(substr(calls.phone_number, -5), '') || ' ' || coalesce(substr(calls.phone_number, -4), '') || ' ' ||
        coalesce((SELECT group_concat(turns.said, ' ') FROM turns WHERE turns.call_id = calls.id), '') AS words
    FROM calls
);
CREATE VIEW customer_words AS
SELECT
    customer_id,
    replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(replace(words, 'ø', 'o'), 'Ø', 'o'), 'ł', 'l'), 'Ł', 'l'), 'đ', 'd'), 'Đ', 'd'), 'ð', 'd'), 'Ð', 'd'), 'ħ', 'h'), 'Ħ', 'h'), 'ŧ', 't'), 'Ŧ', 't'), 'ı', 'i'), 'æ', 'ae'), 'Æ', 'ae'), 'œ', 'oe'), 'Œ', 'oe'), 'ß', 'ss'), 'ẞ', 'ss'), 'þ', 'th'), 'Þ', 'th') AS words
FROM (
    SELECT
        customers.id AS customer_id,
        coalesce(customers.name, '') || ' ' || coalesce(customers.email, '') || ' ' || coalesce(customers.notes, '') || ' ' ||
        coalesce(customers.phone, '') || ' ' || coalesce(substr(customers.phone, -10), '') || ' ' || coalesce(substr(customers.phone, -9), '') || ' ' || coalesce(substr(customers.phone, -8), '') || ' ' || coalesce(substr(customers.phone, -7), '') || ' ' || coalesce(substr(customers.phone, -6), '') || ' ' || coalesce(substr(customers.phone, -5), '') || ' ' || coalesce(substr(customers.phone, -4), '') AS words
    FROM customers
);

DELETE FROM call_search WHERE rowid IN (SELECT id FROM search_again WHERE kind = 'call');
INSERT INTO call_search (rowid, words)
SELECT call_id, words FROM call_words WHERE call_id IN (SELECT id FROM search_again WHERE kind = 'call');
DELETE FROM customer_search WHERE rowid IN (SELECT id FROM search_again WHERE kind = 'customer');
INSERT INTO customer_search (rowid, words)
SELECT customer_id, words FROM customer_words WHERE customer_id IN (SELECT id FROM search_again WHERE kind = 'customer');
DROP TABLE search_again;
