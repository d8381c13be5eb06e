-- Clients, accounts, sessions, challenges and keys.
--
-- Sessions and challenges name their client without a foreign key: each insert would lock the one row
-- of a busy client (FOR KEY SHARE) on every instance at once. Clients are never removed, only marked.
--
-- No index begins with the client, although every statement names it: before the first ANALYZE the planner
-- would take such an index for a look-up by id, and read all that the client has.

CREATE TABLE clients (
    id uuid PRIMARY KEY,
    realm text NOT NULL,
    policy jsonb NOT NULL,
    disabled boolean NOT NULL GENERATED ALWAYS AS ((policy ->> 'disabled')::boolean) STORED,
    refresh_requires_client boolean NOT NULL
        GENERATED ALWAYS AS ((policy ->> 'refresh_requires_client')::boolean) STORED,
    refresh_grace_ms bigint NOT NULL
        GENERATED ALWAYS AS ((policy ->> 'refresh_grace_ms')::bigint) STORED,
    refresh_token_ttl_ms bigint NOT NULL
        GENERATED ALWAYS AS ((policy ->> 'refresh_token_ttl_ms')::bigint) STORED,
    access_token_ttl_ms bigint NOT NULL
        GENERATED ALWAYS AS ((policy ->> 'access_token_ttl_ms')::bigint) STORED,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    delete_time timestamptz
);
COMMENT ON TABLE clients IS 'Applications that let their users sign in.';
COMMENT ON COLUMN clients.realm IS 'The set of clients that share their accounts; immutable.';
COMMENT ON COLUMN clients.policy IS 'The whole policy; the generated columns are what statements decide by.';
COMMENT ON COLUMN clients.delete_time IS 'Set once the client is deleted; the row stays.';

CREATE TABLE client_secrets (
    id uuid PRIMARY KEY,
    client_id uuid NOT NULL REFERENCES clients (id),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_time timestamptz,
    revoke_time timestamptz
);
CREATE INDEX client_secrets_of_client ON client_secrets (client_id) WHERE revoke_time IS NULL;
COMMENT ON TABLE client_secrets IS 'Client secrets, up to two live ones per client.';
COMMENT ON COLUMN client_secrets.hash IS 'SHA-256 of the secret''s text; the secret itself has 256 random bits.';

CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    realm text NOT NULL,
    create_time timestamptz NOT NULL
);
COMMENT ON TABLE accounts IS 'The persons behind wallets; the id is the sub of their tokens.';

CREATE TABLE wallets (
    realm text NOT NULL,
    scope text NOT NULL,
    address text NOT NULL,
    account_id uuid NOT NULL REFERENCES accounts (id),
    kind text NOT NULL,
    create_time timestamptz NOT NULL,
    last_sign_in_time timestamptz,
    PRIMARY KEY (realm, scope, address)
) WITH (fillfactor = 80);
CREATE INDEX wallets_of_account ON wallets (account_id);
COMMENT ON TABLE wallets IS 'A wallet belongs to at most one account of its realm.';
COMMENT ON COLUMN wallets.scope IS 'Where the address names one wallet: a namespace (eip155) for plain keys, a chain for contracts.';
COMMENT ON COLUMN wallets.address IS 'Canonical text: EIP-55 or base58.';
COMMENT ON COLUMN wallets.kind IS 'eoa, contract or ed25519.';

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    client_id uuid NOT NULL,
    token_hash bytea UNIQUE CHECK (octet_length(token_hash) = 32),
    signing_address text NOT NULL,
    signing_network text NOT NULL,
    deposit_address text NOT NULL,
    deposit_network text NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    latest_expire_time timestamptz NOT NULL,
    account_id uuid REFERENCES accounts (id),
    wallet_address text,
    wallet_network text,
    wallet_kind text,
    authenticate_time timestamptz,
    hard_expire_time timestamptz,
    refresh_generation integer,
    refresh_fingerprint bytea CHECK (octet_length(refresh_fingerprint) = 8),
    refresh_step_time timestamptz,
    access_expire_time timestamptz,
    revoke_time timestamptz,
    revoke_reason text,
    CHECK (num_nulls(account_id, wallet_address, wallet_network, wallet_kind, authenticate_time,
                     hard_expire_time, refresh_generation, refresh_fingerprint, refresh_step_time,
                     access_expire_time) IN (0, 10)),
    CHECK (num_nulls(revoke_time, revoke_reason) IN (0, 2))
) WITH (fillfactor = 80);
CREATE INDEX sessions_of_account ON sessions (account_id, id) WHERE account_id IS NOT NULL;
CREATE INDEX sessions_of_address ON sessions (signing_address, client_id, id);
CREATE INDEX sessions_by_end ON sessions (latest_expire_time);
CREATE INDEX sessions_revoked ON sessions (revoke_time) WHERE revoke_time IS NOT NULL;
COMMENT ON TABLE sessions IS 'One row per sign-in, however often it is refreshed. A refresh changes no indexed column.';
COMMENT ON COLUMN sessions.token_hash IS 'SHA-256 of the session token; null for sessions that a redeemed challenge made.';
COMMENT ON COLUMN sessions.expire_time IS 'Deadline of the sign-in while pending, of the next refresh once signed in; never past hard_expire_time.';
COMMENT ON COLUMN sessions.latest_expire_time IS 'At or after expire_time, moved at most once a day; what clean-up looks for.';
COMMENT ON COLUMN sessions.refresh_generation IS 'The refresh token that is current: 1, 2, 3, ...';
COMMENT ON COLUMN sessions.refresh_fingerprint IS 'The root key that the current refresh token is derived from.';
COMMENT ON COLUMN sessions.refresh_step_time IS 'When the current generation began; the grace counts from here.';
COMMENT ON COLUMN sessions.access_expire_time IS 'No access token of this session is good after this; what the revocation feed looks at.';

CREATE TABLE challenges (
    id uuid PRIMARY KEY,
    client_id uuid NOT NULL,
    session_id uuid,
    account_id uuid,
    purpose text NOT NULL,
    format text NOT NULL,
    nonce text NOT NULL,
    message text,
    typed_data_json text,
    address text,
    network text,
    slot smallint,
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    redeem_time timestamptz,
    redeem_session_id uuid,
    request_digest bytea CHECK (octet_length(request_digest) = 32)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX challenges_live ON challenges
    (address, client_id, network, format, purpose, COALESCE(session_id, '00000000-0000-0000-0000-000000000000'), slot)
    WHERE slot IS NOT NULL;
CREATE INDEX challenges_by_address ON challenges (address, client_id, id) WHERE address IS NOT NULL;
CREATE INDEX challenges_by_nonce ON challenges (nonce, client_id);
CREATE INDEX challenges_by_end ON challenges (expire_time);
COMMENT ON TABLE challenges IS 'What wallets are asked to sign; redeemed at most once. Redeeming changes no indexed column.';
COMMENT ON COLUMN challenges.session_id IS 'The session it is bound to; null where a client started it.';
COMMENT ON COLUMN challenges.account_id IS 'The account that a linking challenge is bound to.';
COMMENT ON COLUMN challenges.purpose IS 'SIGN_IN or LINK_WALLET.';
COMMENT ON COLUMN challenges.message IS 'The exact text that was handed out; null where the caller composes it.';
COMMENT ON COLUMN challenges.slot IS '0 to 7: its place among the live ones of its scope; null once it made room for another.';
COMMENT ON COLUMN challenges.redeem_time IS 'When it was redeemed; it never is again.';
COMMENT ON COLUMN challenges.redeem_session_id IS 'The session that its redemption signed in.';
COMMENT ON COLUMN challenges.request_digest IS 'SHA-256 over the request that redeemed it, where that had a request_id.';

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    algorithm text NOT NULL,
    sealed bytea NOT NULL,
    root_fingerprint bytea NOT NULL CHECK (octet_length(root_fingerprint) = 8),
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    activate_time timestamptz,
    retire_time timestamptz,
    remove_time timestamptz,
    revoke_time timestamptz
);
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm)
    WHERE activate_time IS NOT NULL AND retire_time IS NULL AND revoke_time IS NULL;
CREATE UNIQUE INDEX signing_keys_prepared ON signing_keys (algorithm)
    WHERE activate_time IS NULL AND revoke_time IS NULL;
COMMENT ON TABLE signing_keys IS 'The keys of access tokens: prepared, active, retiring, removed; one active and one prepared per algorithm.';
COMMENT ON COLUMN signing_keys.kid IS 'The public key''s SHA-256 thumbprint (RFC 7638).';
COMMENT ON COLUMN signing_keys.sealed IS 'The private key (PKCS#8), AES-256-GCM under the root key of root_fingerprint.';

CREATE TABLE root_key_canaries (
    root_fingerprint bytea PRIMARY KEY CHECK (octet_length(root_fingerprint) = 8),
    sealed bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE root_key_canaries IS 'A known value per root key that ever protected this store: who opens none of them has the wrong keys.';
