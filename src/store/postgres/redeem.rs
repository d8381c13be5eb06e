//! The redemption of a challenge, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{Row as _, postgres::PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Postgres, bound_lock_waits, rows};
use crate::{
    domain::{Account, AccountId, SessionId, Verification},
    store::{
        RedeemOutcome, RedeemStore, Redemption, Result, SignedIn, StoreError, sql_fragments::session_columns,
    },
};

#[async_trait]
impl RedeemStore for Postgres {
    async fn redeem_challenge(&self, redemption: Redemption) -> Result<RedeemOutcome> {
        self.retrying(async || self.redeem(&redemption).await).await
    }
}

impl Postgres {
    /// The one statement, and what it came to.
    async fn redeem(&self, redemption: &Redemption) -> Result<RedeemOutcome> {
        let Verification { wallet, method } = &redemption.verification;
        let row = sqlx::query(REDEEM)
            .bind(redemption.challenge_id.uuid())
            .bind(redemption.scope.client_id.uuid())
            .bind(redemption.scope.session_id.map(SessionId::uuid))
            .bind(&redemption.realm)
            .bind(wallet.identity_scope())
            .bind(wallet.address.as_str())
            .bind(wallet.network.as_str())
            .bind(wallet.kind.as_str())
            .bind(redemption.new_account_id.uuid())
            .bind(redemption.new_session_id.uuid())
            .bind(&redemption.root_key_id.0[..])
            .bind(rows::millis(redemption.access_token_ttl))
            .bind(rows::millis(redemption.refresh_token_ttl))
            .bind(rows::millis(redemption.session_max_ttl))
            .bind(redemption.request_digest.as_ref().map(|digest| &digest[..]))
            .bind(method.as_str())
            .bind(method.block_number().map(|block| i64::try_from(block).unwrap_or(i64::MAX)))
            .bind(wallet.kind.signs_on_any_network())
            .fetch_optional(&mut *self.connection().await?)
            .await?;
        match row {
            Some(row) => self.outcome(&row, redemption).await,
            None => Ok(RedeemOutcome::NotFound),
        }
    }

    async fn outcome(&self, row: &PgRow, redemption: &Redemption) -> Result<RedeemOutcome> {
        let verdict: String = row.try_get("verdict")?;
        Ok(match verdict.as_str() {
            "SIGNED_IN" => RedeemOutcome::SignedIn(Box::new(SignedIn {
                session: rows::session(row)?,
                account: self.account(row, redemption).await?,
                now: row.try_get("now")?,
            })),
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

    /// The account of a sign-in. Where another first sign-in of the same wallet made it a moment ago,
    /// the statement's snapshot did not show it yet, and it is read by itself.
    async fn account(&self, row: &PgRow, redemption: &Redemption) -> Result<Account> {
        let id = AccountId::from(row.try_get::<Uuid, _>("account_id")?);
        let created = id == redemption.new_account_id;
        let seen: Option<OffsetDateTime> = row.try_get("account_create_time")?;
        let create_time = match seen {
            Some(time) => time,
            None if created => row.try_get("now")?,
            None => {
                sqlx::query_scalar("SELECT create_time FROM accounts WHERE id = $1")
                    .bind(id.uuid())
                    .fetch_one(&mut *self.connection().await?)
                    .await?
            }
        };
        Ok(Account { id, create_time, created })
    }
}

/// $1 challenge, $2 client, $3 session if it must be bound to one, $4 realm, $5 scope of the address,
/// $6 address, $7 network, $8 kind, $9 account if new, $10 session if new, $11 fingerprint, $12 access,
/// $13 refresh and $14 session life in milliseconds, $15 digest of the request, $16 what accepted the signature,
/// $17 at which block, $18 whether the wallet signs on any network.
///
/// Both rows are locked before the clock is read; what follows acts only on the verdict. The wallet's row is
/// locked later, by the statement that finds or makes it, so the clock is looked at once more at the end: a
/// redeem whose time ran out there divides by zero, which undoes it, and its next attempt finds it expired.
const REDEEM: &str = concat!(
    bound_lock_waits!(),
    "challenge AS MATERIALIZED (
        SELECT challenges.* FROM challenges, bound
        WHERE id = $1 AND client_id = $2 AND ($3::uuid IS NULL OR session_id = $3) AND purpose = 'SIGN_IN'
        FOR UPDATE OF challenges
    ), held AS MATERIALIZED (
        SELECT * FROM sessions WHERE id = (SELECT session_id FROM challenge) FOR UPDATE
    ), clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now FROM challenge LEFT JOIN held ON TRUE
    ), verdict AS MATERIALIZED (
        SELECT clock.now,
               clock.now + $14 * interval '1 millisecond' AS hard_deadline,
               clock.now + LEAST($13, $14) * interval '1 millisecond' AS deadline,
               clock.now + LEAST($12, $14) * interval '1 millisecond' AS access_deadline,
               challenge.session_id,
               LEAST(challenge.expire_time, held.expire_time) AS last_moment,
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
                   WHEN held.signing_address <> $6 OR NOT $18 AND held.signing_network <> $7
                       THEN 'SESSION_MISMATCH'
                   ELSE 'SIGNED_IN'
               END AS verdict
        FROM challenge CROSS JOIN clock LEFT JOIN held ON TRUE
             LEFT JOIN clients AS client ON client.id = challenge.client_id
    ), signing AS MATERIALIZED (
        SELECT * FROM verdict WHERE verdict = 'SIGNED_IN'
    ), wallet AS (
        INSERT INTO wallets (realm, scope, address, account_id, kind, create_time, last_sign_in_time)
        SELECT $4, $5, $6, $9, $8, now, now FROM signing
        ON CONFLICT (realm, scope, address) DO UPDATE SET last_sign_in_time = EXCLUDED.last_sign_in_time
        RETURNING account_id
    ), account AS (
        INSERT INTO accounts (id, realm, create_time)
        SELECT wallet.account_id, $4, signing.now FROM wallet, signing WHERE wallet.account_id = $9
    ), redeemed AS (
        UPDATE challenges
        SET redeem_time = signing.now, redeem_session_id = COALESCE(signing.session_id, $10),
            request_digest = $15, verification_method = $16, verification_block = $17
        FROM signing WHERE challenges.id = $1
    ), activated AS (
        UPDATE sessions SET
            account_id = wallet.account_id, wallet_address = $6, wallet_network = $7, wallet_kind = $8,
            authenticate_time = signing.now, update_time = signing.now, expire_time = signing.deadline,
            latest_expire_time = LEAST(signing.hard_deadline, signing.deadline + interval '1 day'),
            hard_expire_time = signing.hard_deadline, refresh_generation = 1, refresh_fingerprint = $11,
            refresh_step_time = signing.now, access_expire_time = signing.access_deadline
        FROM signing, wallet WHERE sessions.id = signing.session_id
        RETURNING sessions.*
    ), created AS (
        INSERT INTO sessions (id, client_id, signing_address, signing_network, deposit_address, deposit_network,
                              create_time, update_time, expire_time, latest_expire_time, account_id,
                              wallet_address, wallet_network, wallet_kind, authenticate_time,
                              hard_expire_time, refresh_generation, refresh_fingerprint, refresh_step_time,
                              access_expire_time)
        SELECT $10, $2, $6, $7, $6, $7, now, now, deadline,
               LEAST(hard_deadline, deadline + interval '1 day'), wallet.account_id,
               $6, $7, $8, now, hard_deadline, 1, $11, now, access_deadline
        FROM signing, wallet WHERE signing.session_id IS NULL
        RETURNING *
    )
    SELECT verdict, now,
           1 / CASE WHEN session.id IS NULL OR clock_timestamp() < last_moment THEN 1 ELSE 0 END AS in_time,
           (SELECT accounts.create_time FROM accounts WHERE accounts.id = account_id) AS account_create_time, ",
    session_columns!(),
    " FROM (SELECT verdict, now, last_moment FROM verdict) AS verdict
    LEFT JOIN (SELECT * FROM activated UNION ALL SELECT * FROM created) AS session ON TRUE"
);
