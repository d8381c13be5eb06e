-- Clients, accounts, sessions, challenges and keys.
--
-- Ids are the 16 bytes of a UUID, times are milliseconds since 1970 UTC, booleans are 0 or 1. As on
-- PostgreSQL, sessions and challenges name their client without a foreign key. Clients are never
-- removed, only marked.

-- The one clock that decides. Read inside a write transaction, it is read after the lock was taken.
-- SQLite counts whole milliseconds; rounding takes the floating point of `subsec` back to them.
CREATE VIEW clock AS SELECT CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) AS now;

-- Applications that let their users sign in.
CREATE TABLE clients (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    -- The set of clients that share their accounts; immutable.
    realm TEXT NOT NULL,
    -- The whole policy, JSON; the generated columns are what statements decide by.
    policy TEXT NOT NULL CHECK (json_valid(policy)),
    disabled INTEGER NOT NULL GENERATED ALWAYS AS (json_extract(policy, '$.disabled')) STORED,
    refresh_requires_client INTEGER NOT NULL
        GENERATED ALWAYS AS (json_extract(policy, '$.refresh_requires_client')) STORED,
    refresh_grace_ms INTEGER NOT NULL
        GENERATED ALWAYS AS (json_extract(policy, '$.refresh_grace_ms')) STORED,
    refresh_token_ttl_ms INTEGER NOT NULL
        GENERATED ALWAYS AS (json_extract(policy, '$.refresh_token_ttl_ms')) STORED,
    access_token_ttl_ms INTEGER NOT NULL
        GENERATED ALWAYS AS (json_extract(policy, '$.access_token_ttl_ms')) STORED,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    -- Set once the client is deleted; the row stays.
    delete_time INTEGER
) STRICT;

-- Client secrets, up to two live ones per client.
CREATE TABLE client_secrets (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    client_id BLOB NOT NULL REFERENCES clients (id),
    -- SHA-256 of the secret's text; the secret itself has 256 random bits.
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    create_time INTEGER NOT NULL,
    last_used_time INTEGER,
    revoke_time INTEGER
) STRICT;
CREATE INDEX client_secrets_of_client ON client_secrets (client_id) WHERE revoke_time IS NULL;

-- The persons behind wallets; the id is the sub of their tokens.
CREATE TABLE accounts (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    realm TEXT NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;

-- A wallet belongs to at most one account of its realm.
CREATE TABLE wallets (
    realm TEXT NOT NULL,
    -- Where the address names one wallet: a namespace (eip155) for plain keys, a chain for contracts.
    scope TEXT NOT NULL,
    -- Canonical text: EIP-55 or base58.
    address TEXT NOT NULL,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    -- eoa, contract or ed25519.
    kind TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    last_sign_in_time INTEGER,
    PRIMARY KEY (realm, scope, address)
) STRICT;
CREATE INDEX wallets_of_account ON wallets (account_id);

-- One row per sign-in, however often it is refreshed. A refresh changes no indexed column.
CREATE TABLE sessions (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    client_id BLOB NOT NULL,
    -- SHA-256 of the session token; null for sessions that a redeemed challenge made.
    token_hash BLOB UNIQUE CHECK (length(token_hash) = 32),
    signing_address TEXT NOT NULL,
    signing_network TEXT NOT NULL,
    deposit_address TEXT NOT NULL,
    deposit_network TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    -- Deadline of the sign-in while pending, of the next refresh once signed in; never past
    -- hard_expire_time.
    expire_time INTEGER NOT NULL,
    -- At or after expire_time, moved at most once a day; what clean-up looks for.
    latest_expire_time INTEGER NOT NULL,
    account_id BLOB REFERENCES accounts (id),
    wallet_address TEXT,
    wallet_network TEXT,
    wallet_kind TEXT,
    authenticate_time INTEGER,
    hard_expire_time INTEGER,
    -- The refresh token that is current: 1, 2, 3, ...
    refresh_generation INTEGER,
    -- The root key that the current refresh token is derived from.
    refresh_fingerprint BLOB CHECK (length(refresh_fingerprint) = 8),
    -- When the current generation began; the grace counts from here.
    refresh_step_time INTEGER,
    -- No access token of this session is good after this; what the revocation feed looks at.
    access_expire_time INTEGER,
    revoke_time INTEGER,
    revoke_reason TEXT,
    CHECK ((account_id IS NULL) + (wallet_address IS NULL) + (wallet_network IS NULL)
           + (wallet_kind IS NULL) + (authenticate_time IS NULL) + (hard_expire_time IS NULL)
           + (refresh_generation IS NULL) + (refresh_fingerprint IS NULL)
           + (refresh_step_time IS NULL) + (access_expire_time IS NULL) IN (0, 10)),
    CHECK ((revoke_time IS NULL) = (revoke_reason IS NULL))
) STRICT;
CREATE INDEX sessions_of_account ON sessions (account_id, id) WHERE account_id IS NOT NULL;
CREATE INDEX sessions_of_address ON sessions (signing_address, client_id, id);
CREATE INDEX sessions_by_end ON sessions (latest_expire_time);
CREATE INDEX sessions_revoked ON sessions (revoke_time) WHERE revoke_time IS NOT NULL;

-- What wallets are asked to sign; redeemed at most once. PostgreSQL's column `slot` has no place here:
-- with one writer at a time, whoever counts the live ones also is the next to add one.
CREATE TABLE challenges (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    client_id BLOB NOT NULL,
    -- The session it is bound to; null where a client started it.
    session_id BLOB,
    -- The account that a linking challenge is bound to.
    account_id BLOB,
    -- SIGN_IN or LINK_WALLET.
    purpose TEXT NOT NULL,
    format TEXT NOT NULL,
    nonce TEXT NOT NULL,
    -- The exact text that was handed out; null where the caller composes it.
    message TEXT,
    typed_data_json TEXT,
    address TEXT,
    network TEXT,
    create_time INTEGER NOT NULL,
    expire_time INTEGER NOT NULL,
    -- When it was redeemed; it never is again.
    redeem_time INTEGER,
    -- The session that its redemption signed in.
    redeem_session_id BLOB,
    -- SHA-256 over the request that redeemed it, where that had a request_id.
    request_digest BLOB CHECK (length(request_digest) = 32)
) STRICT;
CREATE INDEX challenges_live ON challenges (address, client_id, expire_time)
    WHERE address IS NOT NULL AND redeem_time IS NULL;
CREATE INDEX challenges_by_address ON challenges (address, client_id, id) WHERE address IS NOT NULL;
CREATE INDEX challenges_by_nonce ON challenges (nonce, client_id);
CREATE INDEX challenges_by_end ON challenges (expire_time);

-- The keys of access tokens: prepared, active, retiring, removed; one active and one prepared per
-- algorithm.
CREATE TABLE signing_keys (
    -- The public key's SHA-256 thumbprint (RFC 7638).
    kid TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    -- The private key (PKCS#8), AES-256-GCM under the root key of root_fingerprint.
    sealed BLOB NOT NULL,
    root_fingerprint BLOB NOT NULL CHECK (length(root_fingerprint) = 8),
    create_time INTEGER NOT NULL,
    activate_time INTEGER,
    retire_time INTEGER,
    remove_time INTEGER,
    revoke_time INTEGER
) STRICT;
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (algorithm)
    WHERE activate_time IS NOT NULL AND retire_time IS NULL AND revoke_time IS NULL;
CREATE UNIQUE INDEX signing_keys_prepared ON signing_keys (algorithm)
    WHERE activate_time IS NULL AND revoke_time IS NULL;

-- A known value per root key that ever protected this store: who opens none of them has the wrong keys.
CREATE TABLE root_key_canaries (
    root_fingerprint BLOB PRIMARY KEY CHECK (length(root_fingerprint) = 8),
    sealed BLOB NOT NULL,
    create_time INTEGER NOT NULL
) STRICT;
