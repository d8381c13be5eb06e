//! The redemption of a challenge, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, sqlite::SqliteRow};
use uuid::Uuid;

use super::{Sqlite, retrying, rows, write_transaction::WriteTransaction};
use crate::{
    domain::{Account, AccountId, Session, SessionId},
    store::{
        RedeemOutcome, RedeemStore, Redemption, Result, SignedIn, StoreError, sql_fragments::session_columns,
    },
};

#[async_trait]
impl RedeemStore for Sqlite {
    async fn redeem_challenge(&self, redemption: Redemption) -> Result<RedeemOutcome> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let outcome = redeem(&mut tx, &redemption).await?;
            let changed = matches!(outcome, RedeemOutcome::SignedIn(_));
            tx.end(changed).await?;
            Ok(outcome)
        })
        .await
    }
}

/// Reads the verdict, and acts on it.
async fn redeem(tx: &mut WriteTransaction, redemption: &Redemption) -> Result<RedeemOutcome> {
    let row = sqlx::query(REDEEM_VERDICT)
        .bind(redemption.challenge_id.uuid())
        .bind(redemption.scope.client_id.uuid())
        .bind(redemption.scope.session_id.map(SessionId::uuid))
        .bind(redemption.verification.wallet.address.as_str())
        .bind(redemption.verification.wallet.kind.signs_on_any_network())
        .bind(redemption.verification.wallet.network.as_str())
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(RedeemOutcome::NotFound);
    };
    let verdict: String = row.try_get("verdict")?;
    Ok(match verdict.as_str() {
        "SIGNED_IN" => RedeemOutcome::SignedIn(Box::new(sign_in(tx, redemption, &row).await?)),
        "ALREADY_USED" => RedeemOutcome::AlreadyUsed,
        "EXPIRED" => RedeemOutcome::Expired,
        "SESSION_ALREADY_ACTIVE" => RedeemOutcome::SessionAlreadyActive,
        "SESSION_REVOKED" => RedeemOutcome::SessionRevoked,
        "SESSION_EXPIRED" => RedeemOutcome::SessionExpired,
        "SESSION_MISMATCH" => RedeemOutcome::SessionMismatch,
        "CLIENT_DISABLED" => RedeemOutcome::ClientDisabled,
        other => return Err(StoreError::unreadable("verdict", other)),
    })
}

async fn sign_in(
    tx: &mut WriteTransaction,
    redemption: &Redemption,
    verdict: &SqliteRow,
) -> Result<SignedIn> {
    let now: i64 = verdict.try_get("now")?;
    let bound: Option<Uuid> = verdict.try_get("session_id")?;
    let session_id = bound.unwrap_or(redemption.new_session_id.uuid());
    let method = redemption.verification.method;
    sqlx::query(REDEEM)
        .bind(redemption.challenge_id.uuid())
        .bind(now)
        .bind(session_id)
        .bind(redemption.request_digest.as_ref().map(|digest| &digest[..]))
        .bind(method.as_str())
        .bind(method.block_number().map(|block| i64::try_from(block).unwrap_or(i64::MAX)))
        .execute(&mut **tx)
        .await?;
    let account = account(tx, redemption, now).await?;
    if bound.is_none() {
        begin_session(tx, redemption, now).await?;
    }
    let session = activate(tx, redemption, session_id, account.id, now).await?;
    Ok(SignedIn { session, account, now: rows::from_millis("now", now)? })
}

/// Finds or makes the account of the wallet.
async fn account(tx: &mut WriteTransaction, redemption: &Redemption, now: i64) -> Result<Account> {
    let bind = |statement| {
        sqlx::query(statement)
            .bind(redemption.new_account_id.uuid())
            .bind(&redemption.realm)
            .bind(redemption.verification.wallet.identity_scope())
            .bind(redemption.verification.wallet.address.as_str())
            .bind(now)
    };
    bind(ACCOUNT).execute(&mut **tx).await?;
    let row = bind(WALLET).bind(redemption.verification.wallet.kind.as_str()).fetch_one(&mut **tx).await?;
    let id = AccountId::from(row.try_get::<Uuid, _>("account_id")?);
    Ok(Account {
        id,
        create_time: rows::time(&row, "create_time")?,
        created: id == redemption.new_account_id,
    })
}

async fn begin_session(tx: &mut WriteTransaction, redemption: &Redemption, now: i64) -> Result<()> {
    sqlx::query(BEGIN_SESSION)
        .bind(redemption.new_session_id.uuid())
        .bind(redemption.scope.client_id.uuid())
        .bind(redemption.verification.wallet.address.as_str())
        .bind(redemption.verification.wallet.network.as_str())
        .bind(now)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn activate(
    tx: &mut WriteTransaction,
    redemption: &Redemption,
    session_id: Uuid,
    account_id: AccountId,
    now: i64,
) -> Result<Session> {
    let row = sqlx::query(ACTIVATE)
        .bind(session_id)
        .bind(account_id.uuid())
        .bind(redemption.verification.wallet.address.as_str())
        .bind(redemption.verification.wallet.network.as_str())
        .bind(redemption.verification.wallet.kind.as_str())
        .bind(now)
        .bind(&redemption.root_key_id.0[..])
        .bind(rows::millis(redemption.access_token_ttl))
        .bind(rows::millis(redemption.refresh_token_ttl))
        .bind(rows::millis(redemption.session_max_ttl))
        .fetch_one(&mut **tx)
        .await?;
    rows::session(&row)
}

/// ?1 challenge, ?2 client, ?3 session if it must be bound to one, ?4 address, ?5 whether the wallet
/// signs on any network, ?6 network.
const REDEEM_VERDICT: &str = "
    SELECT clock.now, challenge.session_id,
           CASE
               WHEN challenge.redeem_time IS NOT NULL THEN 'ALREADY_USED'
               WHEN challenge.expire_time <= clock.now THEN 'EXPIRED'
               WHEN client.id IS NULL OR client.disabled OR client.delete_time IS NOT NULL
                   THEN 'CLIENT_DISABLED'
               WHEN challenge.session_id IS NULL THEN 'SIGNED_IN'
               WHEN held.id IS NULL THEN 'SESSION_EXPIRED'
               WHEN held.revoke_time IS NOT NULL THEN 'SESSION_REVOKED'
               WHEN held.account_id IS NOT NULL THEN 'SESSION_ALREADY_ACTIVE'
               WHEN held.expire_time <= clock.now THEN 'SESSION_EXPIRED'
               WHEN held.signing_address <> ?4 OR NOT ?5 AND held.signing_network <> ?6
                   THEN 'SESSION_MISMATCH'
               ELSE 'SIGNED_IN'
           END AS verdict
    FROM challenges AS challenge CROSS JOIN clock
         LEFT JOIN sessions AS held ON held.id = challenge.session_id
         LEFT JOIN clients AS client ON client.id = challenge.client_id
    WHERE challenge.id = ?1 AND challenge.client_id = ?2
      AND (?3 IS NULL OR challenge.session_id = ?3) AND challenge.purpose = 'SIGN_IN'";

/// ?1 challenge, ?2 now, ?3 session, ?4 digest of the request, ?5 what accepted the signature, ?6 at which block.
const REDEEM: &str = "
    UPDATE challenges
    SET redeem_time = ?2, redeem_session_id = ?3, request_digest = ?4, verification_method = ?5,
        verification_block = ?6
    WHERE id = ?1";

/// ?1 account if new, ?2 realm, ?3 scope of the address, ?4 address, ?5 now.
const ACCOUNT: &str = "
    INSERT INTO accounts (id, realm, create_time)
    SELECT ?1, ?2, ?5
    WHERE NOT EXISTS (SELECT 1 FROM wallets WHERE realm = ?2 AND scope = ?3 AND address = ?4)";

/// As above, ?6 kind.
const WALLET: &str = "
    INSERT INTO wallets (realm, scope, address, account_id, kind, create_time, last_sign_in_time)
    VALUES (?2, ?3, ?4, ?1, ?6, ?5, ?5)
    ON CONFLICT (realm, scope, address) DO UPDATE SET last_sign_in_time = excluded.last_sign_in_time
    RETURNING account_id, (SELECT create_time FROM accounts WHERE accounts.id = account_id) AS create_time";

/// ?1 id, ?2 client, ?3 address, ?4 network, ?5 now: the session of a challenge that was bound to none,
/// about to be activated.
const BEGIN_SESSION: &str = "
    INSERT INTO sessions (id, client_id, signing_address, signing_network, deposit_address,
                          deposit_network, create_time, update_time, expire_time, latest_expire_time)
    VALUES (?1, ?2, ?3, ?4, ?3, ?4, ?5, ?5, ?5, ?5)";

/// ?1 session, ?2 account, ?3 address, ?4 network, ?5 kind, ?6 now, ?7 fingerprint, ?8 access, ?9 refresh
/// and ?10 session life in milliseconds.
const ACTIVATE: &str = concat!(
    "UPDATE sessions SET
         account_id = ?2, wallet_address = ?3, wallet_network = ?4, wallet_kind = ?5,
         authenticate_time = ?6, update_time = ?6, expire_time = ?6 + MIN(?9, ?10),
         latest_expire_time = MIN(?6 + ?10, ?6 + MIN(?9, ?10) + 86400000),
         hard_expire_time = ?6 + ?10, refresh_generation = 1, refresh_fingerprint = ?7,
         refresh_step_time = ?6, access_expire_time = ?6 + MIN(?8, ?10)
     WHERE id = ?1
     RETURNING ",
    session_columns!(),
    ", ?6 AS now"
);
