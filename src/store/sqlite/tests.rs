//! What is SQLite's own: files, memory, locks, other processes. The rest is in `tests/store`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::{Executor as _, SqlitePool};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::Sqlite;
use crate::{
    domain::{
        AccountId, Address, ChallengeFormat, ChallengeId, ClientId, Content, Fingerprint, Network, Nonce,
        Party, Policy, RevokeReason, SessionId, SessionState, Verification, VerificationMethod, Wallet,
        WalletKind,
    },
    store::{
        ChallengeKey, ChallengeScope, ChallengeState, LIVE_CHALLENGE_LIMIT, Lifecycle as _, NewChallenge,
        NewClient, NewSession, OpenError, RedeemOutcome, Redemption, RotateOutcome, Rotation, SchemaState,
        Store, open,
    },
};

const ADDRESS: &str = "0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045";

/// A migrated store, in memory or in a file that lasts as long as this does.
struct Bench {
    store: Arc<dyn Store>,
    client_id: ClientId,
    directory: Option<TempDir>,
}

impl Bench {
    async fn both() -> [Self; 2] {
        [Self::on("sqlite::memory:", None).await, Self::in_file().await]
    }

    async fn in_file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::on(&url(&directory), Some(directory)).await
    }

    async fn on(url: &str, directory: Option<TempDir>) -> Self {
        let store = open(url).await.unwrap();
        assert!(matches!(store.schema().await.unwrap(), SchemaState::Behind(_)));
        assert!(store.migrate().await.unwrap() > 0);
        assert_eq!(store.schema().await.unwrap(), SchemaState::Current);
        let client = NewClient {
            id: ClientId::generate(),
            realm: "realm".to_owned(),
            policy: Policy { name: "Shop".to_owned(), ..Policy::default() },
            secret_hash: [7; 32],
        };
        let client_id = store.create_client(client).await.unwrap().id;
        Self { store, client_id, directory }
    }

    /// The same file, as another process sees it.
    async fn elsewhere(&self) -> SqlitePool {
        SqlitePool::connect(&url(self.directory.as_ref().unwrap())).await.unwrap()
    }

    async fn session(&self) -> SessionId {
        let party = Party { address: address(), network: Network::ethereum() };
        let id = SessionId::generate();
        let session = NewSession {
            id,
            client_id: self.client_id,
            token_hash: std::array::from_fn(|at| id.uuid().as_bytes()[at % 16]),
            signing: party.clone(),
            deposit: party,
            pending_ttl: Duration::from_mins(10),
        };
        self.store.create_session(session).await.unwrap().id
    }

    async fn challenge(&self, session_id: Option<SessionId>) -> ChallengeId {
        let now = self.store.now().await.unwrap();
        let id = ChallengeId::generate();
        let challenge = NewChallenge {
            id,
            client_id: self.client_id,
            session_id,
            link_to: None,
            format: ChallengeFormat::Text,
            nonce: Nonce::from_stored(id.uuid().simple().to_string()),
            content: Content::Text("Sign in".to_owned()),
            party: Some(Party { address: address(), network: Network::ethereum() }),
            create_time: now,
            expire_time: now + Duration::from_mins(2),
        };
        self.store.issue_challenge(challenge).await.unwrap().id
    }

    fn redemption(&self, challenge_id: ChallengeId) -> Redemption {
        Redemption {
            challenge_id,
            scope: ChallengeScope { client_id: self.client_id, session_id: None },
            realm: "realm".to_owned(),
            verification: Verification {
                wallet: Wallet { address: address(), network: Network::ethereum(), kind: WalletKind::Eoa },
                method: VerificationMethod::Eoa,
            },
            request_digest: None,
            new_account_id: AccountId::generate(),
            new_session_id: SessionId::generate(),
            fingerprint: Fingerprint([1; 8]),
            access_token_ttl: Duration::from_mins(30),
            refresh_token_ttl: Duration::from_hours(24),
            session_max_ttl: Duration::from_hours(48),
        }
    }

    async fn redeem(&self, challenge_id: ChallengeId) -> RedeemOutcome {
        redeem(self.store.clone(), self.redemption(challenge_id)).await
    }

    async fn signed_in(&self) -> SessionId {
        let outcome = self.redeem(self.challenge(None).await).await;
        let RedeemOutcome::SignedIn(signed_in) = outcome else { panic!("{outcome:?}") };
        signed_in.session.id
    }

    async fn rotate(&self, session_id: SessionId, generation: u32) -> RotateOutcome {
        let rotation = Rotation { session_id, generation, client_id: None, fingerprint: Fingerprint([2; 8]) };
        self.store.rotate_refresh_token(rotation).await.unwrap()
    }
}

async fn redeem(store: Arc<dyn Store>, redemption: Redemption) -> RedeemOutcome {
    store.redeem_challenge(redemption).await.unwrap()
}

fn url(directory: &TempDir) -> String {
    format!("sqlite:{}", directory.path().join("made/here/store.db").display())
}

fn address() -> Address {
    Address::from_canonical(ADDRESS.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_redeemers_one_signs_in_and_63_come_too_late() {
    for bench in Bench::both().await {
        let challenge_id = bench.challenge(None).await;
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let (store, redemption) = (bench.store.clone(), bench.redemption(challenge_id));
            tasks.spawn(redeem(store, redemption));
        }
        let outcomes = tasks.join_all().await;
        let of =
            |wanted: fn(&RedeemOutcome) -> bool| outcomes.iter().filter(|outcome| wanted(outcome)).count();
        assert_eq!(of(|outcome| matches!(outcome, RedeemOutcome::SignedIn(_))), 1);
        assert_eq!(of(|outcome| matches!(outcome, RedeemOutcome::AlreadyUsed)), 63);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_refreshes_one_steps_and_63_repeat_the_same_generation() {
    for bench in Bench::both().await {
        let session_id = bench.signed_in().await;
        let mut tasks = JoinSet::new();
        for task in 0..64 {
            let store = bench.store.clone();
            let fingerprint = Fingerprint([task; 8]);
            let rotation = Rotation { session_id, generation: 1, client_id: None, fingerprint };
            tasks.spawn(async move { store.rotate_refresh_token(rotation).await.unwrap() });
        }
        let (mut stepped, mut next) = (0, HashSet::new());
        for outcome in tasks.join_all().await {
            stepped += usize::from(matches!(outcome, RotateOutcome::Rotated(_)));
            let (RotateOutcome::Rotated(rotated) | RotateOutcome::Repeated(rotated)) = outcome else {
                panic!("{outcome:?}");
            };
            assert_eq!(rotated.session.state, SessionState::Active);
            next.insert((rotated.generation, rotated.fingerprint));
        }
        assert_eq!(stepped, 1);
        assert_eq!(next.len(), 1, "each of them has the same token");
        assert_eq!(next.iter().next().unwrap().0, 2);
    }
}

#[tokio::test]
async fn a_spent_refresh_token_revokes_its_session_for_good() {
    for bench in Bench::both().await {
        let session_id = bench.signed_in().await;
        assert!(matches!(bench.rotate(session_id, 1).await, RotateOutcome::Rotated(_)));
        assert!(matches!(bench.rotate(session_id, 2).await, RotateOutcome::Rotated(_)));
        let RotateOutcome::Reused(revoked, client_id) = bench.rotate(session_id, 1).await else {
            panic!("the spent one was taken");
        };
        assert_eq!((revoked, client_id), (session_id, bench.client_id));
        let session = bench.store.session(session_id).await.unwrap().unwrap();
        assert_eq!(session.state, SessionState::Revoked);
        assert_eq!(session.revocation.unwrap().reason, RevokeReason::RefreshTokenReused);
        assert!(matches!(bench.rotate(session_id, 3).await, RotateOutcome::Revoked));
    }
}

#[tokio::test]
async fn generations_that_never_were_are_unknown_and_change_nothing() {
    for bench in Bench::both().await {
        let session_id = bench.signed_in().await;
        for generation in [2, 1_000, i32::MAX.cast_unsigned(), u32::MAX] {
            assert!(matches!(bench.rotate(session_id, generation).await, RotateOutcome::Unknown));
        }
        assert!(matches!(bench.rotate(SessionId::generate(), 1).await, RotateOutcome::Unknown));
        assert!(matches!(bench.rotate(session_id, 1).await, RotateOutcome::Rotated(_)));
    }
}

#[tokio::test]
async fn a_session_is_signed_in_once_whichever_of_its_challenges_comes_first() {
    for bench in Bench::both().await {
        let session_id = bench.session().await;
        let [first, second] =
            [bench.challenge(Some(session_id)).await, bench.challenge(Some(session_id)).await];
        let RedeemOutcome::SignedIn(signed_in) = bench.redeem(first).await else { panic!("not signed in") };
        assert_eq!(signed_in.session.id, session_id);
        assert_eq!(signed_in.session.state, SessionState::Active);
        assert!(signed_in.account.created);
        assert_eq!(signed_in.account.create_time, signed_in.now);
        assert!(matches!(bench.redeem(second).await, RedeemOutcome::SessionAlreadyActive));
        let scope = ChallengeScope { client_id: bench.client_id, session_id: Some(session_id) };
        let found = bench.store.find_challenges(scope, ChallengeKey::Address(address()), None).await.unwrap();
        assert_eq!(found.len(), 1, "the second one is still live");
        assert_eq!((found[0].challenge.id, found[0].state), (second, ChallengeState::Live));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn first_sign_ins_of_one_wallet_at_once_make_one_account() {
    for bench in Bench::both().await {
        let mut tasks = JoinSet::new();
        for _ in 0..LIVE_CHALLENGE_LIMIT {
            let redemption = bench.redemption(bench.challenge(None).await);
            let store = bench.store.clone();
            tasks.spawn(redeem(store, redemption));
        }
        let accounts: Vec<_> = tasks
            .join_all()
            .await
            .into_iter()
            .map(|outcome| {
                let RedeemOutcome::SignedIn(signed_in) = outcome else { panic!("{outcome:?}") };
                signed_in.account
            })
            .collect();
        assert_eq!(accounts.iter().filter(|account| account.created).count(), 1);
        assert!(accounts.iter().all(|a| (a.id, a.create_time) == (accounts[0].id, accounts[0].create_time)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_of_live_challenges_the_newest_comes_again() {
    for bench in Bench::both().await {
        let bench = Arc::new(bench);
        let mut tasks = JoinSet::new();
        for _ in 0..64 {
            let bench = bench.clone();
            tasks.spawn(async move { bench.challenge(None).await });
        }
        let ids: HashSet<ChallengeId> = tasks.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), LIVE_CHALLENGE_LIMIT);
        assert_eq!(Some(&bench.challenge(None).await), ids.iter().max());
    }
}

#[tokio::test]
async fn what_has_expired_on_the_clock_of_the_store_is_expired() {
    let bench = Bench::in_file().await;
    let (session_id, challenge_id) = (bench.signed_in().await, bench.challenge(None).await);
    let other = bench.elsewhere().await;
    other.execute("UPDATE challenges SET expire_time = (SELECT now FROM clock)").await.unwrap();
    other.execute("UPDATE sessions SET expire_time = (SELECT now FROM clock)").await.unwrap();
    assert!(matches!(bench.redeem(challenge_id).await, RedeemOutcome::Expired));
    assert!(matches!(bench.rotate(session_id, 1).await, RotateOutcome::Expired));
    assert_eq!(bench.store.session(session_id).await.unwrap().unwrap().state, SessionState::Expired);
    let scope = ChallengeScope { client_id: bench.client_id, session_id: None };
    let found = bench.store.find_challenges(scope, ChallengeKey::Address(address()), None).await.unwrap();
    assert_eq!(found.len(), 1, "none is live: the newest");
    assert_eq!((found[0].challenge.id, found[0].state), (challenge_id, ChallengeState::Expired));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_open_and_migrate_one_new_file_at_once_all_succeed() {
    for _ in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let url = url(&directory);
            tasks.spawn(async move {
                let store = open(&url).await.unwrap();
                let ran = store.migrate().await.unwrap();
                assert_eq!(store.schema().await.unwrap(), SchemaState::Current);
                store.close().await;
                ran
            });
        }
        let ran = tasks.join_all().await;
        assert_eq!(ran.iter().filter(|ran| **ran > 0).count(), 1, "one of them ran all: {ran:?}");
    }
}

#[tokio::test]
async fn a_writer_waits_while_another_process_holds_the_lock_and_reads_do_not_wait() {
    let bench = Bench::in_file().await;
    let challenge_id = bench.challenge(None).await;
    let other = bench.elsewhere().await;
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let redeeming = tokio::spawn(redeem(bench.store.clone(), bench.redemption(challenge_id)));
    assert!(bench.store.client(bench.client_id).await.unwrap().is_some());
    assert!(!redeeming.is_finished());
    held.rollback().await.unwrap();
    assert!(matches!(redeeming.await.unwrap(), RedeemOutcome::SignedIn(_)));
}

#[tokio::test]
async fn the_deadline_counts_when_the_lock_is_there_not_when_it_was_asked_for() {
    let bench = Bench::in_file().await;
    let challenge_id = bench.challenge(None).await;
    let other = bench.elsewhere().await;
    let mut held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let redeeming = tokio::spawn(redeem(bench.store.clone(), bench.redemption(challenge_id)));
    let scope = ChallengeScope { client_id: bench.client_id, session_id: None };
    let found = bench.store.find_challenges(scope, ChallengeKey::Id(challenge_id), None).await.unwrap();
    assert_eq!(found[0].state, ChallengeState::Live);
    held.execute("UPDATE challenges SET expire_time = (SELECT now FROM clock)").await.unwrap();
    held.commit().await.unwrap();
    assert!(matches!(redeeming.await.unwrap(), RedeemOutcome::Expired));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_leave_no_transaction_open_and_none_half_done() {
    for bench in Bench::both().await {
        for round in 0..200_u64 {
            let challenge_id = bench.challenge(None).await;
            let redeeming = tokio::spawn(redeem(bench.store.clone(), bench.redemption(challenge_id)));
            tokio::time::sleep(Duration::from_micros(round * 10)).await;
            redeeming.abort();
            match (redeeming.await.ok(), bench.redeem(challenge_id).await) {
                (None | Some(RedeemOutcome::SignedIn(_)), RedeemOutcome::AlreadyUsed)
                | (None, RedeemOutcome::SignedIn(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_transaction_that_sqlite_ended_by_itself_does_not_block_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&url(&directory)).await.unwrap();
    store.migrate().await.unwrap();
    let mut tx = store.begin().await.unwrap();
    // As when a COMMIT finds the disk full.
    tx.execute("ROLLBACK").await.unwrap();
    assert!(tx.commit().await.is_err());
    store.begin().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_column_that_a_newer_version_adds_meanwhile_disturbs_nobody() {
    let bench = Bench::in_file().await;
    let session_id = bench.signed_in().await;
    assert!(bench.store.session(session_id).await.unwrap().is_some());
    let other = bench.elsewhere().await;
    for table in ["clients", "accounts", "wallets", "sessions", "challenges"] {
        let sql = format!("ALTER TABLE {table} ADD COLUMN of_a_newer_version TEXT");
        other.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    }
    assert_eq!(bench.store.session(session_id).await.unwrap().unwrap().id, session_id);
    assert!(matches!(bench.rotate(session_id, 1).await, RotateOutcome::Rotated(_)));
    bench.signed_in().await;
}

#[tokio::test]
async fn a_url_without_a_usable_file_is_told_with_its_path() {
    for url in ["sqlite:", "sqlite://", "sqlite:file:store.db", "sqlite:store.db?mode=odd"] {
        assert!(matches!(open(url).await.err(), Some(OpenError::MalformedUrl(_))), "{url}");
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("notes.txt");
    std::fs::write(&file, "no database, but long enough to be looked at".repeat(100)).unwrap();
    for path in [directory.path(), &file, &file.join("store.db")] {
        match open(&format!("sqlite:{}", path.display())).await.err() {
            Some(OpenError::Unreachable { target, .. }) => assert_eq!(target, path.display().to_string()),
            other => panic!("{other:?}"),
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_its_user_may_read_a_new_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::in_file().await;
    let directory = bench.directory.as_ref().unwrap().path().join("made/here");
    assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 3, "the file, its log, and the log's index");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}
