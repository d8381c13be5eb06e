//! Challenges, on PostgreSQL.

use async_trait::async_trait;
use sqlx::{Row as _, postgres::PgArguments, query::Query};

use super::{Postgres, bound_lock_waits, retry_if_missing, rows};
use crate::{
    domain::{AccountId, Address, Challenge, ChallengePurpose, Network, SessionId},
    store::{
        ChallengeKey, ChallengeScope, ChallengeStore, FOUND_ELSEWHERE, FOUND_EXPECTED, FoundChallenge,
        LIVE_CHALLENGE_LIMIT, NewChallenge, Result, ReusableChallenge,
        challenges::{READ_OF_SESSIONS, REUSABLE_LIMIT},
        sql_fragments::{challenge_columns, expected_networks, format_rows, known_format, sign_in_in_scope},
    },
};

#[async_trait]
impl ChallengeStore for Postgres {
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge> {
        self.retrying(async || {
            let query = beside_equal(ISSUE, &challenge)
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

    async fn reusable_challenges(
        &self,
        scope: ChallengeScope,
        purpose: ChallengePurpose,
        address: &Address,
    ) -> Result<Vec<ReusableChallenge>> {
        self.retrying(async || {
            sqlx::query(REUSABLE)
                .bind(scope.client_id.uuid())
                .bind(scope.session_id.map(SessionId::uuid))
                .bind(address.as_str())
                .bind(purpose.as_str())
                .bind(i64::from(REUSABLE_LIMIT))
                .fetch_all(&mut *self.connection().await?)
                .await?
                .iter()
                .map(rows::reusable_challenge)
                .collect()
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
                    .bind(i64::from(FOUND_EXPECTED))
                    .bind(i64::from(FOUND_ELSEWHERE))
                    .bind(i64::from(READ_OF_SESSIONS)),
            };
            query
                .fetch_all(&mut *self.connection().await?)
                .await?
                .iter()
                .map(|row| Ok(FoundChallenge { cut: row.try_get("cut")?, ..rows::found_challenge(row)? }))
                .collect::<Result<Vec<FoundChallenge>>>()
        })
        .await
    }
}

/// Binds the scope and the content of a challenge, and the number of live ones from which one is returned again.
fn beside_equal<'q>(
    statement: &'static str,
    challenge: &'q NewChallenge,
) -> Query<'q, sqlx::Postgres, PgArguments> {
    sqlx::query(statement)
        .bind(challenge.signer.as_ref().map(|signer| signer.address.as_str()))
        .bind(challenge.client_id.uuid())
        .bind(challenge.signer.as_ref().map(|signer| signer.network.as_str()))
        .bind(challenge.format.as_str())
        .bind(challenge.purpose().as_str())
        .bind(challenge.session_id.map(SessionId::uuid))
        .bind(challenge.content_digest.as_slice())
        .bind(i64::try_from(LIVE_CHALLENGE_LIMIT).unwrap_or(i64::MAX))
}

/// At least half of a challenge's life is left.
macro_rules! half_of_life_left {
    () => {
        "expire_time - clock_timestamp() >= (expire_time - create_time) / 2"
    };
}

/// $1 address, $2 client, $3 network, $4 format, $5 purpose, $6 session, $7 digest of the content, $8 the least number of
/// live ones: the challenges of a scope that look-ups by address return, and the one that is returned again. Without an
/// address nothing is found.
macro_rules! equal {
    () => {
        concat!(
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
            WHERE content_digest = $7 AND ",
            half_of_life_left!(),
            " AND (SELECT count(*) FROM live) >= $8
            ORDER BY id DESC LIMIT 1
        )"
        )
    };
}

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
    ", redeem_time, clock_timestamp() AS now, FALSE AS cut FROM challenges WHERE id = $3 AND ",
    sign_in_in_scope!("$1", "$2::uuid")
);

/// As above, $3 nonce.
const FIND_BY_NONCE: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, clock_timestamp() AS now, FALSE AS cut FROM challenges WHERE nonce = $3 AND ",
    sign_in_in_scope!("$1", "$2::uuid"),
    " ORDER BY id DESC"
);

/// $1 client, $2 session, $3 address: exactly the scope's session, or none.
macro_rules! own {
    () => {
        "address = $3 AND client_id = $1 AND COALESCE(session_id, '00000000-0000-0000-0000-000000000000') \
           = COALESCE($2::uuid, '00000000-0000-0000-0000-000000000000')"
    };
}

/// Condition for challenges that look-ups by address return, as the indexes in deadline order state it. With
/// `slot IS NOT NULL` instead, only `challenges_live` fits, so the wording decides which index is used.
macro_rules! by_deadline {
    () => {
        "COALESCE(slot, -1) >= 0"
    };
}

/// The deadline as the indexes of [`by_deadline`] have it. `challenges_by_end` has none of this form: by it, a look-up would
/// skip the rows of all other addresses.
macro_rules! deadline {
    () => {
        "(expire_time AT TIME ZONE 'UTC')"
    };
}

/// The challenge has not expired at the statement's clock, as the indexes of [`by_deadline`] have it.
macro_rules! unexpired {
    () => {
        concat!(deadline!(), " > (SELECT now AT TIME ZONE 'UTC' FROM clock)")
    };
}

/// $1 client, $2 session, $3 address, $4 purpose, $5 bound on what is read.
const REUSABLE: &str = concat!(
    "WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now), latest AS MATERIALIZED (
        SELECT * FROM challenges WHERE ",
    own!(),
    " AND purpose = $4 AND ",
    by_deadline!(),
    " AND ",
    unexpired!(),
    " ORDER BY ",
    deadline!(),
    " DESC LIMIT $5
    ) SELECT ",
    challenge_columns!(),
    ", content_digest FROM latest WHERE redeem_time IS NULL AND content_digest IS NOT NULL AND ",
    known_format!(),
    " AND ",
    half_of_life_left!(),
    " ORDER BY id DESC"
);

/// Challenges of [`FIND_BY_ADDRESS`] that can be redeemed. The clock is a constant of the statement, so that an index on
/// deadlines serves.
macro_rules! is_live {
    () => {
        concat!("redeem_time IS NULL AND ", unexpired!(), " AND ", known_format!())
    };
}

/// Condition for challenges of any session of the client.
macro_rules! of_sessions {
    () => {
        concat!(
            "$2::uuid IS NULL AND session_id IS NOT NULL AND address = $3 AND client_id = $1 \
             AND purpose = 'SIGN_IN' AND ",
            by_deadline!()
        )
    };
}

/// $1 client, $2 session if it must be bound to one, $3 address, $4 network if one is given, $5 bound on those of expected
/// networks, $6 bound on each other kind, $7 bound on those of sessions that are read. One more of each kind is read than
/// returned, which shows whether the look-up is cut.
///
/// No part reads more than its bound of the rows that others can add: on a given network `challenges_live` has the few of
/// one session, and everything else is read in deadline order. Ended rows are read only where nothing is live.
const FIND_BY_ADDRESS: &str = concat!(
    "WITH clock AS MATERIALIZED (
        SELECT clock_timestamp() AS now
    ), expected AS MATERIALIZED (",
    expected_networks!("$1", "$3"),
    " UNION SELECT $4::text
    ), own_expected AS MATERIALIZED (
        SELECT found.*, row_number() OVER (PARTITION BY found.network, found.format ORDER BY found.id DESC) AS place
        FROM expected CROSS JOIN (",
    format_rows!(),
    ") AS formats (format) CROSS JOIN LATERAL (
            SELECT * FROM challenges
            WHERE challenges.network = expected.network AND challenges.format = formats.format AND slot IS NOT NULL AND purpose = 'SIGN_IN' AND ",
    own!(),
    " AND ",
    is_live!(),
    " ORDER BY id DESC LIMIT $5 + 1
        ) AS found
        WHERE $4::text IS NULL OR found.network = $4
        ORDER BY place, found.id DESC LIMIT $5 + 1
    ), own AS MATERIALIZED (
        SELECT * FROM challenges WHERE $4::text IS NULL AND purpose = 'SIGN_IN' AND ",
    by_deadline!(),
    " AND ",
    own!(),
    " AND ",
    is_live!(),
    " ORDER BY ",
    deadline!(),
    " DESC LIMIT $6 + 1
    ), of_sessions AS MATERIALIZED (
        SELECT * FROM challenges WHERE ",
    unexpired!(),
    " AND ",
    of_sessions!(),
    " ORDER BY ",
    deadline!(),
    " DESC LIMIT $7
    ), bound AS MATERIALIZED (
        SELECT * FROM of_sessions WHERE ($4::text IS NULL OR network = $4) AND ",
    is_live!(),
    " ORDER BY expire_time DESC LIMIT $6 + 1
    ), live AS MATERIALIZED (
        (SELECT ",
    challenge_columns!(),
    ", redeem_time FROM own_expected ORDER BY place, id DESC LIMIT $5) UNION (SELECT ",
    challenge_columns!(),
    ", redeem_time FROM own ORDER BY expire_time DESC LIMIT $6) UNION (SELECT ",
    challenge_columns!(),
    ", redeem_time FROM bound ORDER BY expire_time DESC LIMIT $6)
    ), newest AS MATERIALIZED (
        SELECT * FROM (
            (SELECT * FROM challenges WHERE NOT EXISTS (SELECT FROM live) AND purpose = 'SIGN_IN' AND ",
    by_deadline!(),
    " AND ",
    own!(),
    " ORDER BY ",
    deadline!(),
    " DESC LIMIT $6)
            UNION ALL
            (SELECT * FROM challenges WHERE NOT EXISTS (SELECT FROM live) AND ",
    of_sessions!(),
    " ORDER BY ",
    deadline!(),
    " DESC LIMIT $6)
            UNION ALL
            (SELECT * FROM challenges WHERE NOT EXISTS (SELECT FROM live) AND purpose = 'SIGN_IN'
                AND network = $4 AND slot IS NOT NULL AND ",
    own!(),
    ")
        ) AS ended WHERE ($4::text IS NULL OR network = $4) AND ",
    known_format!(),
    " ORDER BY expire_time DESC LIMIT 1
    )
    SELECT ",
    challenge_columns!(),
    ", redeem_time, now,
        (SELECT count(*) FROM own_expected) > $5 OR (SELECT count(*) FROM own) > $6
            OR (SELECT count(*) FROM bound) > $6 OR (SELECT count(*) FROM of_sessions) >= $7 AS cut
    FROM (SELECT * FROM live UNION ALL SELECT ",
    challenge_columns!(),
    ", redeem_time FROM newest) AS found, clock
    ORDER BY id DESC"
);
