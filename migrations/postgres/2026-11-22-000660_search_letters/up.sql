-- Letters that are two, and some without an accent to lose. `words` of `db/lists/snippet.rs` does the same to what is
-- looked for.

CREATE OR REPLACE FUNCTION search_fold(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT translate(
        replace(replace(replace(replace(replace(replace(replace(replace($1, 'æ', 'ae'), 'Æ', 'ae'), 'œ', 'oe'), 'Œ', 'oe'), 'ß', 'ss'), 'ẞ', 'ss'), 'þ', 'th'), 'Þ', 'th'),
        'àáâãäåāăąçćčďđðèéêëēėęěğħìíîïīįıłñńňòóôõöøōőřśšşťţŧùúûüūůűýÿźżžÀÁÂÃÄÅĀĂĄÇĆČĎĐÐÈÉÊËĒĖĘĚĞĦÌÍÎÏĪĮİŁÑŃŇÒÓÔÕÖØŌŐŘŚŠŞŤŢŦÙÚÛÜŪŮŰÝŸŹŻŽ',
        'aaaaaaaaacccdddeeeeeeeeghiiiiiiilnnnoooooooorssstttuuuuuuuyyzzzaaaaaaaaacccdddeeeeeeeeghiiiiiiilnnnoooooooorssstttuuuuuuuyyzzz'
    )
$$;

UPDATE call_search SET words = search_vector(call_words.words)
FROM call_words, calls
WHERE call_words.call_id = call_search.call_id AND calls.id = call_search.call_id AND (
    coalesce(calls.summary, '') || coalesce(calls.transcript, '') ~ '[ðħıŧÐĦİŦæœßþÆŒẞÞ]'
    OR EXISTS (SELECT 1 FROM turns WHERE turns.call_id = calls.id AND turns.said ~ '[ðħıŧÐĦİŦæœßþÆŒẞÞ]')
);
UPDATE customer_search SET words = search_vector(customer_words.words)
FROM customer_words
WHERE customer_words.customer_id = customer_search.customer_id AND customer_words.words ~ '[ðħıŧÐĦİŦæœßþÆŒẞÞ]';
