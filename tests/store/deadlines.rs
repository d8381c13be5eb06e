//! A deadline that passes while a call waits for a lock has passed.

use std::future::Future;

use countersign::{
    domain::{Challenge, SessionId},
    store::{RedeemOutcome, RotateOutcome},
};
use uuid::Uuid;

use crate::{
    database::{Lock, assert_unchanged, contents, in_millis, literal, set},
    fixture::{Bench, new_address, redeem, rotate, rotation},
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

/// A deadline, and the row that its call has to wait for.
struct Situation<'a> {
    bench: &'a Bench<'a>,
    deadline: (&'static str, &'static str, Uuid),
    locked: (&'static str, Uuid),
    holder: Holder,
}

/// How long before the deadline the lock is taken, in milliseconds. Where the machine is too slow for
/// the call to wait before the deadline, which is the whole point, the next one is taken; all lie below the time after which PostgreSQL gives a lock up.
const LEADS: [i64; 4] = [300, 700, 1_200, 1_700];

impl Situation<'_> {
    /// What a call answers that began to wait before the deadline, and got its lock after it. Nothing has
    /// changed then.
    async fn answers<F>(&self, call: impl Fn() -> F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        for lead in LEADS {
            if let Some(answer) = self.answers_at(lead, call()).await {
                return answer;
            }
        }
        panic!("no call began to wait within {} ms", LEADS[3])
    }

    async fn answers_at<F>(&self, lead: i64, call: F) -> Option<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let test = self.bench.test;
        let (table, column, id) = self.deadline;
        set(test, table, id, &format!("{column} = {}", in_millis(test, lead))).await;
        let before = contents(test).await;
        let mut lock = Lock::on(test, self.locked.0, self.locked.1).await;
        let waiting = tokio::spawn(call);
        lock.until_awaited().await;
        let passed = self.passed();
        let in_time = !lock.is(&passed).await;
        lock.until(&passed).await;
        self.let_go(lock).await;
        let answer = waiting.await.unwrap();
        assert_unchanged(test, &before, "what came too late").await;
        in_time.then_some(answer)
    }

    /// Asks the database whether its clock has reached the deadline.
    fn passed(&self) -> String {
        let (table, column, id) = self.deadline;
        let (now, id) = (in_millis(self.bench.test, 0), literal(self.bench.test, id));
        format!("SELECT {column} <= {now} FROM {table} WHERE id = {id}")
    }

    async fn let_go(&self, mut lock: Lock) {
        let (table, id) = self.locked;
        let row = format!("{table} SET expire_time = expire_time");
        let id = literal(self.bench.test, id);
        match self.holder {
            Holder::Commits => {
                lock.execute(&format!("UPDATE {row} WHERE id = {id}")).await;
                lock.commit().await;
            }
            Holder::RollsBack => {
                let hour = in_millis(self.bench.test, 3_600_000);
                lock.execute(&format!("UPDATE {table} SET expire_time = {hour} WHERE id = {id}")).await;
                lock.rollback().await;
            }
            Holder::OnlyLocks => lock.rollback().await,
        }
    }
}

async fn redeem_as_the_challenge_expires(test: &TestStore, holder: Holder) {
    let bench = Bench::on(test).await;
    let challenge = bench.challenge(&new_address()).await;
    let id = challenge.id.uuid();
    let deadline = ("challenges", "expire_time", id);
    let situation = Situation { bench: &bench, deadline, locked: ("challenges", id), holder };
    let call = || redeem(bench.store.clone(), bench.redemption(&challenge));
    assert_is!(situation.answers(call).await, RedeemOutcome::Expired);
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
    let situation = Situation { bench: &bench, deadline, locked: ("sessions", session.uuid()), holder };
    let call = || redeem(bench.store.clone(), bench.redemption(&challenge));
    assert_is!(situation.answers(call).await, RedeemOutcome::SessionExpired);
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
    let locked = ("sessions", session.uuid());
    let situation = Situation { bench: &bench, deadline, locked, holder: Holder::OnlyLocks };
    let call = || redeem(bench.store.clone(), bench.redemption(&challenge));
    assert_is!(situation.answers(call).await, RedeemOutcome::Expired);
}

async fn refresh_as(test: &TestStore, column: &'static str, holder: Holder) {
    let bench = Bench::on(test).await;
    let id = bench.sign_in(&new_address()).await.session.id;
    let deadline = ("sessions", column, id.uuid());
    let situation = Situation { bench: &bench, deadline, locked: ("sessions", id.uuid()), holder };
    let call = || rotate(bench.store.clone(), rotation(id, 1));
    assert_is!(situation.answers(call).await, RotateOutcome::Expired);
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
