-- Session tokens carry a MAC under a root key, so that an invented token is rejected without a query.
--
-- Earlier versions of the program make tokens without one, and leave the column null. As long as such a session is left,
-- tokens without a MAC are looked up; every instance asks for it once a second, by an index that holds no other session.

-- The root key that made the MAC of the session token; null for a token without one, and for sessions without a token.
ALTER TABLE sessions ADD COLUMN token_fingerprint BLOB CHECK (length(token_fingerprint) = 8);
CREATE INDEX sessions_with_unmarked_token ON sessions (create_time)
    WHERE token_hash IS NOT NULL AND token_fingerprint IS NULL;
