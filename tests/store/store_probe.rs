//! What the probe concludes from the answers of a real store: when writes count as failing, and when not.

use std::time::{Duration, Instant};

use countersign::{
    state::{database_clock::DatabaseClock, health::StoreState, store_probe::StoreProbe},
    store::{Store, StoreError, open},
};

use crate::{
    database::{Lock, terminate_connections},
    fixture::Bench,
    support::TestStore,
};

on_both_stores!(three_trial_writes_without_a_result_end_an_outage_of_writes_and_begin_none,);

/// Bound on outcomes that need several probes.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Makes trial writes fail as on a full disk while `condition` holds; the sequence `trials` counts them.
async fn fail_trials(test: &TestStore, condition: &str) {
    let function = format!(
        "CREATE OR REPLACE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('trials') {condition} THEN
                 RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
             END IF;
             RETURN NULL;
         END $$"
    );
    test.execute("CREATE SEQUENCE IF NOT EXISTS trials").await;
    test.execute(&function).await;
    let trigger =
        "CREATE OR REPLACE TRIGGER disk_full BEFORE INSERT ON root_key_canaries EXECUTE FUNCTION disk_full()";
    test.execute(trigger).await;
}

/// Keeps trial writes from ending.
async fn block_trials(test: &TestStore) -> Lock {
    let mut lock = Lock::begin(test).await;
    if test.is_postgres() {
        lock.execute("LOCK TABLE root_key_canaries IN ACCESS EXCLUSIVE MODE").await;
    }
    lock
}

/// The outcome of a probe that the store has answered, noted.
async fn probe_after(probe: &StoreProbe, store: &dyn Store, call_failed: bool) -> (StoreState, bool) {
    let found = probe.judge(Ok(()), store, call_failed).await;
    probe.note(&found, 0);
    (found.state, found.is_answered)
}

#[tokio::test]
async fn writes_count_as_failing_only_if_a_trial_after_a_failed_call_fails_twice() {
    let test = TestStore::postgres().await;
    let bench = Bench::on(&test).await;
    let store = bench.store.as_ref();
    fail_trials(&test, "= 1").await;
    let probe = StoreProbe::default();
    assert_eq!(probe_after(&probe, store, false).await, (StoreState::Up, true));
    assert_eq!(test.count("trials", "is_called").await, 0, "a healthy store is not written to");
    assert_eq!(probe_after(&probe, store, true).await.0, StoreState::Up, "a trial that failed is repeated");
    assert_eq!(test.count("trials", "is_called").await, 1, "a failed call leads to a trial");

    fail_trials(&test, "> 0").await;
    let give_up = Instant::now() + GIVE_UP;
    while probe_after(&probe, store, true).await.0 != StoreState::NotWritable {
        assert!(Instant::now() < give_up, "trials fail each time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fail_trials(&test, "< 0").await;
    // Trials go on by themselves, without a failed call.
    while probe_after(&probe, store, false).await.0 != StoreState::Up {
        assert!(Instant::now() < give_up, "the end of an outage of writes is not found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn three_trial_writes_without_a_result_end_an_outage_of_writes_and_begin_none(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (probe, store) = (StoreProbe::default(), bench.store.as_ref());
    let closed = open(&test.url).await.unwrap();
    closed.close().await;
    // A store that has been closed rejects writes.
    assert_eq!(probe_after(&probe, closed.as_ref(), true).await, (StoreState::NotWritable, true));

    let lock = block_trials(test).await;
    let (mut unended, give_up) = (0, Instant::now() + GIVE_UP);
    loop {
        match probe_after(&probe, store, false).await {
            (StoreState::NotWritable, false) => unended += 1,
            (StoreState::NotWritable, true) => tokio::time::sleep(Duration::from_millis(20)).await,
            (state, _) => {
                break assert_eq!((state, unended), (StoreState::Up, 2), "the third ends the outage");
            }
        }
        assert!(Instant::now() < give_up, "an outage of writes has no end");
    }
    let mut unended = 0;
    while unended < 3 {
        match probe_after(&probe, store, true).await {
            (StoreState::Up, is_answered) => unended += u32::from(!is_answered),
            outcome => panic!("writes that wait are no outage: {outcome:?}"),
        }
        assert!(Instant::now() < give_up + GIVE_UP);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lock.rollback().await;
}

#[tokio::test]
async fn a_probe_whose_connection_was_cut_is_repeated_over_a_new_one() {
    let test = TestStore::postgres().await;
    let (bench, clock) = (Bench::on(&test).await, DatabaseClock::default());
    let probe = StoreProbe::default();
    let store = bench.store.as_ref();
    probe.ask(store, &clock).await.unwrap();
    terminate_connections(&test).await;
    probe.ask(store, &clock).await.unwrap();
    store.close().await;
    let outcome = probe.ask(store, &clock).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert_eq!(probe.judge(outcome, store, false).await.state, StoreState::Down);
}
