//! Accounts and their wallets, on PostgreSQL.
//!
//! Linking and unlinking are transactions of two steps: a statement that waited for the account's row would not
//! see what the one it waited for did to other rows. The next statement does.

use async_trait::async_trait;
use sqlx::{Connection as _, PgTransaction, Row as _, postgres::PgRow};

use super::{Postgres, bound_lock_waits, rows};
use crate::{
    domain::{AccountId, ChallengeId, LinkedWallets, RevokeReason, Verification, WalletKind},
    store::{
        AccountStore, FoundChallenge, LinkOutcome, Result, SignedInAs, StoreError, UnlinkOutcome, WalletLink,
        WalletUnlink, accounts::session_rejected, sql_fragments::challenge_columns,
        sql_fragments::known_format,
    },
};

#[async_trait]
impl AccountStore for Postgres {
    async fn account(&self, id: AccountId, realm: Option<&str>) -> Result<Option<LinkedWallets>> {
        self.retrying(async || {
            let found = sqlx::query(FIND)
                .bind(id.uuid())
                .bind(realm)
                .fetch_all(&mut *self.connection().await?)
                .await?;
            rows::linked_wallets(&found)
        })
        .await
    }

    async fn link_challenge(&self, who: SignedInAs, id: ChallengeId) -> Result<Option<FoundChallenge>> {
        self.retrying(async || {
            let row = sqlx::query(FIND_CHALLENGE)
                .bind(id.uuid())
                .bind(who.session_id.uuid())
                .bind(who.account_id.uuid())
                .fetch_optional(&mut *self.connection().await?)
                .await?;
            row.as_ref().map(rows::found_challenge).transpose()
        })
        .await
    }

    async fn link_wallet(&self, link: WalletLink) -> Result<LinkOutcome> {
        self.retrying(async || {
            let mut connection = self.connection().await?;
            let mut tx = connection.begin().await?;
            lock_account(&mut tx, link.who.account_id).await?;
            let outcome = self::link(&mut tx, &link).await?;
            end(tx, matches!(outcome, LinkOutcome::Linked(_))).await?;
            Ok(outcome)
        })
        .await
    }

    async fn unlink_wallet(&self, unlink: WalletUnlink) -> Result<UnlinkOutcome> {
        self.retrying(async || {
            let mut connection = self.connection().await?;
            let mut tx = connection.begin().await?;
            lock_account(&mut tx, unlink.who.account_id).await?;
            let wallet = lock_wallet(&mut tx, &unlink).await?;
            let outcome = self::unlink(&mut tx, &unlink, wallet.as_ref()).await?;
            end(tx, matches!(outcome, UnlinkOutcome::Unlinked { .. })).await?;
            Ok(outcome)
        })
        .await
    }
}

/// Ends a transaction whose verdict is in: what it changed stays, or there is nothing to keep.
async fn end(tx: PgTransaction<'_>, changed: bool) -> Result<()> {
    if changed {
        tx.commit().await?;
    } else {
        tx.rollback().await?;
    }
    Ok(())
}

/// $1 account, $2 realm if it must be of one. One row per wallet.
const FIND: &str = "
    SELECT accounts.id, accounts.create_time, scope, address, kind, wallets.create_time AS link_time,
           last_sign_in_time
    FROM accounts JOIN wallets ON wallets.account_id = accounts.id
    WHERE accounts.id = $1 AND ($2::text IS NULL OR accounts.realm = $2)
    ORDER BY wallets.create_time, address";

/// $1 id, $2 session, $3 account. No wallet is linked by NONCE.
const FIND_CHALLENGE: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, clock_timestamp() AS now FROM challenges
    WHERE id = $1 AND session_id = $2 AND account_id = $3 AND purpose = 'LINK_WALLET'
      AND format <> 'NONCE' AND ",
    known_format!()
);

/// $1 account. Sign-ins, which only refer to it, are not kept waiting.
const LOCK_ACCOUNT: &str = concat!(
    bound_lock_waits!(),
    "account AS MATERIALIZED (
        SELECT accounts.id FROM accounts, bound WHERE accounts.id = $1 FOR NO KEY UPDATE OF accounts
    )
    SELECT count(*) FROM account"
);

/// $1 account, $2 address, $3 namespace, $4 network: the contract on that chain, or the plain key. Whoever signs in
/// with it holds this lock until the session is there to be seen.
const LOCK_WALLET: &str = "
    SELECT scope, address, kind FROM wallets
    WHERE account_id = $1 AND address = $2 AND scope IN ($3, $4)
    ORDER BY scope = $4 DESC LIMIT 1 FOR UPDATE";

/// $1 session, $2 account, $3 challenge, $4 scope of the address, $5 address, $6 kind, $7 how old the sign-in may be in
/// milliseconds, $8 how many wallets there may be, $9 what accepted the signature, $10 at which block.
///
/// The account is locked already, so that its wallets stay as they are seen here. Another account may be about to get
/// the wallet: it is waited for, and if it did, no row is added.
const LINK: &str = "
    WITH held AS MATERIALIZED (
        SELECT * FROM sessions WHERE id = $1 AND account_id = $2 FOR UPDATE
    ), challenge AS MATERIALIZED (
        SELECT challenges.* FROM challenges, (SELECT count(*) FROM held) AS locked
        WHERE id = $3 AND session_id = $1 AND account_id = $2 AND purpose = 'LINK_WALLET'
        FOR UPDATE OF challenges
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM challenge) AS locked
    ), verdict AS MATERIALIZED (
        SELECT clock.now, account.realm,
               LEAST(challenge.expire_time, held.expire_time,
                     held.authenticate_time + $7 * interval '1 millisecond') AS last_moment,
               CASE
                   WHEN held.id IS NULL OR held.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'
                   WHEN held.expire_time <= clock.now THEN 'SESSION_EXPIRED'
                   WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                       THEN 'CLIENT_DISABLED'
                   WHEN held.authenticate_time + $7 * interval '1 millisecond' <= clock.now
                       THEN 'REAUTHENTICATION_REQUIRED'
                   WHEN challenge.id IS NULL THEN 'NOT_FOUND'
                   WHEN challenge.redeem_time IS NOT NULL AND owner.account_id = $2 THEN 'REPLAYED'
                   WHEN challenge.redeem_time IS NOT NULL THEN 'ALREADY_USED'
                   WHEN challenge.expire_time <= clock.now THEN 'EXPIRED'
                   WHEN owner.account_id = $2 THEN 'LINKED_BEFORE'
                   WHEN owner.account_id IS NOT NULL THEN 'ALREADY_LINKED'
                   WHEN (SELECT count(*) FROM wallets WHERE account_id = $2) >= $8 THEN 'LIMIT_REACHED'
                   ELSE 'LINKED'
               END AS verdict
        FROM clock LEFT JOIN accounts AS account ON account.id = $2
             LEFT JOIN held ON TRUE LEFT JOIN challenge ON TRUE
             LEFT JOIN clients AS client ON client.id = held.client_id
             LEFT JOIN wallets AS owner
                 ON owner.realm = account.realm AND owner.scope = $4 AND owner.address = $5
    ), linked AS (
        INSERT INTO wallets (realm, scope, address, account_id, kind, create_time)
        SELECT realm, $4, $5, $2, $6, now FROM verdict WHERE verdict = 'LINKED'
        ON CONFLICT DO NOTHING
        RETURNING account_id
    ), redeemed AS (
        UPDATE challenges SET redeem_time = verdict.now, verification_method = $9, verification_block = $10
        FROM verdict WHERE challenges.id = $3 AND verdict IN ('LINKED', 'LINKED_BEFORE')
    )
    SELECT verdict, linked.account_id IS NOT NULL AS added,
           CASE WHEN linked.account_id IS NULL THEN TRUE ELSE clock_timestamp() < last_moment END AS in_time
    FROM verdict LEFT JOIN linked ON TRUE";

/// $1 session, $2 account, $3 scope of the wallet, $4 its address, $5 its kind, $6 how old the sign-in may be in
/// milliseconds, $7 reason, $8 whether the wallet is bound to its chain; $3 to $5 and $8 are NULL where there is no such
/// wallet.
const UNLINK: &str = "
    WITH held AS MATERIALIZED (
        SELECT *, (wallet_address = $4 AND wallet_kind = $5
                   AND (NOT $8 OR wallet_network = $3)) IS TRUE AS is_of_wallet
        FROM sessions
        WHERE account_id = $2
          AND (id = $1 OR revoke_time IS NULL AND wallet_address = $4 AND wallet_kind = $5
                          AND (NOT $8 OR wallet_network = $3))
        ORDER BY id FOR UPDATE
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM (SELECT count(*) FROM held) AS locked
    ), verdict AS MATERIALIZED (
        SELECT clock.now,
               CASE
                   WHEN own.id IS NULL OR own.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'
                   WHEN own.expire_time <= clock.now THEN 'SESSION_EXPIRED'
                   WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                       THEN 'CLIENT_DISABLED'
                   WHEN own.authenticate_time + $6 * interval '1 millisecond' <= clock.now
                       THEN 'REAUTHENTICATION_REQUIRED'
                   WHEN $4::text IS NULL THEN 'NOT_FOUND'
                   WHEN (SELECT count(*) FROM wallets WHERE account_id = $2) < 2 THEN 'LAST_WALLET'
                   ELSE 'UNLINKED'
               END AS verdict
        FROM clock LEFT JOIN held AS own ON own.id = $1
             LEFT JOIN clients AS client ON client.id = own.client_id
    ), unlinking AS MATERIALIZED (
        SELECT now FROM verdict WHERE verdict = 'UNLINKED'
    ), unlinked AS (
        DELETE FROM wallets USING unlinking WHERE account_id = $2 AND scope = $3 AND address = $4
    ), revoked AS (
        UPDATE sessions SET revoke_time = now, revoke_reason = $7, update_time = now
        FROM held, unlinking
        WHERE sessions.id = held.id AND held.is_of_wallet AND held.revoke_time IS NULL
          AND held.hard_expire_time > now
        RETURNING sessions.expire_time > now AS was_live
    )
    SELECT verdict, (SELECT count(*) FROM revoked WHERE was_live) AS revoked FROM verdict";

/// What waits for the account waits here, and sees in its next statement what it has become.
async fn lock_account(tx: &mut PgTransaction<'_>, id: AccountId) -> Result<()> {
    sqlx::query(LOCK_ACCOUNT).bind(id.uuid()).execute(&mut **tx).await?;
    Ok(())
}

/// The wallet that is meant, if the account has it.
async fn lock_wallet(tx: &mut PgTransaction<'_>, unlink: &WalletUnlink) -> Result<Option<PgRow>> {
    let statement = sqlx::query(LOCK_WALLET)
        .bind(unlink.who.account_id.uuid())
        .bind(unlink.address.as_str())
        .bind(unlink.network.namespace().as_str())
        .bind(unlink.network.as_str());
    Ok(statement.fetch_optional(&mut **tx).await?)
}

async fn link(tx: &mut PgTransaction<'_>, link: &WalletLink) -> Result<LinkOutcome> {
    let Verification { wallet, method } = &link.verification;
    let row = sqlx::query(LINK)
        .bind(link.who.session_id.uuid())
        .bind(link.who.account_id.uuid())
        .bind(link.challenge_id.uuid())
        .bind(wallet.identity_scope())
        .bind(wallet.address.as_str())
        .bind(wallet.kind.as_str())
        .bind(rows::millis(link.reauth_window))
        .bind(i64::from(link.max_wallets))
        .bind(method.as_str())
        .bind(method.block_number().map(|block| i64::try_from(block).unwrap_or(i64::MAX)))
        .fetch_one(&mut **tx)
        .await?;
    let verdict: String = row.try_get("verdict")?;
    match verdict.as_str() {
        // Another account got the wallet a moment ago, or time ran out while that was waited for.
        "LINKED" if !row.try_get("added")? || !row.try_get("in_time")? => Err(StoreError::Contention),
        "LINKED" | "LINKED_BEFORE" | "REPLAYED" => {
            Ok(LinkOutcome::Linked(Box::new(account(tx, link.who.account_id).await?)))
        }
        "NOT_FOUND" => Ok(LinkOutcome::NotFound),
        "ALREADY_USED" => Ok(LinkOutcome::AlreadyUsed),
        "EXPIRED" => Ok(LinkOutcome::Expired),
        "ALREADY_LINKED" => Ok(LinkOutcome::AlreadyLinked),
        "LIMIT_REACHED" => Ok(LinkOutcome::LimitReached),
        other => session_rejected(other)
            .map(LinkOutcome::SessionRejected)
            .ok_or_else(|| StoreError::unreadable("verdict", other)),
    }
}

async fn unlink(
    tx: &mut PgTransaction<'_>,
    unlink: &WalletUnlink,
    wallet: Option<&PgRow>,
) -> Result<UnlinkOutcome> {
    let text = |column| wallet.map(|row| row.try_get::<String, _>(column)).transpose();
    let kind = wallet.map(|row| rows::wallet_kind(row, "kind")).transpose()?;
    let row = sqlx::query(UNLINK)
        .bind(unlink.who.session_id.uuid())
        .bind(unlink.who.account_id.uuid())
        .bind(text("scope")?)
        .bind(text("address")?)
        .bind(kind.map(WalletKind::as_str))
        .bind(rows::millis(unlink.reauth_window))
        .bind(RevokeReason::WalletUnlinked.as_str())
        .bind(kind.map(WalletKind::is_bound_to_chain))
        .fetch_one(&mut **tx)
        .await?;
    let verdict: String = row.try_get("verdict")?;
    match verdict.as_str() {
        "UNLINKED" => Ok(UnlinkOutcome::Unlinked {
            account: Box::new(account(tx, unlink.who.account_id).await?),
            revoked: u32::try_from(row.try_get::<i64, _>("revoked")?).unwrap_or(u32::MAX),
        }),
        "NOT_FOUND" => Ok(UnlinkOutcome::NotFound),
        "LAST_WALLET" => Ok(UnlinkOutcome::LastWallet),
        other => session_rejected(other)
            .map(UnlinkOutcome::SessionRejected)
            .ok_or_else(|| StoreError::unreadable("verdict", other)),
    }
}

/// The account as this transaction leaves it.
async fn account(tx: &mut PgTransaction<'_>, id: AccountId) -> Result<LinkedWallets> {
    let found = sqlx::query(FIND).bind(id.uuid()).bind(None::<&str>).fetch_all(&mut **tx).await?;
    rows::linked_wallets(&found)?.ok_or_else(|| StoreError::unreadable("account", &id.to_string()))
}
