//! Challenges, on SQLite.

use async_trait::async_trait;

use super::{Sqlite, retrying, rows, write_transaction::WriteTransaction};
use crate::{
    domain::{AccountId, Challenge, Network, SessionId},
    store::{
        ChallengeKey, ChallengeScope, ChallengeStore, FOUND_LIMIT, FoundChallenge, LIVE_CHALLENGE_LIMIT,
        NewChallenge, Result, sql_fragments::challenge_columns, sql_fragments::sign_in_in_scope,
    },
};

#[async_trait]
impl ChallengeStore for Sqlite {
    async fn issue_challenge(&self, challenge: NewChallenge) -> Result<Challenge> {
        retrying(async || {
            let mut tx = self.begin().await?;
            let issued = match newest_at_limit(&mut tx, &challenge).await? {
                Some(newest) => newest,
                None => add(&mut tx, &challenge).await?,
            };
            tx.commit().await?;
            Ok(issued)
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
                    .bind(FOUND_LIMIT),
            };
            query
                .fetch_all(&self.reader)
                .await?
                .iter()
                .map(rows::found_challenge)
                .collect::<Result<Vec<FoundChallenge>>>()
        })
        .await
    }
}

/// ?1 client, ?2 session, ?3 purpose, ?4 format, ?5 address, ?6 network, ?7 limit: the live ones of a
/// scope.
const LIVE: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    " FROM challenges, clock
     WHERE client_id = ?1 AND session_id IS ?2 AND purpose = ?3 AND format = ?4
       AND address = ?5 AND network = ?6 AND redeem_time IS NULL AND expire_time > now
     ORDER BY id DESC LIMIT ?7"
);

/// ?1 id, ?2 client, ?3 session, ?4 purpose, ?5 format, ?6 nonce, ?7 text, ?8 typed data, ?9 address,
/// ?10 network, ?11 create, ?12 expire, ?13 account to link to.
const ADD: &str = concat!(
    "INSERT INTO challenges (id, client_id, session_id, purpose, format, nonce, message, typed_data_json,
                             address, network, create_time, expire_time, account_id)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
     RETURNING ",
    challenge_columns!()
);

/// ?1 client, ?2 session if it must be bound to one, ?3 id.
const FIND_BY_ID: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, (SELECT now FROM clock) AS now FROM challenges WHERE id = ?3 AND ",
    sign_in_in_scope!("?1", "?2")
);

/// As above, ?3 nonce.
const FIND_BY_NONCE: &str = concat!(
    "SELECT ",
    challenge_columns!(),
    ", redeem_time, (SELECT now FROM clock) AS now FROM challenges WHERE nonce = ?3 AND ",
    sign_in_in_scope!("?1", "?2"),
    " ORDER BY id DESC"
);

/// As above, ?3 address, ?4 network if one is given, ?5 how many: the live ones, or else the newest.
const FIND_BY_ADDRESS: &str = concat!(
    "WITH live AS MATERIALIZED (
         SELECT ",
    challenge_columns!(),
    ", redeem_time, now FROM challenges, clock
         WHERE address = ?3 AND (?4 IS NULL OR network = ?4) AND redeem_time IS NULL AND expire_time > now AND ",
    sign_in_in_scope!("?1", "?2"),
    " ORDER BY id DESC LIMIT ?5
     ), newest AS MATERIALIZED (
         SELECT ",
    challenge_columns!(),
    ", redeem_time, (SELECT now FROM clock) AS now FROM challenges
         WHERE address = ?3 AND (?4 IS NULL OR network = ?4) AND NOT EXISTS (SELECT 1 FROM live) AND ",
    sign_in_in_scope!("?1", "?2"),
    " ORDER BY id DESC LIMIT 1
     )
     SELECT * FROM live UNION ALL SELECT * FROM newest ORDER BY id DESC"
);

/// The newest live challenge of a scope that has as many as it may. Where anybody may sign, there is no limit.
async fn newest_at_limit(tx: &mut WriteTransaction, wanted: &NewChallenge) -> Result<Option<Challenge>> {
    let Some(signer) = &wanted.signer else { return Ok(None) };
    let live = sqlx::query(LIVE)
        .bind(wanted.client_id.uuid())
        .bind(wanted.session_id.map(SessionId::uuid))
        .bind(wanted.purpose().as_str())
        .bind(wanted.format.as_str())
        .bind(signer.address.as_str())
        .bind(signer.network.as_str())
        .bind(i64::try_from(LIVE_CHALLENGE_LIMIT).unwrap_or(i64::MAX))
        .fetch_all(&mut **tx)
        .await?;
    let newest = live.first().filter(|_| live.len() >= LIVE_CHALLENGE_LIMIT);
    newest.map(rows::challenge).transpose()
}

async fn add(tx: &mut WriteTransaction, challenge: &NewChallenge) -> Result<Challenge> {
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
        .fetch_one(&mut **tx)
        .await?;
    rows::challenge(&row)
}
