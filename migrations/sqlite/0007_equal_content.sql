-- At a limit, a live challenge of equal content is handed out again.
--
-- Earlier versions of the program leave the digest null: their challenges are never handed out again by this rule.
-- By deadline instead of id, a look-up by address reads live rows only, however many ended ones a flood has left.

-- SHA-256 over everything that it states but its nonce and times; null where an earlier version wrote the row.
ALTER TABLE challenges ADD COLUMN content_digest BLOB CHECK (length(content_digest) = 32);
-- Whether it made room for another: look-ups by address alone do not see it any more.
ALTER TABLE challenges ADD COLUMN displaced INTEGER NOT NULL DEFAULT FALSE;
DROP INDEX challenges_live;
CREATE INDEX challenges_live ON challenges (address, client_id, network, format, expire_time)
    WHERE address IS NOT NULL AND redeem_time IS NULL AND NOT displaced;
DROP INDEX challenges_by_address;
CREATE INDEX challenges_by_address ON challenges (address, client_id, expire_time) WHERE address IS NOT NULL;
