//! What is SQLite's own: files, memory, locks, other processes. The rest is in `tests/store`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{Executor as _, SqlitePool};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::Sqlite;
use crate::{
    domain::{
        AccountId, Address, ChainAddress, ChallengeFormat, ChallengeId, ClientId, Content, Network, Nonce,
        Policy, RootKeyId, SessionId, Verification, VerificationMethod, Wallet, WalletKind,
    },
    store::{
        ChallengeKey, ChallengeScope, ChallengeState, ChallengeStore as _, Lifecycle as _, NewChallenge,
        NewClient, OpenError, RedeemOutcome, Redemption, RotateOutcome, Rotation, SchemaState, Store, open,
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

    async fn challenge(&self) -> ChallengeId {
        let now = self.store.now().await.unwrap();
        let id = ChallengeId::generate();
        let challenge = NewChallenge {
            id,
            client_id: self.client_id,
            session_id: None,
            link_to: None,
            format: ChallengeFormat::Text,
            nonce: Nonce::from_stored(id.uuid().simple().to_string()),
            content: Content::Text("Sign in".to_owned()),
            content_digest: [0; 32],
            signer: Some(ChainAddress { address: address(), network: Network::ethereum() }),
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
            root_key_id: RootKeyId([1; 8]),
            access_token_ttl: Duration::from_mins(30),
            refresh_token_ttl: Duration::from_hours(24),
            session_max_ttl: Duration::from_hours(48),
        }
    }

    async fn redeem(&self, challenge_id: ChallengeId) -> RedeemOutcome {
        redeem(self.store.clone(), self.redemption(challenge_id)).await
    }

    async fn signed_in(&self) -> SessionId {
        let outcome = self.redeem(self.challenge().await).await;
        let RedeemOutcome::SignedIn(signed_in) = outcome else { panic!("{outcome:?}") };
        signed_in.session.id
    }

    async fn rotate(&self, session_id: SessionId, generation: u32) -> RotateOutcome {
        let rotation = Rotation { session_id, generation, client_id: None, root_key_id: RootKeyId([2; 8]) };
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
async fn a_file_is_turned_to_wal_once_another_process_lets_go_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("store.db").display());
    let other = SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap();
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let opening = tokio::spawn(async move { open(&url).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!opening.is_finished());
    held.rollback().await.unwrap();
    opening.await.unwrap().unwrap().close().await;
}

#[tokio::test]
async fn a_writer_waits_while_another_process_holds_the_lock_and_reads_do_not_wait() {
    let bench = Bench::in_file().await;
    let challenge_id = bench.challenge().await;
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
    let challenge_id = bench.challenge().await;
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
            let challenge_id = bench.challenge().await;
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

#[tokio::test]
async fn a_write_that_is_cancelled_while_it_queues_is_no_failure_of_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&url(&directory)).await.unwrap();
    let held = store.begin().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(20), store.begin()).await.is_err());
    let failed = async || tokio::time::timeout(Duration::ZERO, store.call_failed()).await.is_ok();
    assert!(!failed().await);
    drop(held);
    assert!(failed().await, "one that began and did not end is");
}

/// Instructions that SQLite executes for look-ups by an address with so many challenges each of a client and of its
/// session, on invented networks.
async fn instructions_of_look_ups(count: u32, life: Duration) -> u64 {
    let store = Sqlite::open("sqlite::memory:").await.unwrap();
    store.migrate().await.unwrap();
    let (client_id, session) = (ClientId::generate(), SessionId::generate());
    let mut connection = store.reader.acquire().await.unwrap();
    let crowd = "
        WITH RECURSIVE places (place) AS (SELECT 1 UNION ALL SELECT place + 1 FROM places WHERE place < ?4)
        INSERT INTO challenges (id, client_id, session_id, purpose, format, nonce, message, address, network,
                                create_time, expire_time)
        SELECT randomblob(16), ?1, session_id, 'SIGN_IN', 'TEXT', place, '', ?3, 'eip155:' || (1000000 + place),
               now, now + ?5
        FROM places, (SELECT NULL AS session_id UNION ALL SELECT ?2), clock";
    let life = i64::try_from(life.as_millis()).unwrap();
    let crowd = sqlx::query(crowd).bind(client_id.uuid()).bind(session.uuid()).bind(ADDRESS);
    crowd.bind(count).bind(life).execute(&mut *connection).await.unwrap();
    let instructions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&instructions);
    connection.lock_handle().await.unwrap().set_progress_handler(1, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    drop(connection);
    for session_id in [None, Some(session)] {
        let (scope, key) = (ChallengeScope { client_id, session_id }, ChallengeKey::Address(address()));
        assert!(!store.find_challenges(scope, key, None).await.unwrap().is_empty());
    }
    instructions.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_look_up_by_address_takes_no_longer_when_strangers_add_challenges() {
    for life in [Duration::from_mins(2), Duration::ZERO] {
        let (few, many) =
            (instructions_of_look_ups(500, life).await, instructions_of_look_ups(5_000, life).await);
        assert!(few > 0 && many <= few + few / 10, "{few} instructions became {many}");
    }
}
