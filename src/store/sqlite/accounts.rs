//! Accounts and their wallets, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, sqlite::SqliteRow};

use super::{Sqlite, retrying, rows, write_transaction::WriteTransaction};
use crate::{
    domain::{AccountId, ChallengeId, LinkedWallets, RevokeReason, Verification, WalletKind},
    store::{
        AccountStore, FoundChallenge, LinkOutcome, Result, SignedInAs, StoreError, UnlinkOutcome, WalletLink,
        WalletUnlink, accounts::session_rejected, sql_fragments::challenge_columns,
        sql_fragments::known_format,
    },
};

#[async_trait]
impl AccountStore for Sqlite {
    async fn account(&self, id: AccountId, realm: Option<&str>) -> Result<Option<LinkedWallets>> {
        retrying(async || {
            let found = sqlx::query(FIND).bind(id.uuid()).bind(realm).fetch_all(&self.reader).await?;
            rows::linked_wallets(&found)
        })
        .await
    }

    async fn link_challenge(&self, who: SignedInAs, id: ChallengeId) -> Result<Option<FoundChallenge>> {
        retrying(async || {
            let row = sqlx::query(FIND_CHALLENGE)
                .bind(id.uuid())
                .bind(who.session_id.uuid())
                .bind(who.account_id.uuid())
                .fetch_optional(&self.reader)
                .await?;
            row.as_ref().map(rows::found_challenge).transpose()
        })
        .await
    }

    async fn link_wallet(&self, link: WalletLink) -> Result<LinkOutcome> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let outcome = self::link(&mut tx, &link).await?;
            tx.end(matches!(outcome, LinkOutcome::Linked(_))).await?;
            Ok(outcome)
        })
        .await
    }

    async fn unlink_wallet(&self, unlink: WalletUnlink) -> Result<UnlinkOutcome> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let outcome = self::unlink(&mut tx, &unlink).await?;
            tx.end(matches!(outcome, UnlinkOutcome::Unlinked { .. })).await?;
            Ok(outcome)
        })
        .await
    }
}

/// ?1 account, ?2 realm if it must be of one. One row per wallet.
const FIND: &str = "
    SELECT accounts.id, accounts.create_time, scope, address, kind, wallets.create_time AS link_time,
           last_sign_in_time
    FROM accounts JOIN wallets ON wallets.account_id = accounts.id
    WHERE accounts.id = ?1 AND (?2 IS NULL OR accounts.realm = ?2)
    ORDER BY wallets.create_time, address";

/// ?1 id, ?2 session, ?3 account. No wallet is linked by NONCE.
const FIND_CHALLENGE: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, (SELECT now FROM clock) AS now FROM challenges
     WHERE id = ?1 AND session_id = ?2 AND account_id = ?3 AND purpose = 'LINK_WALLET'
       AND format <> 'NONCE' AND ",
    known_format!()
);

/// ?1 account, ?2 address, ?3 namespace, ?4 network: the contract on that chain, or the plain key.
const FIND_WALLET: &str = "
    SELECT scope, address, kind FROM wallets
    WHERE account_id = ?1 AND address = ?2 AND scope IN (?3, ?4)
    ORDER BY scope = ?4 DESC LIMIT 1";

/// ?1 session, ?2 account, ?3 challenge, ?4 scope of the address, ?5 address, ?6 how old the sign-in may be in
/// milliseconds, ?7 how many wallets there may be.
const LINK_VERDICT: &str = "
    SELECT clock.now,
           CASE
               WHEN held.id IS NULL OR held.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'
               WHEN held.expire_time <= clock.now THEN 'SESSION_EXPIRED'
               WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                   THEN 'CLIENT_DISABLED'
               WHEN held.authenticate_time + ?6 <= clock.now THEN 'REAUTHENTICATION_REQUIRED'
               WHEN challenge.id IS NULL THEN 'NOT_FOUND'
               WHEN challenge.redeem_time IS NOT NULL AND owner.account_id = ?2 THEN 'REPLAYED'
               WHEN challenge.redeem_time IS NOT NULL THEN 'ALREADY_USED'
               WHEN challenge.expire_time <= clock.now THEN 'EXPIRED'
               WHEN owner.account_id = ?2 THEN 'LINKED_BEFORE'
               WHEN owner.account_id IS NOT NULL THEN 'ALREADY_LINKED'
               WHEN (SELECT count(*) FROM wallets WHERE account_id = ?2) >= ?7 THEN 'LIMIT_REACHED'
               ELSE 'LINKED'
           END AS verdict
    FROM clock
         LEFT JOIN accounts AS account ON account.id = ?2
         LEFT JOIN sessions AS held ON held.id = ?1 AND held.account_id = ?2
         LEFT JOIN challenges AS challenge
             ON challenge.id = ?3 AND challenge.session_id = ?1 AND challenge.account_id = ?2
                AND challenge.purpose = 'LINK_WALLET'
         LEFT JOIN clients AS client ON client.id = held.client_id
         LEFT JOIN wallets AS owner
             ON owner.realm = account.realm AND owner.scope = ?4 AND owner.address = ?5";

/// ?1 account, ?2 scope of the address, ?3 address, ?4 kind, ?5 now.
const ADD_WALLET: &str = "
    INSERT INTO wallets (realm, scope, address, account_id, kind, create_time)
    SELECT realm, ?2, ?3, ?1, ?4, ?5 FROM accounts WHERE id = ?1";

/// ?1 challenge, ?2 now, ?3 what accepted the signature, ?4 at which block.
const REDEEM: &str = "
    UPDATE challenges SET redeem_time = ?2, verification_method = ?3, verification_block = ?4 WHERE id = ?1";

/// ?1 session, ?2 account, ?3 address if there is such a wallet, ?4 how old the sign-in may be in milliseconds.
const UNLINK_VERDICT: &str = "
    SELECT clock.now,
           CASE
               WHEN own.id IS NULL OR own.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'
               WHEN own.expire_time <= clock.now THEN 'SESSION_EXPIRED'
               WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                   THEN 'CLIENT_DISABLED'
               WHEN own.authenticate_time + ?4 <= clock.now THEN 'REAUTHENTICATION_REQUIRED'
               WHEN ?3 IS NULL THEN 'NOT_FOUND'
               WHEN (SELECT count(*) FROM wallets WHERE account_id = ?2) < 2 THEN 'LAST_WALLET'
               ELSE 'UNLINKED'
           END AS verdict
    FROM clock
         LEFT JOIN sessions AS own ON own.id = ?1 AND own.account_id = ?2
         LEFT JOIN clients AS client ON client.id = own.client_id";

/// ?1 account, ?2 scope of the wallet, ?3 its address.
const REMOVE_WALLET: &str = "DELETE FROM wallets WHERE account_id = ?1 AND scope = ?2 AND address = ?3";

/// As above, ?4 its kind, ?5 now, ?6 reason, ?7 whether it is bound to its chain: the sessions that it signed in.
const REVOKE: &str = "
    UPDATE sessions SET revoke_time = ?5, revoke_reason = ?6, update_time = ?5
    WHERE account_id = ?1 AND wallet_address = ?3 AND wallet_kind = ?4
      AND (NOT ?7 OR wallet_network = ?2) AND revoke_time IS NULL AND hard_expire_time > ?5
    RETURNING expire_time > update_time AS was_live";

/// Reads the verdict, and acts on it.
async fn link(tx: &mut WriteTransaction, link: &WalletLink) -> Result<LinkOutcome> {
    let wallet = &link.verification.wallet;
    let row = sqlx::query(LINK_VERDICT)
        .bind(link.who.session_id.uuid())
        .bind(link.who.account_id.uuid())
        .bind(link.challenge_id.uuid())
        .bind(wallet.identity_scope())
        .bind(wallet.address.as_str())
        .bind(rows::millis(link.reauth_window))
        .bind(i64::from(link.max_wallets))
        .fetch_one(&mut **tx)
        .await?;
    let (verdict, now): (String, i64) = (row.try_get("verdict")?, row.try_get("now")?);
    match verdict.as_str() {
        "LINKED" => {
            add_wallet(tx, link, now).await?;
            redeem(tx, link, now).await?;
        }
        "LINKED_BEFORE" => redeem(tx, link, now).await?,
        "REPLAYED" => {}
        "NOT_FOUND" => return Ok(LinkOutcome::NotFound),
        "ALREADY_USED" => return Ok(LinkOutcome::AlreadyUsed),
        "EXPIRED" => return Ok(LinkOutcome::Expired),
        "ALREADY_LINKED" => return Ok(LinkOutcome::AlreadyLinked),
        "LIMIT_REACHED" => return Ok(LinkOutcome::LimitReached),
        other => {
            let why = session_rejected(other).ok_or_else(|| StoreError::unreadable("verdict", other))?;
            return Ok(LinkOutcome::SessionRejected(why));
        }
    }
    Ok(LinkOutcome::Linked(Box::new(account(tx, link.who.account_id).await?)))
}

async fn add_wallet(tx: &mut WriteTransaction, link: &WalletLink, now: i64) -> Result<()> {
    let wallet = &link.verification.wallet;
    sqlx::query(ADD_WALLET)
        .bind(link.who.account_id.uuid())
        .bind(wallet.identity_scope())
        .bind(wallet.address.as_str())
        .bind(wallet.kind.as_str())
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn redeem(tx: &mut WriteTransaction, link: &WalletLink, now: i64) -> Result<()> {
    let Verification { method, .. } = &link.verification;
    sqlx::query(REDEEM)
        .bind(link.challenge_id.uuid())
        .bind(now)
        .bind(method.as_str())
        .bind(method.block_number().map(|block| i64::try_from(block).unwrap_or(i64::MAX)))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Reads the verdict, and acts on it.
async fn unlink(tx: &mut WriteTransaction, unlink: &WalletUnlink) -> Result<UnlinkOutcome> {
    let wallet = wallet(tx, unlink).await?;
    let row = sqlx::query(UNLINK_VERDICT)
        .bind(unlink.who.session_id.uuid())
        .bind(unlink.who.account_id.uuid())
        .bind(wallet.as_ref().map(|_| unlink.address.as_str()))
        .bind(rows::millis(unlink.reauth_window))
        .fetch_one(&mut **tx)
        .await?;
    let (verdict, now): (String, i64) = (row.try_get("verdict")?, row.try_get("now")?);
    match (verdict.as_str(), wallet) {
        ("UNLINKED", Some(wallet)) => {
            let revoked = remove(tx, unlink, &wallet, now).await?;
            let account = Box::new(account(tx, unlink.who.account_id).await?);
            Ok(UnlinkOutcome::Unlinked { account, revoked })
        }
        ("NOT_FOUND", _) => Ok(UnlinkOutcome::NotFound),
        ("LAST_WALLET", _) => Ok(UnlinkOutcome::LastWallet),
        (other, _) => session_rejected(other)
            .map(UnlinkOutcome::SessionRejected)
            .ok_or_else(|| StoreError::unreadable("verdict", other)),
    }
}

/// The wallet that is meant, if the account has it.
async fn wallet(tx: &mut WriteTransaction, unlink: &WalletUnlink) -> Result<Option<SqliteRow>> {
    let statement = sqlx::query(FIND_WALLET)
        .bind(unlink.who.account_id.uuid())
        .bind(unlink.address.as_str())
        .bind(unlink.network.namespace().as_str())
        .bind(unlink.network.as_str());
    Ok(statement.fetch_optional(&mut **tx).await?)
}

/// Removes a wallet, and ends the sessions that it signed in: how many were live.
async fn remove(
    tx: &mut WriteTransaction,
    unlink: &WalletUnlink,
    wallet: &SqliteRow,
    now: i64,
) -> Result<u32> {
    let (scope, kind): (String, WalletKind) = (wallet.try_get("scope")?, rows::wallet_kind(wallet, "kind")?);
    let bind = |statement| {
        sqlx::query(statement).bind(unlink.who.account_id.uuid()).bind(&scope).bind(unlink.address.as_str())
    };
    bind(REMOVE_WALLET).execute(&mut **tx).await?;
    let revoke = bind(REVOKE).bind(kind.as_str()).bind(now).bind(RevokeReason::WalletUnlinked.as_str());
    let revoked = revoke.bind(kind.is_bound_to_chain()).fetch_all(&mut **tx).await?;
    let live = revoked.iter().filter(|row| row.try_get("was_live").unwrap_or(false)).count();
    Ok(u32::try_from(live).unwrap_or(u32::MAX))
}

/// The account as this transaction leaves it.
async fn account(tx: &mut WriteTransaction, id: AccountId) -> Result<LinkedWallets> {
    let found = sqlx::query(FIND).bind(id.uuid()).bind(None::<&str>).fetch_all(&mut **tx).await?;
    rows::linked_wallets(&found)?.ok_or_else(|| StoreError::unreadable("account", &id.to_string()))
}
