-- At a limit, a live challenge of equal content is returned again.
--
-- Earlier versions leave the digest null, so their challenges are never returned again.
-- The index is ordered by scope and deadline instead of id, so that a look-up by address reads a bounded number of rows.

-- SHA-256 of the content without nonce and times; null in rows of earlier versions.
ALTER TABLE challenges ADD COLUMN content_digest BLOB CHECK (length(content_digest) = 32);
-- True once a newer challenge has displaced this one: look-ups by address alone no longer return it.
ALTER TABLE challenges ADD COLUMN displaced INTEGER NOT NULL DEFAULT FALSE;
DROP INDEX challenges_live;
CREATE INDEX challenges_live ON challenges (address, client_id, session_id, network, expire_time)
    WHERE address IS NOT NULL AND redeem_time IS NULL AND NOT displaced;
DROP INDEX challenges_by_address;
CREATE INDEX challenges_by_address ON challenges (address, client_id, session_id, purpose, expire_time)
    WHERE address IS NOT NULL AND NOT displaced;
CREATE INDEX challenges_of_sessions ON challenges (address, client_id, expire_time)
    WHERE address IS NOT NULL AND session_id IS NOT NULL AND purpose = 'SIGN_IN' AND NOT displaced;
CREATE INDEX wallets_of_chains ON wallets (realm, address) WHERE scope NOT IN ('eip155', 'solana');
