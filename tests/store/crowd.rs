//! Many callers at the same moment, on two instances of the service.

use std::{future::Future, sync::Arc};

use countersign::store::{Store, open};
use tokio::{
    sync::{Barrier, Semaphore, SemaphorePermit},
    task::JoinHandle,
};

use crate::support::TestStore;

/// How many callers a crowd has.
pub const CROWD: usize = 64;

/// Crowds take turns: several at once on a busy machine would keep each other from a connection for longer than a call
/// waits for one.
static TURN: Semaphore = Semaphore::const_new(1);

/// Two handles on one database: what two instances of the service have.
pub struct Instances {
    stores: [Arc<dyn Store>; 2],
    _turn: SemaphorePermit<'static>,
}

impl Instances {
    /// Opens both.
    pub async fn on(test: &TestStore) -> Self {
        let turn = TURN.acquire().await.unwrap();
        Self { stores: [open(&test.url).await.unwrap(), open(&test.url).await.unwrap()], _turn: turn }
    }

    /// Calls once per input, all at the same moment and by turns on either instance; the answers come in
    /// the order of the inputs.
    pub async fn at_once<T, F>(
        &self,
        inputs: impl IntoIterator<Item = T>,
        call: impl Fn(Arc<dyn Store>, T) -> F,
    ) -> Vec<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let stores = self.stores.iter().cycle();
        at_once(stores.zip(inputs).map(|(store, input)| call(store.clone(), input)).collect()).await
    }

    /// Two different calls at the same moment, one on each instance.
    pub async fn race<A, B>(
        &self,
        one: impl FnOnce(Arc<dyn Store>) -> A,
        other: impl FnOnce(Arc<dyn Store>) -> B,
    ) -> (A::Output, B::Output)
    where
        A: Future<Output: Send + 'static> + Send + 'static,
        B: Future<Output: Send + 'static> + Send + 'static,
    {
        let start = Arc::new(Barrier::new(2));
        let [first, second] = &self.stores;
        let (one, other) = (begin(&start, one(first.clone())), begin(&start, other(second.clone())));
        (one.await.unwrap(), other.await.unwrap())
    }
}

/// Calls made at the same moment; the answers come in the order of the calls.
pub async fn at_once<F>(calls: Vec<F>) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let start = Arc::new(Barrier::new(calls.len()));
    let begun: Vec<_> = calls.into_iter().map(|call| begin(&start, call)).collect();
    let mut answers = Vec::new();
    for call in begun {
        answers.push(call.await.unwrap());
    }
    answers
}

/// A task that waits at the start for the others.
fn begin<F>(start: &Arc<Barrier>, call: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let start = start.clone();
    tokio::spawn(async move {
        start.wait().await;
        call.await
    })
}
