//! One of two instances is replaced under load, and nobody who asks health first is refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use countersign::wallet::evm::EvmPrivateKey;
use tokio::task::JoinSet;
use tonic::{Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{Caller, GIVE_UP, by_id, start_for, wallet},
    process::{Process, client_of},
    support::TestStore,
};

on_both_stores![
    an_instance_is_replaced_under_load_without_a_failed_call,
    an_instance_that_drains_finishes_what_it_was_sent,
];

/// An instance as a mesh knows it: where to call it, and whether it says that it serves.
#[derive(Clone)]
struct Instance {
    caller: Caller,
    serves: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Instance {
    /// Follows the health of a process from now on.
    async fn of(process: &Process, authorization: &str) -> Self {
        let instance = Self {
            caller: process.caller(authorization).await,
            serves: Arc::new(AtomicBool::new(true)),
            answered: Arc::default(),
        };
        let channel = Channel::from_shared(format!("http://{}", process.grpc)).unwrap();
        let mut health = HealthClient::new(channel.connect().await.unwrap());
        let request = HealthCheckRequest { service: "countersign.v1.ChallengeService".to_owned() };
        let mut states = health.watch(request).await.unwrap().into_inner();
        let serves = Arc::clone(&instance.serves);
        tokio::spawn(async move {
            while let Ok(Some(state)) = states.message().await {
                serves.store(state.status() == ServingStatus::Serving, Ordering::SeqCst);
            }
            serves.store(false, Ordering::SeqCst);
        });
        instance
    }

    async fn answers(&self, more: u64) {
        let goal = self.answered.load(Ordering::SeqCst) + more;
        let reached = || (self.answered.load(Ordering::SeqCst) >= goal).then_some(());
        soon("an instance answers", reached).await;
    }

    async fn leaves(&self) {
        soon("an instance leaves", || (!self.serves.load(Ordering::SeqCst)).then_some(())).await;
    }
}

/// What is there sooner or later.
async fn soon<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(GIVE_UP, found).await.expect(what)
}

/// Whom a user calls: by turns the instances that serve, and none while none does.
struct Turns {
    instances: Vec<Instance>,
    turn: usize,
}

impl Turns {
    async fn next(&mut self) -> Instance {
        self.turn += 1;
        let serving = || {
            let serving = self.instances.iter().filter(|one| one.serves.load(Ordering::SeqCst));
            let serving: Vec<_> = serving.collect();
            Some(serving[self.turn.checked_rem(serving.len())?].clone())
        };
        soon("an instance serves", serving).await
    }
}

/// Signs in and refreshes until told to stop, each call at whichever instance serves.
async fn user(instances: Vec<Instance>, first: usize, stop: Arc<AtomicBool>) -> Result<(), Status> {
    let wallet = wallet();
    let mut turns = Turns { instances, turn: first };
    while !stop.load(Ordering::SeqCst) {
        sign_in(&wallet, &mut turns).await?;
    }
    Ok(())
}

async fn sign_in(wallet: &EvmPrivateKey, turns: &mut Turns) -> Result<(), Status> {
    let instance = turns.next().await;
    let challenge = instance.caller.start(start_for(wallet)).await?;
    instance.answered.fetch_add(1, Ordering::SeqCst);
    let instance = turns.next().await;
    let signed_in = instance.caller.verify(by_id(&challenge, &wallet.sign_text(&challenge.message))).await?;
    instance.answered.fetch_add(1, Ordering::SeqCst);
    let instance = turns.next().await;
    instance.caller.refresh(&signed_in.tokens.unwrap().refresh_token).await?;
    instance.answered.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

async fn an_instance_is_replaced_under_load_without_a_failed_call(store: &TestStore) {
    let start = || Process::start_with(store, &["--shutdown-delay", "6s"]);
    let (old, staying) = (start(), start());
    let authorization = client_of(store);
    let (leaving, stays) =
        (Instance::of(&old, &authorization).await, Instance::of(&staying, &authorization).await);
    let stop = Arc::new(AtomicBool::new(false));
    let mut users = JoinSet::new();
    for number in 0..8 {
        users.spawn(user(vec![leaving.clone(), stays.clone()], number, Arc::clone(&stop)));
    }
    leaving.answers(50).await;
    old.signal("TERM");
    assert_eq!(old.code().await, Some(0));
    leaving.leaves().await;
    stays.answers(50).await;

    let new = start();
    let came = Instance::of(&new, &authorization).await;
    let mut later = JoinSet::new();
    for number in 0..8 {
        later.spawn(user(vec![came.clone(), stays.clone()], number, Arc::clone(&stop)));
    }
    came.answers(50).await;
    stop.store(true, Ordering::SeqCst);
    for outcome in users.join_all().await.into_iter().chain(later.join_all().await) {
        outcome.unwrap();
    }
}

/// How many sign-ins an instance is sent before it is told to end.
const SENT: i64 = 32;

async fn an_instance_that_drains_finishes_what_it_was_sent(store: &TestStore) {
    for _ in 0..5 {
        let (made, answered) = made_and_answered_at_the_end(store).await;
        assert!(made >= answered, "{answered} sign-ins were answered, and {made} made");
        // A busy machine may hold an answer back for longer than a drain waits for the last ones.
        if answered == SENT {
            return;
        }
    }
    panic!("some of what was sent was not answered, each time");
}

/// How many of them it makes, and how many it answers.
async fn made_and_answered_at_the_end(store: &TestStore) -> (i64, i64) {
    let process = Process::start(store);
    let before = store.count("sessions", "1 = 1").await;
    let caller = process.caller(&client_of(store)).await;
    let wallets: Vec<_> = (0..SENT).map(|_| wallet()).collect();
    let mut requests = Vec::new();
    for wallet in &wallets {
        let challenge = caller.challenge_for(wallet).await;
        requests.push(by_id(&challenge, &wallet.sign_text(&challenge.message)));
    }
    let mut calls = JoinSet::new();
    for request in requests {
        let caller = caller.clone();
        calls.spawn(async move { caller.verify(request).await });
    }
    // One answer says that the calls, all on one connection, have arrived or are on their way.
    let first = calls.join_next().await.unwrap().unwrap();
    process.signal("TERM");
    let outcomes = calls.join_all().await;
    assert_eq!(process.code().await, Some(0));
    let answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count() + usize::from(first.is_ok());
    (store.count("sessions", "1 = 1").await - before, i64::try_from(answered).unwrap())
}
