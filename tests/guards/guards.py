"""Guards: conditions of statements and use cases, which tests/guards/run.py removes one at a time."""

from dataclasses import dataclass

POSTGRES, SQLITE = "on_postgres", "on_sqlite"


@dataclass(frozen=True)
class Guard:
    """A guard, the case of a suite that fails without it, and the edits that remove it (file, text, text without it)."""

    name: str
    suite: str
    module: str
    case: str
    edits: tuple[tuple[str, str, str], ...]
    stores: tuple[str, ...] = (POSTGRES, SQLITE)
    beside: str = ""

    @property
    def modules(self) -> set[str]:
        """The modules that are run: of the case, and one whose cases pass without the guard."""
        return {self.module, self.beside} - {""}


def in_store(name: str, file: str, postgres: str, sqlite: str, case: str, without: str = "") -> Guard:
    """A condition in the statements of both stores, in the file of that name; `case` is `module::case`."""
    edits = ((f"src/store/postgres/{file}", postgres, without), (f"src/store/sqlite/{file}", sqlite, without))
    return Guard(name, "store", *case.split("::"), edits)


def alike(name: str, file: str, guarded: str, case: str, without: str = "") -> Guard:
    """A condition that both stores write in the same words."""
    return in_store(name, file, guarded, guarded, case, without)


def in_source(name: str, suite: str, file: str, guarded: str, unguarded: str, case: str, *stores: str) -> Guard:
    """A condition in one file of the sources."""
    return Guard(name, suite, *case.split("::"), ((f"src/{file}", guarded, unguarded),), stores or (POSTGRES, SQLITE))


def in_flows(name: str, file: str, guarded: str, unguarded: str, case: str) -> Guard:
    """A condition of a use case."""
    return in_source(name, "api", f"flows/{file}", guarded, unguarded, case)


CLIENT_DISABLED = """WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
{indent}    THEN 'CLIENT_DISABLED'
"""
POSTGRES_CLIENT_DISABLED = CLIENT_DISABLED.format(indent=" " * 19)
SQLITE_CLIENT_DISABLED = CLIENT_DISABLED.format(indent=" " * 15)

ROTATION = (
    in_store(
        "rotate: client credentials must be those of the session's client",
        "rotate.rs",
        "WHEN $3::uuid IS NOT NULL AND $3 <> held.client_id THEN 'UNKNOWN'",
        "WHEN ?3 IS NOT NULL AND ?3 <> held.client_id THEN 'UNKNOWN'",
        "rotate_refused::another_clients_credentials_make_a_token_unknown",
    ),
    alike(
        "rotate: the session is not revoked",
        "rotate.rs",
        "WHEN held.revoke_time IS NOT NULL THEN 'REVOKED'",
        "rotate_refused::after_the_grace_a_spent_token_revokes_its_session_and_that_stays",
    ),
    in_store(
        "rotate: the client is enabled",
        "rotate.rs",
        POSTGRES_CLIENT_DISABLED,
        SQLITE_CLIENT_DISABLED,
        "rotate_refused::a_disabled_client_refreshes_nothing_until_it_is_enabled",
    ),
    in_store(
        "rotate: the policy can require client credentials",
        "rotate.rs",
        "WHEN client.refresh_requires_client AND $3 IS NULL THEN 'CLIENT_REQUIRED'",
        "WHEN client.refresh_requires_client AND ?3 IS NULL THEN 'CLIENT_REQUIRED'",
        "rotate_refused::a_policy_can_demand_the_clients_credentials",
    ),
    alike(
        "rotate: the deadlines of the session",
        "rotate.rs",
        "WHEN held.expire_time <= clock.now OR held.hard_expire_time <= clock.now THEN 'EXPIRED'",
        "rotate_refused::past_the_hard_end_every_token_is_expired",
    ),
    alike(
        "rotate: only the current generation",
        "rotate.rs",
        "WHEN held.refresh_generation = ",
        "rotate_refused::a_token_two_generations_back_revokes_its_session_at_once",
        without="WHEN held.refresh_generation >= ",
    ),
    in_store(
        "rotate: the end of the grace",
        "rotate.rs",
        """AND clock.now <= held.refresh_step_time
                        + client.refresh_grace_ms * interval '1 millisecond' THEN 'REPLAYED'""",
        "AND clock.now <= held.refresh_step_time + client.refresh_grace_ms THEN 'REPLAYED'",
        "rotate_refused::after_the_grace_a_spent_token_revokes_its_session_and_that_stays",
        without="THEN 'REPLAYED'",
    ),
    Guard(
        "rotate: reuse revokes the session",
        "store",
        "rotate_refused",
        "a_token_two_generations_back_revokes_its_session_at_once",
        (
            (
                "src/store/postgres/rotate.rs",
                "UPDATE sessions SET revoke_time = verdict.now, revoke_reason = $5, update_time = verdict.now",
                "UPDATE sessions SET revoke_time = NULL, revoke_reason = NULLIF($5, $5), update_time = verdict.now",
            ),
            (
                "src/store/sqlite/rotate.rs",
                "revoke(tx, rotation.session_id, RevokeReason::RefreshTokenReused).await?;",
                "",
            ),
        ),
    ),
)

REDEMPTION = (
    alike(
        "redeem: the challenge is not used",
        "redeem.rs",
        "WHEN challenge.redeem_time IS NOT NULL THEN 'ALREADY_USED'",
        "redeem_refused::a_redeemed_challenge_is_used",
    ),
    alike(
        "redeem: the deadline of the challenge",
        "redeem.rs",
        "WHEN challenge.expire_time <= clock.now THEN 'EXPIRED'",
        "redeem_refused::a_challenge_past_its_deadline_is_expired",
    ),
    in_store(
        "redeem: the client is enabled",
        "redeem.rs",
        POSTGRES_CLIENT_DISABLED,
        SQLITE_CLIENT_DISABLED,
        "redeem_refused::a_disabled_client_signs_nobody_in_until_it_is_enabled",
    ),
    alike(
        "redeem: the session is not revoked",
        "redeem.rs",
        "WHEN held.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'",
        "redeem_refused::a_revoked_session_is_not_signed_in",
    ),
    alike(
        "redeem: the session is still pending",
        "redeem.rs",
        "WHEN held.account_id IS NOT NULL THEN 'SESSION_ALREADY_ACTIVE'",
        "redeem_refused::the_second_challenge_of_a_session_is_not_spent_on_it",
    ),
    in_store(
        "redeem: the wallet that the session was created for",
        "redeem.rs",
        """WHEN held.signing_address <> $6 OR NOT $18 AND held.signing_network <> $7
                       THEN 'SESSION_MISMATCH'""",
        """WHEN held.signing_address <> ?4 OR NOT ?5 AND held.signing_network <> ?6
                   THEN 'SESSION_MISMATCH'""",
        "redeem_refused::a_session_waits_for_its_own_address_alone",
    ),
    in_source(
        "redeem: the challenge is locked before its verdict",
        "store",
        "store/postgres/redeem.rs",
        "FOR UPDATE OF challenges\n",
        "\n",
        "redeem_races::of_many_that_redeem_one_challenge_at_once_one_signs_in",
        POSTGRES,
    ),
    in_source(
        "redeem: the clock is read again after the last lock",
        "store",
        "store/postgres/redeem.rs",
        "OR clock_timestamp() < last_moment THEN 1",
        "OR TRUE THEN 1",
        "deadlines::a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_is_there",
        POSTGRES,
    ),
    # Every case of `deadlines` waits for the lock; those of `locks` have no deadline.
    Guard(
        "redeem: the write lock is taken before the verdict",
        "store",
        "deadlines",
        "a_challenge_expires_while_its_redeem_waits_for_one_who_rolls_back",
        (
            (
                "src/store/sqlite/write_transaction.rs",
                'begin_with("BEGIN IMMEDIATE")',
                'begin_with("BEGIN DEFERRED")',
            ),
        ),
        (SQLITE,),
        beside="locks",
    ),
)

WALLETS = (
    in_store(
        "link: the age of the sign-in",
        "accounts.rs",
        """WHEN held.authenticate_time + $7 * interval '1 millisecond' <= clock.now
                       THEN 'REAUTHENTICATION_REQUIRED'""",
        "WHEN held.authenticate_time + ?6 <= clock.now THEN 'REAUTHENTICATION_REQUIRED'",
        "link_wallet::a_sign_in_that_is_too_old_links_nothing",
    ),
    alike(
        "link: the wallet is of no other account",
        "accounts.rs",
        "WHEN owner.account_id IS NOT NULL THEN 'ALREADY_LINKED'",
        "link_wallet::another_accounts_wallet_is_not_linked",
    ),
    in_store(
        "link: the number of wallets",
        "accounts.rs",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = $2) >= $8 THEN 'LIMIT_REACHED'",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = ?2) >= ?7 THEN 'LIMIT_REACHED'",
        "link_wallet::no_wallet_is_linked_beyond_the_limit",
    ),
    in_store(
        "unlink: the last wallet stays",
        "accounts.rs",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = $2) < 2 THEN 'LAST_WALLET'",
        "WHEN (SELECT count(*) FROM wallets WHERE account_id = ?2) < 2 THEN 'LAST_WALLET'",
        "unlink_wallet::the_last_wallet_stays",
    ),
)

LOOK_UP = (
    in_source(
        "look-up: sign-in challenges only",
        "store",
        "store/sql_fragments.rs",
        ") AND purpose = 'SIGN_IN' AND \",",
        ') AND ",',
        "challenges::a_challenge_of_another_purpose_is_never_found",
    ),
    in_source(
        "look-up: formats that this version knows",
        "store",
        "store/sql_fragments.rs",
        "\"format IN ('TEXT', 'SIWX', 'TYPED_DATA', 'NONCE')\"",
        '"format IS NOT NULL"',
        "challenges::a_challenge_of_a_format_that_is_not_known_here_is_never_found",
    ),
    in_store(
        "look-up by address: expected networks have places of their own",
        "challenges.rs",
        "challenges.network = expected.network",
        "network IN (SELECT network FROM expected)",
        "crowded_address::invented_networks_do_not_crowd_out_the_main_one",
        without="TRUE",
    ),
    in_store(
        "look-up by address: networks that the wallet has signed in on",
        "challenges.rs",
        'expected_networks!("$1", "$3")',
        'expected_networks!("?1", "?3")',
        "crowded_address::invented_networks_do_not_crowd_out_one_that_the_wallet_has_signed_in_on",
        without='"SELECT \'eip155:1\' AS network"',
    ),
    Guard(
        "equal challenge: equal content",
        "store",
        "challenge_limit",
        "at_the_limit_a_different_challenge_hides_the_oldest_from_look_up_by_address",
        (
            ("src/store/postgres/challenges.rs", "content_digest = $7", "(content_digest = $7 OR TRUE)"),
            ("src/store/sqlite/challenges.rs", "content_digest = ?7", "TRUE"),
        ),
    ),
    in_source(
        "equal challenge: equal content beyond the limit of the address",
        "store",
        "store/challenges.rs",
        "self.content_digest == other.content_digest",
        "true",
        "equal_challenge::one_of_other_content_or_another_scope_is_never_found",
    ),
    in_store(
        "equal challenge: half of its life",
        "challenges.rs",
        "expire_time - clock_timestamp() >= (expire_time - create_time) / 2",
        "expire_time - now >= (expire_time - create_time) / 2.0",
        "equal_challenge::the_newest_equal_one_with_half_of_its_life_left_is_found_and_nothing_changes",
        without="TRUE",
    ),
    Guard(
        "equal challenge: of the same session",
        "store",
        "challenge_limit",
        "each_session_client_network_format_and_address_counts_by_itself",
        (
            (
                "src/store/postgres/challenges.rs",
                "COALESCE($6, '00000000-0000-0000-0000-000000000000')",
                "COALESCE(NULLIF($6, $6), session_id, '00000000-0000-0000-0000-000000000000')",
            ),
            ("src/store/sqlite/challenges.rs", "session_id IS ?6", "TRUE"),
        ),
    ),
    in_store(
        "clean-up: only sessions that have ended",
        "clean_up.rs",
        """SELECT id FROM sessions
                     WHERE latest_expire_time < clock_timestamp() - $1 * interval '1 millisecond'""",
        "SELECT id FROM sessions, clock WHERE latest_expire_time < now - ?1",
        "clean_up::what_has_ended_longer_ago_than_the_retention_leaves_and_nothing_else_does",
        without="SELECT id FROM sessions WHERE $1 >= 0",
    ),
)

USE_CASES = (
    in_flows(
        "verify: the policy's formats and networks",
        "challenge/verify.rs",
        "client.policy.check_challenge(challenge.format, &verification.wallet.network)?;",
        "",
        "formats::a_policy_that_changes_after_the_start_decides_at_the_sign_in",
    ),
    in_flows(
        "verify: the nonce agrees with the id",
        "challenge/lookup.rs",
        "if self.nonce.as_ref().is_some_and(|nonce| *nonce != challenge.nonce) {",
        "if false {",
        "sign_in::a_challenge_is_found_by_id_nonce_or_address_and_all_must_agree",
    ),
    in_flows(
        "verify: the message byte for byte",
        "challenge/lookup.rs",
        "if content.text().or(content.typed_data()) == Some(&message.text) {",
        "if true {",
        "sign_in::a_challenge_is_found_by_id_nonce_or_address_and_all_must_agree",
    ),
    in_flows(
        "verify: the nonce of a composed message",
        "challenge/composed_message.rs",
        "if text.nonce != challenge.nonce {",
        "if false {",
        "formats::a_composed_sign_in_text_is_checked_field_by_field",
    ),
    in_flows(
        "verify: the domain of a composed message",
        "challenge/composed_message.rs",
        'is_listed("domains", &policy.domains, Some(text.domain.as_str()))?;',
        "",
        "formats::a_composed_sign_in_text_is_checked_field_by_field",
    ),
    in_flows(
        "introspect: tokens in the client's scope",
        "token/introspect.rs",
        "own || (client.policy.has(Role::Introspect) && guarded())",
        "own || guarded() || true",
        "tokens::introspection_is_inactive_out_of_scope",
    ),
    in_flows(
        "watch: events in the client's scope",
        "token/watch_revocations.rs",
        "Some(id) => id == self.client.id || self.guards(id, received).await?,",
        "Some(id) => id == self.client.id || self.guards(id, received).await? || true,",
        "watch_revocations::a_client_receives_its_own_sessions_only",
    ),
    in_flows(
        "check: the audience of the route",
        "token/check.rs",
        "if !route.serves(&claims) {",
        "if false {",
        "ext_authz::another_clients_token_does_not_open_a_route",
    ),
    in_flows(
        "check: revoked sessions",
        "token/check.rs",
        "() if self.revocations.is_session_revoked(claims.sid) => Err(Error::SessionRevoked),",
        "",
        "ext_authz::a_session_that_another_instance_revoked_is_refused_within_a_second",
    ),
    in_flows(
        "sessions: the caller's own",
        "caller.rs",
        "| Self::User { session, .. } if session.id == id => Ok(session),",
        "| Self::User { session, .. } if session.id == id || true => Ok(session),",
        "sessions::a_session_is_visible_to_its_client_device_and_user_only",
    ),
    in_flows(
        "sessions: the user's own account",
        "session/revoke.rs",
        "if session.sign_in.as_ref().is_some_and(|own| own.account_id == id) =>",
        "if session.sign_in.is_some() =>",
        "sessions::logging_out_everywhere_ends_what_the_caller_may_end",
    ),
)

RATE_LIMITS = (
    in_source(
        "rate limits: calls of a client in a minute",
        "api",
        "state/rate_limiter.rs",
        "self.calls.take(now, limits.per_client).map_err(",
        "self.calls.take(now, 0).map_err(",
        "rate_limits::a_flood_of_one_client_is_stopped_and_writes_nothing",
    ),
    Guard(
        "rate limits: the client's limit decides first",
        "api",
        "rate_limits",
        "the_limit_of_the_client_decides_before_that_of_the_address",
        (
            (
                "src/state/rate_limiter.rs",
                'let calls = self.calls.take(now, limits.per_client).map_err(limited("client"))?;',
                'let calls = self.calls.take(now, limits.per_client).map_err(limited("client"));',
            ),
            ("src/state/rate_limiter.rs", "self.calls = calls;", "self.calls = calls?;"),
        ),
    ),
    in_flows(
        "rate limits: a session token asks for its own address",
        "challenge/owner.rs",
        "self.pending_session().is_none().then_some(&signer.address)",
        "Some(&signer.address)",
        "rate_limits::a_session_token_is_not_held_to_the_limit_of_the_address",
    ),
    in_flows(
        "rate limits: calls with a session token",
        "authenticate.rs",
        "Verified::Device(token) => (SessionKey::Token(token.hash()), None),",
        "Verified::Device(_) => return Ok(None),",
        "rate_limits::every_call_with_a_session_token_counts_against_its_budget",
    ),
    in_flows(
        "rate limits: calls with an access token",
        "authenticate.rs",
        "Verified::User(claims) => (SessionKey::Session(claims.sid), Some(claims.client_id)),",
        "Verified::User(_) => return Ok(None),",
        "rate_limits::"
        "every_call_with_an_access_token_and_every_refresh_counts_against_the_budget_of_the_session",
    ),
    in_flows(
        "rate limits: refreshes of a session",
        "token/refresh.rs",
        "self.count_session(SessionKey::Session(token.session_id), None)?",
        "self.count_session(SessionKey::Session(crate::domain::SessionId::generate()), None)?",
        "rate_limits::a_flood_of_refreshes_is_rejected_and_changes_nothing",
    ),
    in_flows(
        "rate limits: refreshes of a client",
        "token/refresh.rs",
        "self.rate_limits.count_refresh(client)?;",
        "self.rate_limits.note_refresh(client);",
        "rate_limits::refreshes_count_against_a_limit_of_the_client_that_is_their_own",
    ),
    in_source(
        "known outage: calls are rejected while the store is down",
        "api",
        "state/store_shares/outage.rs",
        "        queue.open = 0;\n        queue.reject_waiters();\n",
        "        let _ = Queue::reject_waiters;\n",
        "known_outage::calls_in_a_known_outage_are_rejected_at_once_within_a_second",
        POSTGRES,
    ),
    # Either bound suffices in the case, where the outage is found more than once.
    Guard(
        "known outage: a connection that was lost keeps no place in the pool",
        "api",
        "known_outage",
        "calls_in_a_known_outage_are_rejected_at_once_within_a_second",
        (
            (
                "src/store/postgres/mod.rs",
                "        return answers(connection).await;\n",
                "        return true;\n",
            ),
            (
                "src/store/postgres/lease.rs",
                "                () = calls.abandoned() => {}\n",
                "",
            ),
        ),
        (POSTGRES,),
    ),
    in_source(
        "shares: a permit comes back with the connection of its call",
        "api",
        "state/store_shares.rs",
        "let holding = self.store.holding(Arc::<StorePermit>::clone(&permit));",
        "let holding = None;",
        "known_outage::a_session_whose_calls_are_cancelled_holds_its_share_of_the_connections_and_no_more",
        POSTGRES,
    ),
    in_source(
        "known outage: a store that takes no writes does not serve",
        "api",
        "grpc/server.rs",
        "state.store == StoreState::Up",
        "state.store != StoreState::Down",
        "full_disk::a_store_that_takes_no_writes_does_not_serve_and_reads_continue",
    ),
    in_source(
        "rate limits: revocations are exempt from the budget of their session",
        "api",
        "grpc/credentials.rs",
        "flows.authenticate_to_revoke(&presented(request), target)",
        "flows.authenticate(&presented(request))",
        "rate_limits::a_session_with_an_exhausted_budget_can_be_revoked",
    ),
)

SESSION_TOKENS = (
    in_flows(
        "session tokens: the MAC",
        "authenticate.rs",
        "if self.unmarked_tokens.may_exist().await? { Ok(token) }",
        "if !self.issuer.is_empty() { Ok(token) }",
        "credentials::an_invented_session_token_is_rejected_without_a_query",
    ),
    in_flows(
        "session tokens: those of an earlier version",
        "authenticate.rs",
        "if self.unmarked_tokens.may_exist().await? { Ok(token) }",
        "if self.issuer.is_empty() { Ok(token) }",
        "credentials::a_session_token_without_a_mac_is_accepted_while_such_a_session_exists",
    ),
    alike(
        "session tokens: a session without one has none without a MAC",
        "sessions.rs",
        "WHERE token_hash IS NOT NULL AND token_fingerprint IS NULL",
        "sessions::a_session_whose_token_has_no_mac_is_noticed_as_long_as_its_row_is_there",
        without="WHERE token_fingerprint IS NULL",
    ),
    in_source(
        "session tokens: a pending session needs the root key of its token",
        "store",
        "store/sql_fragments.rs",
        "WHERE token_fingerprint IS NOT NULL AND account_id IS NULL",
        "WHERE token_fingerprint IS NOT NULL AND account_id IS NOT NULL",
        "key_rotation::a_root_key_is_needed_by_keys_and_live_sessions_and_forgotten_after",
    ),
)

GUARDS = ROTATION + REDEMPTION + WALLETS + LOOK_UP + USE_CASES + RATE_LIMITS + SESSION_TOKENS
