-- At a limit, a live challenge of equal content is returned again.
--
-- Earlier versions leave the digest null, so their challenges are never returned again.
-- The index is ordered by deadline instead of id, so that a look-up by address never reads expired rows.
-- Building the index scans the table once and blocks calls meanwhile; NOT VALID avoids a second scan for the
-- constraint.

ALTER TABLE challenges ADD COLUMN content_digest bytea;
ALTER TABLE challenges ADD CONSTRAINT challenges_content_digest_check
    CHECK (octet_length(content_digest) = 32) NOT VALID;
DROP INDEX challenges_by_address;
CREATE INDEX challenges_by_address ON challenges (address, client_id, expire_time) WHERE address IS NOT NULL;
COMMENT ON COLUMN challenges.content_digest IS 'SHA-256 of the content without nonce and times; null in rows of earlier versions.';
COMMENT ON COLUMN challenges.slot IS 'Number unique within the scope while look-ups by address alone return the challenge; null once it is displaced.';
