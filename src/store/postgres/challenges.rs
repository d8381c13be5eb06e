//! Challenges, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{postgres::PgArguments, query::Query};

use super::{Postgres, bound_lock_waits, retry_if_missing, rows};
use crate::{
    domain::{AccountId, Challenge, Network, SessionId},
    store::{
        ChallengeKey, ChallengeScope, ChallengeStore, FOUND_LIMIT, FoundChallenge, LIVE_CHALLENGE_LIMIT,
        NewChallenge, Result,
        sql_fragments::{challenge_columns, expected_networks, sign_in_in_scope},
    },
};

#[async_trait]
impl ChallengeStore for Postgres {
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge> {
        self.retrying(async || {
            let query = beside_equal(ISSUE, &challenge, LIVE_CHALLENGE_LIMIT)
                .bind(challenge.id.uuid())
                .bind(challenge.nonce.as_str())
                .bind(challenge.content.text())
                .bind(challenge.content.typed_data())
                .bind(challenge.create_time)
                .bind(challenge.expire_time)
                .bind(challenge.link_to.map(AccountId::uuid));
            rows::challenge(&retry_if_missing(query.fetch_optional(&mut *self.connection().await?).await?)?)
        })
        .await
    }

    async fn equal_challenge(&self, challenge: &NewChallenge) -> Result<Option<Challenge>> {
        self.retrying(async || {
            let found =
                beside_equal(FIND_EQUAL, challenge, 0).fetch_optional(&mut *self.connection().await?).await?;
            found.as_ref().map(rows::challenge).transpose()
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
                .fetch_all(&mut *self.connection().await?)
                .await?
                .iter()
                .map(rows::found_challenge)
                .collect::<Result<Vec<FoundChallenge>>>()
        })
        .await
    }
}

/// Binds the scope and the content of a challenge, and how many live ones there must be before one is handed out again.
fn beside_equal<'q>(
    statement: &'static str,
    challenge: &'q NewChallenge,
    least: usize,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(challenge.signer.as_ref().map(|signer| signer.address.as_str()))
        .bind(challenge.client_id.uuid())
        .bind(challenge.signer.as_ref().map(|signer| signer.network.as_str()))
        .bind(challenge.format.as_str())
        .bind(challenge.purpose().as_str())
        .bind(challenge.session_id.map(SessionId::uuid))
        .bind(challenge.content_digest.as_slice())
        .bind(i64::try_from(least).unwrap_or(i64::MAX))
}

/// $1 address, $2 client, $3 network, $4 format, $5 purpose, $6 session, $7 digest of the content, $8 the least number of
/// live ones: what look-ups by address see of a scope, and the challenge that is handed out again. Where anybody may sign,
/// the address is NULL and nothing is found.
macro_rules! equal {
    () => {
        "held AS MATERIALIZED (
            SELECT * FROM challenges
            WHERE address = $1 AND client_id = $2 AND network = $3 AND format = $4 AND purpose = $5
              AND COALESCE(session_id, '00000000-0000-0000-0000-000000000000')
                = COALESCE($6, '00000000-0000-0000-0000-000000000000')
              AND slot IS NOT NULL
        ), live AS MATERIALIZED (
            SELECT *, row_number() OVER (ORDER BY id DESC) AS place FROM held
            WHERE redeem_time IS NULL AND expire_time > clock_timestamp()
        ), equal AS MATERIALIZED (
            SELECT * FROM live
            WHERE content_digest = $7 AND expire_time - clock_timestamp() >= (expire_time - create_time) / 2
              AND (SELECT count(*) FROM live) >= $8
            ORDER BY id DESC LIMIT 1
        )"
    };
}

const FIND_EQUAL: &str = concat!("WITH ", equal!(), " SELECT ", challenge_columns!(), " FROM equal");

/// As above, $9 id, $10 nonce, $11 text, $12 typed data, $13 create, $14 expire, $15 account to link to. Displaced and
/// ended challenges lose their slots in id order, unless another transaction has locked them. The slot is random in a
/// large range; on a rare collision the slower caller gets no row and retries.
const ISSUE: &str = concat!(
    bound_lock_waits!(),
    equal!(),
    ", leaving AS MATERIALIZED (
        SELECT challenges.id FROM challenges, held, bound
        WHERE challenges.id = held.id AND held.id NOT IN (SELECT id FROM live WHERE place < $8)
          AND NOT EXISTS (SELECT FROM equal)
        ORDER BY challenges.id FOR UPDATE OF challenges SKIP LOCKED
    ), freed AS (
        UPDATE challenges SET slot = NULL FROM leaving WHERE challenges.id = leaving.id
    ), issued AS (
        INSERT INTO challenges (id, client_id, session_id, purpose, format, nonce, message, typed_data_json,
                                create_time, expire_time, account_id, address, network, content_digest, slot)
        SELECT $9, $2, $6, $5, $4, $10, $11, $12, $13, $14, $15, $1, $3, $7,
               CASE WHEN $1 IS NOT NULL THEN (random() * 32767)::smallint END
        WHERE NOT EXISTS (SELECT FROM equal)
        ON CONFLICT DO NOTHING
        RETURNING *
    )
    SELECT ",
    challenge_columns!(),
    " FROM issued UNION ALL SELECT ",
    challenge_columns!(),
    " FROM equal"
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

/// Challenges of [`FIND_BY_ADDRESS`] that can be redeemed. The clock is a constant of the statement, so that an index on
/// deadlines serves.
macro_rules! live_at_address {
    () => {
        concat!(
            "address = $3 AND ($4::text IS NULL OR network = $4) AND redeem_time IS NULL \
             AND expire_time > (SELECT now FROM clock) AND ",
            sign_in_in_scope!("$1", "$2::uuid")
        )
    };
}

/// As above, $3 address, $4 network if one is given, $5 bound on each kind.
///
/// On any network, `challenges_by_address` is read in deadline order, so no ended row is read, and no more than the
/// bound. `COALESCE` keeps the planner from `challenges_live`, which would read every live row of a flood. On a given
/// network the few live rows are read.
const FIND_BY_ADDRESS: &str = concat!(
    "WITH clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now
    ), expected AS MATERIALIZED (",
    expected_networks!("$1", "$3"),
    "), own_expected AS MATERIALIZED (
        SELECT found.* FROM expected CROSS JOIN LATERAL (
            SELECT * FROM challenges
            WHERE challenges.network = expected.network AND slot IS NOT NULL
              AND COALESCE(session_id, '00000000-0000-0000-0000-000000000000')
                = COALESCE($2, '00000000-0000-0000-0000-000000000000') AND ",
    live_at_address!(),
    " ORDER BY expire_time DESC LIMIT $5
        ) AS found
        ORDER BY expire_time DESC LIMIT $5
    ), own AS MATERIALIZED (
        SELECT * FROM challenges
        WHERE session_id IS NOT DISTINCT FROM $2 AND COALESCE(slot, -1) >= 0 AND ",
    live_at_address!(),
    " ORDER BY expire_time DESC LIMIT $5
    ), bound AS MATERIALIZED (
        SELECT * FROM challenges
        WHERE $2 IS NULL AND session_id IS NOT NULL AND COALESCE(slot, -1) >= 0 AND ",
    live_at_address!(),
    " ORDER BY expire_time DESC LIMIT $5
    ), live AS MATERIALIZED (
        SELECT * FROM own_expected UNION SELECT * FROM own UNION SELECT * FROM bound
    ), newest AS MATERIALIZED (
        SELECT * FROM challenges
        WHERE address = $3 AND ($4::text IS NULL OR network = $4) AND NOT EXISTS (SELECT FROM live) AND ",
    sign_in_in_scope!("$1", "$2::uuid"),
    " ORDER BY expire_time DESC LIMIT 1
    )
    SELECT ",
    challenge_columns!(),
    ", redeem_time, now FROM (SELECT * FROM live UNION ALL SELECT * FROM newest) AS found, clock
    ORDER BY id DESC"
);
