-- At a limit, a live challenge of equal content is returned again.
--
-- Earlier versions leave the digest null, so their challenges are never returned again.
-- The index is ordered by scope and deadline instead of id, so that a look-up by address reads a bounded number of rows.
-- The deadline is an expression in it, because the planner would otherwise read challenges_by_end where it expects an
-- address to have many rows, and skip the rows of all others.
-- Building the indexes scans the table and blocks calls meanwhile; NOT VALID avoids another scan for the constraint.

ALTER TABLE challenges ADD COLUMN content_digest bytea;
ALTER TABLE challenges ADD CONSTRAINT challenges_content_digest_check
    CHECK (octet_length(content_digest) = 32) NOT VALID;
DROP INDEX challenges_by_address;
CREATE INDEX challenges_by_address ON challenges
    (address, client_id, COALESCE(session_id, '00000000-0000-0000-0000-000000000000'), purpose,
     (expire_time AT TIME ZONE 'UTC'))
    WHERE address IS NOT NULL AND COALESCE(slot, -1) >= 0;
CREATE INDEX challenges_of_sessions ON challenges (address, client_id, (expire_time AT TIME ZONE 'UTC'))
    WHERE address IS NOT NULL AND session_id IS NOT NULL AND purpose = 'SIGN_IN' AND COALESCE(slot, -1) >= 0;
CREATE INDEX wallets_of_chains ON wallets (realm, address) WHERE scope NOT IN ('eip155', 'solana');
COMMENT ON COLUMN challenges.content_digest IS 'SHA-256 of the content without nonce and times; null in rows of earlier versions.';
COMMENT ON COLUMN challenges.slot IS 'Number unique within the scope while look-ups by address alone return the challenge; null once it is displaced.';
