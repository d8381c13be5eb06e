//! One line in the log for each call, and its count. Lines of unauthenticated calls are bounded in number.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{call::Call, methods::Method};
use crate::{domain::LogLines, state::audit};

/// Log lines a second for unauthenticated calls.
const UNAUTHENTICATED_LINES: u32 = 20;

/// Rate limit of the lines.
pub(super) struct CallLog(&'static LogLines);

/// Their limit, of all calls of the process.
static UNAUTHENTICATED: LogLines = LogLines::per_second(UNAUTHENTICATED_LINES);

impl Default for CallLog {
    fn default() -> Self {
        Self(&UNAUTHENTICATED)
    }
}

impl CallLog {
    /// Counts a call and writes its line.
    pub(super) fn note(&self, method: Method, call: &Call, refusal: Option<&Status>, took: Duration) {
        let code = refusal.map_or(Code::Ok, Status::code);
        let info = refusal.and_then(|status| status.get_details_error_info());
        let reason = info.map_or_else(String::new, |info| info.reason);
        if method != Method::UNKNOWN {
            let labels = [
                ("method", method.name.to_owned()),
                ("code", format!("{code:?}")),
                ("reason", reason.clone()),
            ];
            metrics::counter!("countersign_calls_total", &labels).increment(1);
            metrics::histogram!("countersign_call_seconds", "method" => method.name).record(took);
        }
        if self.has_line(method, call) {
            write_line(method, call, code, &reason, took);
        }
    }

    /// True if a call gets its line. Lines of calls without valid credentials are suppressed beyond their rate.
    fn has_line(&self, method: Method, call: &Call) -> bool {
        if method.kind.is_frequent() {
            return true;
        }
        let has_line = call.is_authenticated() || self.0.take();
        if !has_line {
            metrics::counter!("countersign_log_lines_suppressed_total").increment(1);
        }
        has_line
    }
}

/// Logs how many lines were suppressed, if a report is due.
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
