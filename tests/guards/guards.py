"""Guards: conditions of statements and use cases, which tests/guards/run.py removes one at a time."""

from dataclasses import dataclass

BOTH = ("on_postgres", "on_sqlite")


@dataclass(frozen=True)
class Guard:
    """A guard, the edits that remove it (file, text, text without it), and filters of the cases that must then fail."""

    name: str
    suite: str
    cases: tuple[str, ...]
    edits: tuple[tuple[str, str, str], ...]
    stores: tuple[str, ...] = BOTH


def in_both(name: str, file: str, postgres: str, sqlite: str, *cases: str, without: str = "") -> Guard:
    """A condition that the statements of both stores have, in the file of that name."""
    edits = ((f"src/store/postgres/{file}", postgres, without), (f"src/store/sqlite/{file}", sqlite, without))
    return Guard(name, "store", cases, edits)


def in_flows(name: str, file: str, guarded: str, unguarded: str, *cases: str) -> Guard:
    """A condition of a use case."""
    return Guard(name, "api", cases, ((f"src/flows/{file}", guarded, unguarded),))


CLIENT_DISABLED = """WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
{indent}    THEN 'CLIENT_DISABLED'
"""
POSTGRES_CLIENT_DISABLED = CLIENT_DISABLED.format(indent=" " * 19)
SQLITE_CLIENT_DISABLED = CLIENT_DISABLED.format(indent=" " * 15)


def same_in_both(name: str, file: str, guarded: str, *cases: str, without: str = "") -> Guard:
    """A condition that both stores write in the same words."""
    return in_both(name, file, guarded, guarded, *cases, without=without)


GUARDS = (
    # Rotation of refresh tokens
    in_both(
        "rotate: the session is of the client that presents its token",
        "rotate.rs",
        "WHEN $3::uuid IS NOT NULL AND $3 <> held.client_id THEN 'UNKNOWN'",
        "WHEN ?3 IS NOT NULL AND ?3 <> held.client_id THEN 'UNKNOWN'",
        "rotate",
    ),
    same_in_both(
        "rotate: the session is not revoked",
        "rotate.rs",
        "WHEN held.revoke_time IS NOT NULL THEN 'REVOKED'",
        "rotate",
    ),
    in_both(
        "rotate: the client is enabled",
        "rotate.rs",
        POSTGRES_CLIENT_DISABLED,
        SQLITE_CLIENT_DISABLED,
        "rotate",
    ),
    in_both(
        "rotate: the policy's demand for client credentials",
        "rotate.rs",
        "WHEN client.refresh_requires_client AND $3 IS NULL THEN 'CLIENT_REQUIRED'",
        "WHEN client.refresh_requires_client AND ?3 IS NULL THEN 'CLIENT_REQUIRED'",
        "rotate",
    ),
    same_in_both(
        "rotate: the deadlines of the session",
        "rotate.rs",
        "WHEN held.expire_time <= clock.now OR held.hard_expire_time <= clock.now THEN 'EXPIRED'",
        "rotate",
    ),
    same_in_both(
        "rotate: the present generation alone",
        "rotate.rs",
        "WHEN held.refresh_generation = ",
        "rotate",
        without="WHEN held.refresh_generation >= ",
    ),
    in_both(
        "rotate: the end of the grace",
        "rotate.rs",
        """AND clock.now <= held.refresh_step_time
                        + client.refresh_grace_ms * interval '1 millisecond' THEN 'REPLAYED'""",
        "AND clock.now <= held.refresh_step_time + client.refresh_grace_ms THEN 'REPLAYED'",
        "rotate",
        without="THEN 'REPLAYED'",
    ),
    in_both(
        "rotate: reuse revokes the session",
        "rotate.rs",
        "UPDATE sessions SET revoke_time = verdict.now, revoke_reason = $5, update_time = verdict.now",
        "revoke(tx, rotation.session_id, RevokeReason::RefreshTokenReused).await?;",
        "rotate",
    ),
    # Redemption of challenges
    same_in_both(
        "redeem: the challenge is not used",
        "redeem.rs",
        "WHEN challenge.redeem_time IS NOT NULL THEN 'ALREADY_USED'",
        "redeem",
    ),
    same_in_both(
        "redeem: the deadline of the challenge",
        "redeem.rs",
        "WHEN challenge.expire_time <= clock.now THEN 'EXPIRED'",
        "redeem",
        "deadlines",
    ),
    in_both(
        "redeem: the client is enabled",
        "redeem.rs",
        POSTGRES_CLIENT_DISABLED,
        SQLITE_CLIENT_DISABLED,
        "redeem",
    ),
    same_in_both(
        "redeem: the session is not revoked",
        "redeem.rs",
        "WHEN held.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'",
        "redeem",
    ),
    same_in_both(
        "redeem: the session is still pending",
        "redeem.rs",
        "WHEN held.account_id IS NOT NULL THEN 'SESSION_ALREADY_ACTIVE'",
        "redeem",
    ),
    in_both(
        "redeem: the wallet that the session was created for",
        "redeem.rs",
        """WHEN held.signing_address <> $6 OR $8 <> 'eoa' AND held.signing_network <> $7
                       THEN 'SESSION_MISMATCH'""",
        """WHEN held.signing_address <> ?4 OR ?5 <> 'eoa' AND held.signing_network <> ?6
                   THEN 'SESSION_MISMATCH'""",
        "redeem",
    ),
    Guard(
        "redeem: rows are locked before the verdict",
        "store",
        ("redeem", "replay", "locks"),
        (
            ("src/store/postgres/redeem.rs", "FOR UPDATE OF challenges\n", "\n"),
            ("src/store/sqlite/write_transaction.rs", 'begin_with("BEGIN IMMEDIATE")', 'begin_with("BEGIN DEFERRED")'),
        ),
    ),
    Guard(
        "redeem: the clock is read again after the last lock",
        "store",
        ("redeem", "deadlines", "locks"),
        (("src/store/postgres/redeem.rs", "OR clock_timestamp() < last_moment THEN 1", "OR TRUE THEN 1"),),
        ("on_postgres",),
    ),
    # Wallets of an account
    in_both(
        "link: the recent sign-in",
        "accounts.rs",
        """WHEN held.authenticate_time + $7 * interval '1 millisecond' <= clock.now
                       THEN 'REAUTHENTICATION_REQUIRED'""",
        "WHEN held.authenticate_time + ?6 <= clock.now THEN 'REAUTHENTICATION_REQUIRED'",
        "link",
    ),
    same_in_both(
        "link: the wallet is of no other account",
        "accounts.rs",
        "WHEN owner.account_id IS NOT NULL THEN 'ALREADY_LINKED'",
        "link",
    ),
    in_both(
        "link: the number of wallets",
        "accounts.rs",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = $2) >= $8 THEN 'LIMIT_REACHED'",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = ?2) >= ?7 THEN 'LIMIT_REACHED'",
        "link",
    ),
    in_both(
        "unlink: the last wallet stays",
        "accounts.rs",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = $2) < 2 THEN 'LAST_WALLET'",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = ?2) < 2 THEN 'LAST_WALLET'",
        "unlink",
    ),
    # Look-up and clean-up
    Guard(
        "look-up: sign-in challenges only",
        "store",
        ("link", "challenges"),
        (("src/store/sql_fragments.rs", """ AND purpose = 'SIGN_IN' AND ",""", """ AND ","""),),
    ),
    Guard(
        "look-up: formats that this version knows",
        "store",
        ("challenges",),
        (("src/store/sql_fragments.rs", "\"format IN ('TEXT', 'SIWX', 'TYPED_DATA', 'NONCE')\"", '"format IS NOT NULL"'),),
    ),
    in_both(
        "clean-up: how long sessions stay after their end",
        "clean_up.rs",
        """SELECT id FROM sessions
                     WHERE latest_expire_time < clock_timestamp() - $1 * interval '1 millisecond'""",
        "SELECT id FROM sessions, clock WHERE latest_expire_time < now - ?1",
        "clean_up",
        without="SELECT id FROM sessions WHERE $1 >= 0",
    ),
    # Use cases
    in_flows(
        "verify: the policy's formats and networks",
        "challenge/verify.rs",
        "client.policy.check_challenge(challenge.format, &verification.wallet.network)?;",
        "",
        "formats",
        "client_changes",
        "sign_in",
    ),
    in_flows(
        "verify: the nonce beside the id",
        "challenge/lookup.rs",
        "if self.nonce.as_ref().is_some_and(|nonce| *nonce != challenge.nonce) {",
        "if false {",
        "sign_in",
    ),
    in_flows(
        "verify: the message byte for byte",
        "challenge/lookup.rs",
        "if content.text().or(content.typed_data()) == Some(&message.text) {",
        "if true {",
        "sign_in",
        "formats",
    ),
    in_flows(
        "verify: the nonce of a composed message",
        "challenge/composed_message.rs",
        "if text.nonce != challenge.nonce {",
        "if false {",
        "formats",
    ),
    in_flows(
        "verify: the domains of a composed message",
        "challenge/composed_message.rs",
        """is_listed("domains", &policy.domains, Some(text.domain.as_str()))?;""",
        "",
        "formats",
    ),
    in_flows(
        "introspect: the tokens of the client's own scope",
        "token/introspect.rs",
        "own || (client.policy.has(Role::Introspect) && guarded())",
        "own || guarded() || true",
        "tokens",
    ),
    in_flows(
        "watch: the events of the client's own scope",
        "token/watch_revocations.rs",
        "Some(id) => id == self.client.id || self.guards(id, received).await?,",
        "Some(id) => id == self.client.id || self.guards(id, received).await? || true,",
        "watch_revocations",
    ),
    in_flows(
        "check: the audience of the route",
        "token/check.rs",
        "if !route.serves(&claims) {",
        "if false {",
        "ext_authz",
    ),
    in_flows(
        "check: revoked sessions",
        "token/check.rs",
        "() if self.revocations.is_session_revoked(claims.sid) => Err(Error::SessionRevoked),",
        "",
        "ext_authz",
    ),
    in_flows(
        "sessions: the caller's own",
        "authenticate.rs",
        "| Self::User { session, .. } if session.id == id => Ok(session),",
        "| Self::User { session, .. } if session.id == id || true => Ok(session),",
        "sessions",
    ),
    in_flows(
        "sessions: the user's own account",
        "session/revoke.rs",
        "if session.sign_in.as_ref().is_some_and(|own| own.account_id == id) =>",
        "if session.sign_in.is_some() =>",
        "sessions",
        "accounts",
    ),
    Guard(
        "rate limits: what a client may ask for in a minute",
        "api",
        ("rate_limits",),
        (("src/state/rate_limiter.rs", 'self.clients.take("client", client.id, limits.per_client)', "Ok(())"),),
    ),
)
