//! One line in the log for each call, and its count. Lines that strangers cause are bounded in number.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{call::Call, methods::Method};
use crate::state::audit;

/// Lines a second for calls without valid credentials; a second's worth may come at once.
const STRANGERS_LINES: u32 = 20;
/// Interval at which the number of suppressed lines is logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Rate limit of the lines.
#[derive(Default)]
pub(super) struct CallLog(Mutex<Lines>);

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
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(suppressed) = lines.report(now) {
            tracing::warn!(suppressed, "lines of calls without valid credentials were suppressed");
        }
        let has_line = call.is_authenticated() || lines.take(now);
        if !has_line {
            metrics::counter!("countersign_log_lines_suppressed_total").increment(1);
        }
        has_line
    }
}

/// A rejected call of the API is an audit event. Probes and gateways ask all the time; a gateway has a log of its own, and
/// its checks are counted.
fn write_line(method: Method, call: &Call, code: Code, reason: &str, took: Duration) {
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

/// A bucket of lines, and what did not fit.
#[derive(Default)]
struct Lines {
    /// The moment at which the bucket is empty again (the generic cell rate algorithm).
    empty: Option<Instant>,
    suppressed: u64,
    reported: Option<Instant>,
}

impl Lines {
    fn take(&mut self, now: Instant) -> bool {
        let filled =
            self.empty.map_or(now, |empty| empty.max(now)) + Duration::from_secs(1) / STRANGERS_LINES;
        let fits = filled <= now + Duration::from_secs(1);
        if fits {
            self.empty = Some(filled);
        } else {
            self.suppressed += 1;
        }
        fits
    }

    /// The number of lines suppressed since the last report, if it is due.
    fn report(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.reported.is_none_or(|last| now.duration_since(last) >= REPORT_INTERVAL);
        if self.suppressed == 0 || !is_due {
            return None;
        }
        self.reported = Some(now);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_rate_are_suppressed_and_counted() {
        let (mut lines, now) = (Lines::default(), Instant::now());
        let written = (0..1_000).filter(|_| lines.take(now)).count();
        assert_eq!(written, 20);
        assert_eq!(lines.report(now), Some(980));
        assert_eq!(lines.report(now), None);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..1_000).filter(|_| lines.take(later)).count(), 20);
        assert_eq!(lines.report(later), None, "not due");
        assert_eq!(lines.report(now + REPORT_INTERVAL), Some(980));
    }
}
