//! Challenges, on SQLite.

use async_trait::async_trait;
use sqlx::{Row as _, query::Query, sqlite::SqliteArguments};

use super::{Sqlite, retrying, rows, write_transaction::WriteTransaction};
use crate::{
    domain::{AccountId, Address, Challenge, ChallengePurpose, Network, SessionId},
    store::{
        ChallengeKey, ChallengeScope, ChallengeStore, FOUND_ELSEWHERE, FOUND_EXPECTED, FoundChallenge,
        LIVE_CHALLENGE_LIMIT, NewChallenge, Result, ReusableChallenge,
        challenges::{READ_OF_SESSIONS, REUSABLE_LIMIT},
        sql_fragments::{challenge_columns, expected_networks, known_format, sign_in_in_scope},
    },
};

#[async_trait]
impl ChallengeStore for Sqlite {
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let equal = beside_equal(FIND_EQUAL, &challenge);
            let issued = match equal.fetch_optional(&mut *tx).await? {
                Some(equal) => rows::challenge(&equal)?,
                None => add(&mut tx, &challenge).await?,
            };
            tx.commit().await?;
            Ok(issued)
        })
        .await
    }

    async fn reusable_challenges(
        &self,
        scope: ChallengeScope,
        purpose: ChallengePurpose,
        address: &Address,
    ) -> Result<Vec<ReusableChallenge>> {
        retrying(async || {
            sqlx::query(REUSABLE)
                .bind(scope.client_id.uuid())
                .bind(scope.session_id.map(SessionId::uuid))
                .bind(address.as_str())
                .bind(purpose.as_str())
                .bind(REUSABLE_LIMIT)
                .fetch_all(&self.reader)
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
        retrying(async || {
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
                    .bind(FOUND_EXPECTED)
                    .bind(FOUND_ELSEWHERE)
                    .bind(READ_OF_SESSIONS),
            };
            query
                .fetch_all(&self.reader)
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
) -> Query<'q, sqlx::Sqlite, SqliteArguments> {
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

/// ?1 address, ?2 client, ?3 network, ?4 format, ?5 purpose, ?6 session: the challenges of a scope that look-ups by address
/// return. Without an address nothing is found.
macro_rules! live_in_scope {
    () => {
        "SELECT challenges.* FROM challenges, clock
         WHERE address = ?1 AND client_id = ?2 AND network = ?3 AND format = ?4 AND purpose = ?5
           AND session_id IS ?6 AND redeem_time IS NULL AND NOT displaced AND expire_time > now"
    };
}

/// At least half of a challenge's life is left.
macro_rules! half_of_life_left {
    () => {
        "expire_time - now >= (expire_time - create_time) / 2.0"
    };
}

/// As above, ?7 digest of the content, ?8 the least number of live ones: the challenge that is returned again.
const FIND_EQUAL: &str = concat!(
    "WITH live AS MATERIALIZED (",
    live_in_scope!(),
    ") SELECT ",
    challenge_columns!(),
    " FROM live, clock
     WHERE content_digest = ?7 AND ",
    half_of_life_left!(),
    " AND (SELECT count(*) FROM live) >= ?8
     ORDER BY id DESC LIMIT 1"
);

/// As above, without ?7: displaces those beyond the limit less one.
const DISPLACE: &str = concat!(
    "UPDATE challenges SET displaced = TRUE WHERE id IN (SELECT id FROM (",
    live_in_scope!(),
    ") ORDER BY id DESC LIMIT -1 OFFSET ?8 - 1)"
);

/// ?1 id, ?2 client, ?3 session, ?4 purpose, ?5 format, ?6 nonce, ?7 text, ?8 typed data, ?9 address,
/// ?10 network, ?11 create, ?12 expire, ?13 account to link to, ?14 digest of the content.
const ADD: &str = concat!(
    "INSERT INTO challenges (id, client_id, session_id, purpose, format, nonce, message, typed_data_json,
                             address, network, create_time, expire_time, account_id, content_digest)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
     RETURNING ",
    challenge_columns!()
);

/// ?1 client, ?2 session if it must be bound to one, ?3 id.
const FIND_BY_ID: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, (SELECT now FROM clock) AS now, FALSE AS cut FROM challenges WHERE id = ?3 AND ",
    sign_in_in_scope!("?1", "?2")
);

/// As above, ?3 nonce.
const FIND_BY_NONCE: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, (SELECT now FROM clock) AS now, FALSE AS cut FROM challenges WHERE nonce = ?3 AND ",
    sign_in_in_scope!("?1", "?2"),
    " ORDER BY id DESC"
);

/// ?1 client, ?2 session, ?3 address: the challenges of exactly the scope's session, or of none, that look-ups by address
/// return.
macro_rules! own {
    () => {
        "address = ?3 AND client_id = ?1 AND session_id IS ?2 AND NOT displaced"
    };
}

/// ?1 client, ?2 session, ?3 address, ?4 purpose, ?5 bound on what is read.
const REUSABLE: &str = concat!(
    "WITH latest AS MATERIALIZED (
         SELECT * FROM challenges INDEXED BY challenges_by_address WHERE ",
    own!(),
    " AND purpose = ?4 AND expire_time > (SELECT now FROM clock) ORDER BY expire_time DESC LIMIT ?5
     ) SELECT ",
    challenge_columns!(),
    ", content_digest FROM latest, clock WHERE redeem_time IS NULL AND content_digest IS NOT NULL AND ",
    known_format!(),
    " AND ",
    half_of_life_left!(),
    " ORDER BY id DESC"
);

/// Challenges of [`FIND_BY_ADDRESS`] that can be redeemed.
macro_rules! is_live {
    () => {
        concat!("redeem_time IS NULL AND expire_time > (SELECT now FROM clock) AND ", known_format!())
    };
}

/// Condition for challenges of any session of the client.
macro_rules! of_sessions {
    () => {
        "?2 IS NULL AND session_id IS NOT NULL AND address = ?3 AND client_id = ?1 AND purpose = 'SIGN_IN'
           AND NOT displaced"
    };
}

/// ?1 client, ?2 session if it must be bound to one, ?3 address, ?4 network if one is given, ?5 bound on those of expected
/// networks, ?6 bound on each other kind, ?7 bound on those of sessions that are read. One more of each kind is read than
/// returned, which shows whether the look-up is cut. No part reads more than its bound of the rows that others can add, in
/// deadline order. Ended rows are read only where nothing is live: a limit of zero reads no row, whereas SQLite would
/// evaluate a condition with a subquery for each.
const FIND_BY_ADDRESS: &str = concat!(
    "WITH expected AS MATERIALIZED (",
    expected_networks!("?1", "?3"),
    " UNION SELECT ?4
     ), own_expected AS MATERIALIZED (
         SELECT *, row_number() OVER (PARTITION BY network, format ORDER BY id DESC) AS place
         FROM challenges INDEXED BY challenges_live
         WHERE network IN (SELECT network FROM expected) AND (?4 IS NULL OR network = ?4) AND purpose = 'SIGN_IN' AND ",
    own!(),
    " AND ",
    is_live!(),
    " ORDER BY place, id DESC LIMIT ?5 + 1
     ), own AS MATERIALIZED (
         SELECT * FROM challenges INDEXED BY challenges_by_address WHERE ?4 IS NULL AND purpose = 'SIGN_IN' AND ",
    own!(),
    " AND ",
    is_live!(),
    " ORDER BY expire_time DESC LIMIT ?6 + 1
     ), of_sessions AS MATERIALIZED (
         SELECT * FROM challenges INDEXED BY challenges_of_sessions WHERE expire_time > (SELECT now FROM clock) AND ",
    of_sessions!(),
    " ORDER BY expire_time DESC LIMIT ?7
     ), bound AS MATERIALIZED (
         SELECT * FROM of_sessions WHERE (?4 IS NULL OR network = ?4) AND ",
    is_live!(),
    " ORDER BY expire_time DESC LIMIT ?6 + 1
     ), live AS MATERIALIZED (
         SELECT * FROM (SELECT ",
    challenge_columns!(),
    ", redeem_time FROM own_expected ORDER BY place, id DESC LIMIT ?5)
         UNION SELECT * FROM (SELECT ",
    challenge_columns!(),
    ", redeem_time FROM own ORDER BY expire_time DESC LIMIT ?6)
         UNION SELECT * FROM (SELECT ",
    challenge_columns!(),
    ", redeem_time FROM bound ORDER BY expire_time DESC LIMIT ?6)
     ), newest AS MATERIALIZED (
         SELECT * FROM (
             SELECT * FROM (
                 SELECT * FROM challenges INDEXED BY challenges_by_address WHERE purpose = 'SIGN_IN' AND ",
    own!(),
    " ORDER BY expire_time DESC LIMIT ?6 * (NOT EXISTS (SELECT 1 FROM live)))
             UNION ALL
             SELECT * FROM (
                 SELECT * FROM challenges INDEXED BY challenges_of_sessions WHERE ",
    of_sessions!(),
    " ORDER BY expire_time DESC LIMIT ?6 * (NOT EXISTS (SELECT 1 FROM live)))
         ) WHERE (?4 IS NULL OR network = ?4) AND ",
    known_format!(),
    " ORDER BY expire_time DESC LIMIT 1
     )
     SELECT ",
    challenge_columns!(),
    ", redeem_time, (SELECT now FROM clock) AS now,
            (SELECT count(*) FROM own_expected) > ?5 OR (SELECT count(*) FROM own) > ?6
                OR (SELECT count(*) FROM bound) > ?6 OR (SELECT count(*) FROM of_sessions) >= ?7 AS cut
     FROM (SELECT * FROM live UNION ALL SELECT ",
    challenge_columns!(),
    ", redeem_time FROM newest)
     ORDER BY id DESC"
);

/// Adds a challenge; at the limit the oldest makes room.
async fn add(tx: &mut WriteTransaction, challenge: &NewChallenge) -> Result<Challenge> {
    beside_equal(DISPLACE, challenge).execute(&mut **tx).await?;
    let row = sqlx::query(ADD)
        .bind(challenge.id.uuid())
        .bind(challenge.client_id.uuid())
        .bind(challenge.session_id.map(SessionId::uuid))
        .bind(challenge.purpose().as_str())
        .bind(challenge.format.as_str())
        .bind(challenge.nonce.as_str())
        .bind(challenge.content.text())
        .bind(challenge.content.typed_data())
        .bind(challenge.signer.as_ref().map(|signer| signer.address.as_str()))
        .bind(challenge.signer.as_ref().map(|signer| signer.network.as_str()))
        .bind(rows::to_millis(challenge.create_time))
        .bind(rows::to_millis(challenge.expire_time))
        .bind(challenge.link_to.map(AccountId::uuid))
        .bind(challenge.content_digest.as_slice())
        .fetch_one(&mut **tx)
        .await?;
    rows::challenge(&row)
}
