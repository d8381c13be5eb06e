//! One line in the log for each call, and its count. Lines of unauthenticated calls are bounded in number.

use std::{
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
    time::Duration,
};

use metrics::{Counter, Histogram};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{call_record::Call, methods::Method};
use crate::{domain::LogLines, state::audit};

/// Log lines a second for unauthenticated calls.
const UNAUTHENTICATED_LINES: u32 = 20;

/// Limit on the lines of all unauthenticated calls of the process.
static UNAUTHENTICATED: LogLines = LogLines::per_second(UNAUTHENTICATED_LINES);

/// Counts a call and writes its line.
pub(super) fn note(method: Method, call: &Call, refusal: Option<&Status>, took: Duration) {
    let code = refusal.map_or(Code::Ok, Status::code);
    let info = refusal.and_then(|status| status.get_details_error_info());
    let reason = info.map_or_else(String::new, |info| info.reason);
    match refusal {
        _ if method == Method::UNKNOWN => {}
        None => measure_success(method, took),
        Some(_) => {
            count(method, code, &reason).increment(1);
            seconds(method).record(took);
        }
    }
    if has_line(method, call) {
        write_line(method, call, code, &reason, took);
    }
}

/// Handles of the metrics of successful calls, by method. The recorder would hash all labels for each look-up.
static SUCCESSES: LazyLock<RwLock<HashMap<&'static str, (Counter, Histogram)>>> =
    LazyLock::new(RwLock::default);

fn measure_success(method: Method, took: Duration) {
    let known = SUCCESSES.read().unwrap_or_else(PoisonError::into_inner);
    if let Some((count, seconds)) = known.get(method.name) {
        count.increment(1);
        seconds.record(took);
        return;
    }
    drop(known);
    let handles = (count(method, Code::Ok, ""), seconds(method));
    handles.0.increment(1);
    handles.1.record(took);
    SUCCESSES.write().unwrap_or_else(PoisonError::into_inner).insert(method.name, handles);
}

fn count(method: Method, code: Code, reason: &str) -> Counter {
    let labels =
        [("method", method.name.to_owned()), ("code", format!("{code:?}")), ("reason", reason.to_owned())];
    metrics::counter!("countersign_calls_total", &labels)
}

fn seconds(method: Method) -> Histogram {
    metrics::histogram!("countersign_call_seconds", "method" => method.name)
}

/// True if a call gets its line. Lines of unauthenticated calls are suppressed beyond their rate.
fn has_line(method: Method, call: &Call) -> bool {
    if method.kind.is_frequent() {
        return true;
    }
    let has_line = call.is_authenticated() || UNAUTHENTICATED.take();
    if !has_line {
        metrics::counter!("countersign_log_lines_suppressed_total").increment(1);
    }
    has_line
}

/// Logs the number of suppressed lines, if a report is due.
pub(super) fn report_suppressed() {
    if let Some(suppressed) = UNAUTHENTICATED.report() {
        tracing::warn!(suppressed, "log lines of unauthenticated calls were suppressed");
    }
}

/// A rejected call of the API is an audit event. Probes and gateways ask all the time; a gateway has a log of its own, and
/// its checks are counted.
fn write_line(method: Method, call: &Call, code: Code, reason: &str, took: Duration) {
    if method.kind.is_frequent() && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let milliseconds = took.as_secs_f64() * 1_000.0;
    let client = call.client_id().map(|id| id.to_string()).unwrap_or_default();
    let origin = call.origin.map(|origin| origin.to_string());
    let method_name = method.name;
    if method.kind.is_frequent() {
        tracing::debug!(method = method_name, ?code, reason, client, origin, milliseconds, "call");
    } else if reason.is_empty() || !method.is_of_the_api() {
        tracing::info!(method = method_name, ?code, reason, client, origin, milliseconds, "call");
    } else {
        audit::call_refused(
            method_name,
            reason,
            call.client_id(),
            &format!("{code:?}"),
            origin,
            milliseconds,
        );
    }
}
