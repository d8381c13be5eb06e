//! Challenges, on PostgreSQL.

use async_trait::async_trait;

use super::{Postgres, bound_lock_waits, retry_if_missing, rows};
use crate::{
    domain::{AccountId, Challenge, Network, SessionId},
    store::{
        ChallengeKey, ChallengeScope, ChallengeStore, FOUND_LIMIT, FoundChallenge, LIVE_CHALLENGE_LIMIT,
        NewChallenge, Result, sql_fragments::challenge_columns, sql_fragments::sign_in_in_scope,
    },
};

#[async_trait]
impl ChallengeStore for Postgres {
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge> {
        self.retrying(async || {
            let statement = if challenge.signer.is_some() { ISSUE } else { ISSUE_TO_ANYBODY };
            let query = sqlx::query(statement)
                .bind(challenge.id.uuid())
                .bind(challenge.client_id.uuid())
                .bind(challenge.session_id.map(SessionId::uuid))
                .bind(challenge.purpose().as_str())
                .bind(challenge.format.as_str())
                .bind(challenge.nonce.as_str())
                .bind(challenge.content.text())
                .bind(challenge.content.typed_data())
                .bind(challenge.create_time)
                .bind(challenge.expire_time)
                .bind(challenge.link_to.map(AccountId::uuid));
            let query = match &challenge.signer {
                None => query,
                Some(signer) => query
                    .bind(signer.address.as_str())
                    .bind(signer.network.as_str())
                    .bind(i32::try_from(LIVE_CHALLENGE_LIMIT).unwrap_or(i32::MAX)),
            };
            rows::challenge(&retry_if_missing(query.fetch_optional(&self.pool).await?)?)
        })
        .await
    }

    async fn find_challenges(
        &self,
        scope: ChallengeScope,
        key: ChallengeKey,
        network: Option<Network>,
    ) -> Result<Vec<FoundChallenge>> {
        self.retrying(async || {
            let scoped = |statement| {
                let client_id = scope.client_id.uuid();
                sqlx::query(statement).bind(client_id).bind(scope.session_id.map(SessionId::uuid))
            };
            let query = match &key {
                ChallengeKey::Id(id) => scoped(FIND_BY_ID).bind(id.uuid()),
                ChallengeKey::Nonce(nonce) => scoped(FIND_BY_NONCE).bind(nonce.as_str()),
                ChallengeKey::Address(address) => scoped(FIND_BY_ADDRESS)
                    .bind(address.as_str())
                    .bind(network.as_ref().map(Network::as_str))
                    .bind(i64::from(FOUND_LIMIT)),
            };
            query
                .fetch_all(&self.pool)
                .await?
                .iter()
                .map(rows::found_challenge)
                .collect::<Result<Vec<FoundChallenge>>>()
        })
        .await
    }
}

/// $1 id, $2 client, $3 session, $4 purpose, $5 format, $6 nonce, $7 text, $8 typed data, $9 create,
/// $10 expire, $11 account to link to. Where anybody may sign, nobody's other challenges count.
const ISSUE_TO_ANYBODY: &str = concat!(
    "INSERT INTO challenges (id, client_id, session_id, purpose, format, nonce, message, typed_data_json,
                             create_time, expire_time, account_id)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     RETURNING ",
    challenge_columns!()
);

/// As above, $12 address, $13 network, $14 limit. Each live one holds a slot, and the unique index on slots is what
/// keeps two callers from both taking the last: the slower one gets no row, and tries again. Slots of dead
/// ones are freed in the order of their ids, and only those that nobody else is freeing.
const ISSUE: &str = concat!(
    bound_lock_waits!(),
    "held AS MATERIALIZED (
        SELECT * FROM challenges
        WHERE address = $12 AND client_id = $2 AND network = $13 AND format = $5 AND purpose = $4
          AND COALESCE(session_id, '00000000-0000-0000-0000-000000000000')
            = COALESCE($3, '00000000-0000-0000-0000-000000000000')
          AND slot IS NOT NULL
    ), live AS MATERIALIZED (
        SELECT * FROM held WHERE redeem_time IS NULL AND expire_time > clock_timestamp()
    ), dead AS MATERIALIZED (
        SELECT challenges.id FROM challenges, held, bound
        WHERE challenges.id = held.id AND held.id NOT IN (SELECT id FROM live)
        ORDER BY challenges.id FOR UPDATE OF challenges SKIP LOCKED
    ), freed AS (
        UPDATE challenges SET slot = NULL FROM dead WHERE challenges.id = dead.id RETURNING challenges.id
    ), issued AS (
        INSERT INTO challenges (id, client_id, session_id, purpose, format, nonce, message, typed_data_json,
                                create_time, expire_time, account_id, address, network, slot)
        SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, free.slot
        FROM (SELECT slot FROM generate_series(0, $14 - 1) AS slot
              WHERE slot NOT IN (SELECT slot FROM held WHERE id NOT IN (SELECT id FROM freed))
              ORDER BY random() LIMIT 1) AS free
        WHERE (SELECT count(*) FROM live) < $14
        ON CONFLICT DO NOTHING
        RETURNING *
    )
    SELECT ",
    challenge_columns!(),
    " FROM issued
    UNION ALL (
        SELECT ",
    challenge_columns!(),
    " FROM live WHERE (SELECT count(*) FROM live) >= $14 ORDER BY id DESC LIMIT 1
    )"
);

/// $1 client, $2 session if it must be bound to one, $3 id.
const FIND_BY_ID: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, clock_timestamp() AS now FROM challenges WHERE id = $3 AND ",
    sign_in_in_scope!("$1", "$2::uuid")
);

/// As above, $3 nonce.
const FIND_BY_NONCE: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, clock_timestamp() AS now FROM challenges WHERE nonce = $3 AND ",
    sign_in_in_scope!("$1", "$2::uuid"),
    " ORDER BY id DESC"
);

/// As above, $3 address, $4 network if one is given, $5 how many: the live ones, or else the newest.
const FIND_BY_ADDRESS: &str = concat!(
    "WITH live AS MATERIALIZED (
        SELECT *, clock_timestamp() AS now FROM challenges
        WHERE address = $3 AND ($4::text IS NULL OR network = $4)
          AND slot IS NOT NULL AND redeem_time IS NULL AND expire_time > clock_timestamp() AND ",
    sign_in_in_scope!("$1", "$2::uuid"),
    " ORDER BY id DESC LIMIT $5
    ), newest AS MATERIALIZED (
        SELECT *, clock_timestamp() AS now FROM challenges
        WHERE address = $3 AND ($4::text IS NULL OR network = $4) AND NOT EXISTS (SELECT FROM live) AND ",
    sign_in_in_scope!("$1", "$2::uuid"),
    " ORDER BY id DESC LIMIT 1
    )
    SELECT ",
    challenge_columns!(),
    ", redeem_time, now FROM (SELECT * FROM live UNION ALL SELECT * FROM newest) AS found
    ORDER BY id DESC"
);
