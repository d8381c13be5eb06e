//! The work that a running service repeats, each kind in a task of its own.

use std::{fmt::Display, future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{memory, until};
use crate::{
    config::ServeSettings,
    domain::jittered,
    flows::Flows,
    grpc, http,
    state::{health::StoreState, revocation_feed, signing_keys::StartError, store_probe, unmarked_tokens},
};

/// Interval at which the signing keys are read.
const KEYS_INTERVAL: Duration = Duration::from_secs(1);

/// Interval at which the uses of client secrets are written.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Starts all of it; it stops when `ended` says so.
pub(super) fn spawn(
    settings: &ServeSettings,
    flows: &Arc<Flows>,
    ended: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) {
    tasks.spawn(probe_store(Arc::clone(flows), until(ended.clone())));
    tasks.spawn(flush_secret_uses(Arc::clone(flows), until(ended.clone())));
    let own = Arc::clone(flows);
    let keys = move || keep_keys_current(Arc::clone(&own));
    tasks.spawn(repeat(KEYS_INTERVAL, "reading of signing keys", keys, until(ended.clone())));
    let own = Arc::clone(flows);
    let revocations = move || {
        let flows = Arc::clone(&own);
        async move { flows.poll_revocations().await }
    };
    tasks.spawn(repeat(
        revocation_feed::POLL_INTERVAL,
        "reading of revocations",
        revocations,
        until(ended.clone()),
    ));
    let own = Arc::clone(flows);
    let unmarked = move || {
        let flows = Arc::clone(&own);
        async move { flows.ask_for_unmarked_tokens().await }
    };
    tasks.spawn(repeat(
        unmarked_tokens::ASK_INTERVAL,
        "check for session tokens without a MAC",
        unmarked,
        until(ended.clone()),
    ));
    let (retention, interval) = (settings.store.retention, settings.clean_up_interval);
    tasks.spawn(clean_up(Arc::clone(flows), retention, interval, until(ended.clone())));
    tasks.spawn(memory::return_freed(until(ended.clone())));
}

/// Repeats work at an interval until `end`. Of failures in a row only the first one is logged, and so is the recovery.
async fn repeat<F, E>(
    interval: Duration,
    what: &'static str,
    work: impl Fn() -> F,
    end: impl Future<Output = ()>,
) where
    F: Future<Output = Result<(), E>>,
    E: Display,
{
    tokio::pin!(end);
    let mut failing = false;
    loop {
        tokio::select! {
            () = &mut end => return,
            () = tokio::time::sleep(interval) => {}
        }
        let outcome = work().await;
        match &outcome {
            Err(error) if !failing => tracing::warn!(%error, "failed: {what}"),
            Ok(()) if failing => tracing::info!("recovered: {what}"),
            Ok(()) | Err(_) => {}
        }
        failing = outcome.is_err();
    }
}

/// Probes the store at intervals until `end`; at once when a call has failed, unless an outage is known.
async fn probe_store(flows: Arc<Flows>, end: impl Future<Output = ()>) {
    tokio::pin!(end);
    let mut state = StoreState::Up;
    loop {
        let failure = async {
            tokio::time::sleep(store_probe::PAUSE).await;
            flows.store_call_failed().await;
        };
        let call_failed = tokio::select! {
            () = &mut end => return,
            () = tokio::time::sleep(store_probe::INTERVAL) => false,
            () = failure, if state == StoreState::Up => true,
        };
        state = flows.probe_store(call_failed).await;
    }
}

async fn keep_keys_current(flows: Arc<Flows>) -> Result<(), StartError> {
    http::fold_measurements();
    grpc::report_suppressed_lines();
    flows.keep_keys_current().await
}

/// Writes the uses of client secrets to the store until `end`. Separate from the keys, which must not wait for a busy
/// store.
async fn flush_secret_uses(flows: Arc<Flows>, end: impl Future<Output = ()>) {
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            () = tokio::time::sleep(FLUSH_INTERVAL) => {}
        }
        if let Err(error) = flows.flush_secret_uses().await {
            tracing::debug!(%error, "the use of client secrets could not be noted");
        }
    }
}

/// Cleans up until `end`, at intervals that differ by up to a quarter so that instances do not do it all at once.
async fn clean_up(flows: Arc<Flows>, retention: Duration, interval: Duration, end: impl Future<Output = ()>) {
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            () = tokio::time::sleep(jittered(interval, 0.125)) => {}
        }
        match flows.clean_up(retention).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "removed what has ended"),
            Err(error) => tracing::warn!(%error, "what has ended could not be removed"),
        }
    }
}
