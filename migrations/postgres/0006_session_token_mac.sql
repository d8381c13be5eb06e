-- Session tokens carry a MAC under a root key, so that an invented token is rejected without a query.
--
-- Earlier versions of the program make tokens without one, and leave the column null. As long as such a session is left,
-- tokens without a MAC are looked up; every instance asks for it once a second, by an index that holds no other session.
-- Building the index reads the table once, while calls wait; checking the constraint would read it again.

ALTER TABLE sessions ADD COLUMN token_fingerprint bytea;
ALTER TABLE sessions ADD CONSTRAINT sessions_token_fingerprint_check
    CHECK (octet_length(token_fingerprint) = 8) NOT VALID;
CREATE INDEX sessions_with_unmarked_token ON sessions (create_time)
    WHERE token_hash IS NOT NULL AND token_fingerprint IS NULL;
COMMENT ON COLUMN sessions.token_fingerprint IS 'The root key that made the MAC of the session token; null for a token without one, and for sessions without a token.';
