-- At a limit, a live challenge of equal content is handed out again.
--
-- Earlier versions of the program leave the digest null: their challenges are never handed out again by this rule.
-- By deadline instead of id, a look-up by address reads live rows only, however many ended ones a flood has left.
-- Building the index reads the table once, while calls wait; checking the constraint would read it again.

ALTER TABLE challenges ADD COLUMN content_digest bytea;
ALTER TABLE challenges ADD CONSTRAINT challenges_content_digest_check
    CHECK (octet_length(content_digest) = 32) NOT VALID;
DROP INDEX challenges_by_address;
CREATE INDEX challenges_by_address ON challenges (address, client_id, expire_time) WHERE address IS NOT NULL;
COMMENT ON COLUMN challenges.content_digest IS 'SHA-256 over everything that it states but its nonce and times; null where an earlier version wrote the row.';
COMMENT ON COLUMN challenges.slot IS 'Any number that no other one of its scope has, while look-ups by address alone see it; null once it made room for another.';
