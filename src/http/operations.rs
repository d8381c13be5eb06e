//! The operations port: `/livez`, `/readyz`, `/metrics` and `/log`, for whoever runs the service.

use std::sync::{Arc, OnceLock};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{
    flows::Flows,
    log::{self, Filter},
};

/// Bounds in seconds: from what memory answers to the longest deadline.
const BUCKETS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// What answers on the operations port.
pub fn operations(flows: Arc<Flows>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .route("/log", get(log_filter).put(change_log_filter).delete(restore_log_filter))
        .with_state(flows)
}

/// Ready from the first answer of the store on until the end is called for. An outage of the store is told
/// by health and metrics: taking every instance out of service would not mend it.
async fn ready(State(flows): State<Arc<Flows>>) -> (StatusCode, &'static str) {
    if flows.health().state().draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn measured() -> String {
    recorder().map_or_else(String::new, PrometheusHandle::render)
}

/// Folds what was measured since the last time into the histograms; to be called every second. Until then each
/// measurement is kept by itself, whether or not anybody ever asks for them.
pub fn fold_measurements() {
    if let Some(recorder) = recorder() {
        recorder.run_upkeep();
    }
}

/// The filter of the log, as it is in force.
async fn log_filter() -> TextResponse {
    with_filter(|_| Ok(()))
}

/// Puts the filter in the body in force until the process ends.
async fn change_log_filter(body: String) -> TextResponse {
    with_filter(|filter| filter.change(body.trim()))
}

/// Puts the filter of the settings in force again.
async fn restore_log_filter() -> TextResponse {
    with_filter(Filter::restore)
}

type TextResponse = (StatusCode, String);

/// Answers the filter that is in force afterwards.
fn with_filter(act: impl Fn(&Filter) -> Result<(), String>) -> TextResponse {
    let Some(filter) = log::filter() else {
        return (StatusCode::NOT_FOUND, "this process does not log by itself\n".to_owned());
    };
    match act(filter) {
        Ok(()) => (StatusCode::OK, format!("{}\n", filter.in_force())),
        Err(problem) => (StatusCode::BAD_REQUEST, format!("the filter {problem}\n")),
    }
}

/// What is measured in this process; `None` if somebody else measures.
pub fn recorder() -> Option<&'static PrometheusHandle> {
    static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    RECORDER
        .get_or_init(|| {
            let seconds = Matcher::Suffix("_seconds".to_owned());
            let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &BUCKETS).ok()?;
            let handle = builder.install_recorder().ok()?;
            metrics::describe_counter!("countersign_calls_total", "Calls, by method, code and reason.");
            metrics::describe_histogram!("countersign_call_seconds", "How long calls took.");
            metrics::describe_counter!(
                "countersign_chain_calls_total",
                "Calls to RPC nodes, by network and outcome: answered, failed, or not made because the share of the \
                 client or session, or every place, was in use (shed_client_share, shed_session_share, \
                 shed_all_places)."
            );
            metrics::describe_gauge!("countersign_store_up", "1 if the store is reachable and writable, else 0.");
            metrics::describe_gauge!("countersign_connections", "Connections that are open, by port.");
            metrics::describe_counter!(
                "countersign_connections_refused_total",
                "Connections closed at once because max-connections was reached, by port."
            );
            metrics::describe_counter!(
                "countersign_tls_handshakes_failed_total",
                "Failed handshakes, by port."
            );
            metrics::describe_gauge!(
                "countersign_tls_files_good",
                "Whether the files of TLS, as last read, are good; if not, what was read before is in force."
            );
            Some(handle)
        })
        .as_ref()
}
