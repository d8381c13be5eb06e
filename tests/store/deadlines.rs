//! A deadline that passes while a call waits for a lock has passed.

use std::{fmt::Debug, future::Future, sync::Arc};

use countersign::{
    domain::{AccountId, Address, Challenge, SessionId},
    store::{RedeemOutcome, Redemption, Result, RotateOutcome, Store, StoreError},
};
use uuid::Uuid;

use crate::{
    database::{Lock, assert_unchanged, contents, in_millis, literal, set},
    fixture::{Bench, REALM, new_address, rotation, signer_of},
    support::TestStore,
};

on_both_stores!(
    a_challenge_expires_while_its_redeem_waits_for_one_who_commits,
    a_challenge_expires_while_its_redeem_waits_for_one_who_rolls_back,
    a_challenge_expires_while_its_redeem_waits_for_one_who_only_locks,
    a_session_expires_while_its_sign_in_waits_for_one_who_commits,
    a_session_expires_while_its_sign_in_waits_for_one_who_rolls_back,
    a_session_expires_while_its_sign_in_waits_for_one_who_only_locks,
    a_challenge_expires_while_its_redeem_waits_for_its_session,
    a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_is_there,
    a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_does_not_come,
    a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_comes,
    a_session_expires_while_its_sign_in_waits_for_a_wallet,
    a_token_expires_while_its_refresh_waits_for_one_who_commits,
    a_token_expires_while_its_refresh_waits_for_one_who_rolls_back,
    a_token_expires_while_its_refresh_waits_for_one_who_only_locks,
    a_session_ends_for_good_while_its_refresh_waits,
);

/// What the one who holds the lock does with it.
#[derive(Clone, Copy)]
enum Holder {
    /// Commits a change of the row that has nothing to do with its deadline.
    Commits,
    /// Takes a change of the row back.
    RollsBack,
    /// Takes the lock, and lets go of it.
    OnlyLocks,
}

/// What a call has to wait for.
enum Locked {
    /// A row, by its table and its condition.
    Row(&'static str, String),
    /// The wallet of an address, which its holder adds, and takes back or not.
    NewWallet(Address),
}

/// A deadline, and what its call has to wait for.
struct Situation<'a> {
    bench: &'a Bench<'a>,
    deadline: (&'static str, &'static str, Uuid),
    locked: Locked,
    holder: Holder,
}

/// How long before the deadline the lock is taken, in milliseconds: shorter than a call waits for a lock.
const LEAD: i64 = 400;

/// How often the situation is set up, should the machine be too slow for it: the call has to wait for the
/// lock before the deadline, and get it soon after.
const SET_UPS: usize = 20;

impl Situation<'_> {
    /// What a call answers that began to wait before the deadline, and got its lock after it. Nothing has
    /// changed then.
    async fn answers<T, F>(&self, call: impl Fn() -> F) -> T
    where
        T: Debug + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        for _ in 0..SET_UPS {
            if let Some(answer) = self.answers_once(call()).await {
                return answer;
            }
        }
        panic!("{SET_UPS} times, no call waited from before the deadline until after it")
    }

    async fn answers_once<T, F>(&self, call: F) -> Option<T>
    where
        T: Debug + Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let test = self.bench.test;
        let (table, column, id) = self.deadline;
        set(test, table, id, &format!("{column} = {}", in_millis(test, LEAD))).await;
        let before = contents(test).await;
        let mut lock = self.take().await;
        let mut waiting = tokio::spawn(call);
        let passed = self.passed();
        let early = tokio::select! {
            () = lock.until_awaited() => None,
            answer = &mut waiting => Some(answer.unwrap()),
        };
        if let Some(answer) = early {
            assert!(lock.is(&passed).await, "it did not wait: {answer:?}");
            lock.rollback().await;
            if !self.adds_a_wallet() {
                assert_unchanged(test, &before, "what came too late").await;
            }
            return None;
        }
        let in_time = !lock.is(&passed).await;
        lock.until(&passed).await;
        self.let_go(lock).await;
        let answer = waiting.await.unwrap();
        if !self.adds_a_wallet() {
            assert_unchanged(test, &before, "what came too late").await;
        }
        match answer {
            Ok(answer) => in_time.then_some(answer),
            Err(StoreError::Locked) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether the holder leaves something behind.
    const fn adds_a_wallet(&self) -> bool {
        matches!((&self.locked, self.holder), (Locked::NewWallet(_), Holder::Commits))
    }

    /// Asks the database whether its clock has reached the deadline.
    fn passed(&self) -> String {
        let (table, column, id) = self.deadline;
        let (now, id) = (in_millis(self.bench.test, 0), literal(self.bench.test, id));
        format!("SELECT {column} <= {now} FROM {table} WHERE id = {id}")
    }

    async fn take(&self) -> Lock {
        let test = self.bench.test;
        match &self.locked {
            Locked::Row(table, condition) => Lock::on(test, table, condition).await,
            Locked::NewWallet(address) => {
                // Left behind where this is set up a second time.
                test.execute(&format!("DELETE FROM wallets WHERE address = '{address}'")).await;
                let mut lock = Lock::begin(test).await;
                let (id, now) = (literal(test, AccountId::generate().uuid()), in_millis(test, 0));
                let account = format!("VALUES ({id}, '{REALM}', {now})");
                lock.execute(&format!("INSERT INTO accounts (id, realm, create_time) {account}")).await;
                let columns = "realm, scope, address, account_id, kind, create_time";
                let wallet = format!("VALUES ('{REALM}', 'eip155', '{address}', {id}, 'eoa', {now})");
                lock.execute(&format!("INSERT INTO wallets ({columns}) {wallet}")).await;
                lock
            }
        }
    }

    async fn let_go(&self, mut lock: Lock) {
        let Locked::Row(table, condition) = &self.locked else {
            return if self.adds_a_wallet() { lock.commit().await } else { lock.rollback().await };
        };
        let column = if *table == "wallets" { "last_sign_in_time" } else { "expire_time" };
        match self.holder {
            Holder::Commits => {
                lock.execute(&format!("UPDATE {table} SET {column} = {column} WHERE {condition}")).await;
                lock.commit().await;
            }
            Holder::RollsBack => {
                let hour = in_millis(self.bench.test, 3_600_000);
                lock.execute(&format!("UPDATE {table} SET {column} = {hour} WHERE {condition}")).await;
                lock.rollback().await;
            }
            Holder::OnlyLocks => lock.rollback().await,
        }
    }
}

async fn redeem(store: Arc<dyn Store>, redemption: Redemption) -> Result<RedeemOutcome> {
    store.redeem_challenge(redemption).await
}

fn row(test: &TestStore, table: &'static str, id: Uuid) -> Locked {
    Locked::Row(table, format!("id = {}", literal(test, id)))
}

/// What redeeming a challenge comes to.
async fn redeems(situation: Situation<'_>, challenge: &Challenge) -> RedeemOutcome {
    let bench = situation.bench;
    situation.answers(|| redeem(bench.store.clone(), bench.redemption(challenge))).await
}

async fn redeem_as_the_challenge_expires(test: &TestStore, holder: Holder) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let id = challenge.id.uuid();
    let deadline = ("challenges", "expire_time", id);
    let situation = Situation { bench: &bench, deadline, locked: row(test, "challenges", id), holder };
    assert_is!(redeems(situation, &challenge).await, RedeemOutcome::Expired);
}

async fn a_challenge_expires_while_its_redeem_waits_for_one_who_commits(test: &TestStore) {
    redeem_as_the_challenge_expires(test, Holder::Commits).await;
}

async fn a_challenge_expires_while_its_redeem_waits_for_one_who_rolls_back(test: &TestStore) {
    redeem_as_the_challenge_expires(test, Holder::RollsBack).await;
}

async fn a_challenge_expires_while_its_redeem_waits_for_one_who_only_locks(test: &TestStore) {
    redeem_as_the_challenge_expires(test, Holder::OnlyLocks).await;
}

/// A PENDING session and a challenge that is bound to it.
async fn bound(bench: &Bench<'_>) -> (SessionId, Challenge) {
    let session = bench.pending(&new_address()).await;
    (session.id, bench.bound_challenge(&session).await)
}

async fn sign_in_as_the_session_expires(test: &TestStore, holder: Holder) {
    let bench = Bench::on(test).await;
    let (session, challenge) = bound(&bench).await;
    let deadline = ("sessions", "expire_time", session.uuid());
    let locked = row(test, "sessions", session.uuid());
    let situation = Situation { bench: &bench, deadline, locked, holder };
    assert_is!(redeems(situation, &challenge).await, RedeemOutcome::SessionExpired);
}

async fn a_session_expires_while_its_sign_in_waits_for_one_who_commits(test: &TestStore) {
    sign_in_as_the_session_expires(test, Holder::Commits).await;
}

async fn a_session_expires_while_its_sign_in_waits_for_one_who_rolls_back(test: &TestStore) {
    sign_in_as_the_session_expires(test, Holder::RollsBack).await;
}

async fn a_session_expires_while_its_sign_in_waits_for_one_who_only_locks(test: &TestStore) {
    sign_in_as_the_session_expires(test, Holder::OnlyLocks).await;
}

async fn a_challenge_expires_while_its_redeem_waits_for_its_session(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, challenge) = bound(&bench).await;
    let deadline = ("challenges", "expire_time", challenge.id.uuid());
    let locked = row(test, "sessions", session.uuid());
    let situation = Situation { bench: &bench, deadline, locked, holder: Holder::OnlyLocks };
    assert_is!(redeems(situation, &challenge).await, RedeemOutcome::Expired);
}

async fn a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_is_there(test: &TestStore) {
    let bench = Bench::on(test).await;
    let address = new_address();
    bench.sign_in(&address).await;
    for holder in [Holder::Commits, Holder::RollsBack, Holder::OnlyLocks] {
        let challenge = bench.challenge(&address).await;
        let deadline = ("challenges", "expire_time", challenge.id.uuid());
        let locked = Locked::Row("wallets", format!("address = '{address}'"));
        let situation = Situation { bench: &bench, deadline, locked, holder };
        assert_is!(redeems(situation, &challenge).await, RedeemOutcome::Expired);
    }
}

async fn a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_does_not_come(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let deadline = ("challenges", "expire_time", challenge.id.uuid());
    let locked = Locked::NewWallet(signer_of(&challenge).address);
    let situation = Situation { bench: &bench, deadline, locked, holder: Holder::RollsBack };
    assert_is!(redeems(situation, &challenge).await, RedeemOutcome::Expired);
}

async fn a_challenge_expires_while_its_redeem_waits_for_a_wallet_that_comes(test: &TestStore) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let deadline = ("challenges", "expire_time", challenge.id.uuid());
    let locked = Locked::NewWallet(signer_of(&challenge).address);
    let situation = Situation { bench: &bench, deadline, locked, holder: Holder::Commits };
    assert_is!(redeems(situation, &challenge).await, RedeemOutcome::Expired);
    assert_eq!(test.count("challenges", "redeem_time IS NOT NULL").await, 0);
    assert_eq!(test.count("sessions", "TRUE").await, 0);
    assert_eq!(test.count("wallets", "last_sign_in_time IS NOT NULL").await, 0);
}

async fn a_session_expires_while_its_sign_in_waits_for_a_wallet(test: &TestStore) {
    let bench = Bench::on(test).await;
    let (session, challenge) = bound(&bench).await;
    let deadline = ("sessions", "expire_time", session.uuid());
    let locked = Locked::NewWallet(signer_of(&challenge).address);
    let situation = Situation { bench: &bench, deadline, locked, holder: Holder::RollsBack };
    assert_is!(redeems(situation, &challenge).await, RedeemOutcome::SessionExpired);
}

async fn refresh(store: Arc<dyn Store>, session: SessionId) -> Result<RotateOutcome> {
    store.rotate_refresh_token(rotation(session, 1)).await
}

async fn refresh_as(test: &TestStore, column: &'static str, holder: Holder) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    let deadline = ("sessions", column, id.uuid());
    let locked = row(test, "sessions", id.uuid());
    let situation = Situation { bench: &bench, deadline, locked, holder };
    let outcome = situation.answers(|| refresh(bench.store.clone(), id)).await;
    assert_is!(outcome, RotateOutcome::Expired);
    assert_eq!(bench.session(id).await.sign_in.unwrap().generation, 1);
}

async fn a_token_expires_while_its_refresh_waits_for_one_who_commits(test: &TestStore) {
    refresh_as(test, "expire_time", Holder::Commits).await;
}

async fn a_token_expires_while_its_refresh_waits_for_one_who_rolls_back(test: &TestStore) {
    refresh_as(test, "expire_time", Holder::RollsBack).await;
}

async fn a_token_expires_while_its_refresh_waits_for_one_who_only_locks(test: &TestStore) {
    refresh_as(test, "expire_time", Holder::OnlyLocks).await;
}

async fn a_session_ends_for_good_while_its_refresh_waits(test: &TestStore) {
    refresh_as(test, "hard_expire_time", Holder::OnlyLocks).await;
}
