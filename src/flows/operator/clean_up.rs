//! Removes ended rows after their retention, in bounded batches.

use std::time::Duration;

use crate::{
    flows::{Flows, Result},
    store::{CleanupTarget, Store},
};

/// How many rows go at a time: few enough to hold locks for milliseconds only.
const BATCH: u32 = 500;

impl Flows {
    /// Removes what has ended, and measures it; to be called now and then, on every instance.
    ///
    /// # Errors
    /// If the store does not answer; what was removed stays removed.
    pub async fn clean_up(&self, retention: Duration) -> Result<u64> {
        let outcome = clean_up(self.store.as_ref(), retention).await;
        let failures = u64::from(outcome.is_err());
        metrics::counter!("countersign_clean_up_failures_total").increment(failures);
        outcome
    }
}

/// Removes what ended longer ago than `retention`: how many rows.
///
/// # Errors
/// If the store does not answer; what was removed stays removed.
pub async fn clean_up(store: &dyn Store, retention: Duration) -> Result<u64> {
    let mut removed = 0;
    for target in CleanupTarget::ALL {
        measure(store, target, retention).await?;
        removed += drain(store, target, retention).await?;
    }
    Ok(removed)
}

async fn drain(store: &dyn Store, target: CleanupTarget, retention: Duration) -> Result<u64> {
    let mut removed = 0;
    loop {
        let batch = store.remove_expired(target, retention, BATCH).await?;
        metrics::counter!("countersign_rows_removed_total", "table" => target.table()).increment(batch);
        removed += batch;
        if batch < u64::from(BATCH) {
            return Ok(removed);
        }
    }
}

/// What a run finds: large or old numbers say that clean-up does not keep up.
async fn measure(store: &dyn Store, target: CleanupTarget, retention: Duration) -> Result<()> {
    let backlog = store.backlog(target, retention).await?;
    #[expect(clippy::cast_precision_loss, reason = "at most 10,000")]
    metrics::gauge!("countersign_clean_up_backlog_rows", "table" => target.table()).set(backlog.rows as f64);
    metrics::gauge!("countersign_clean_up_oldest_seconds", "table" => target.table())
        .set(backlog.oldest.as_secs_f64());
    Ok(())
}
