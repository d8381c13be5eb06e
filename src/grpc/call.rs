//! The layer around every call: its id, its deadline, its line in the log, its count.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Request, Response};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::status::status;
use crate::{
    domain::{ClientId, RequestId, Violation},
    flows::{Error, Flows},
    state::audit,
};

/// Carries a call's id in and out.
const REQUEST_ID: &str = "x-request-id";
/// gRPC's own header for a caller's deadline.
const TIMEOUT: &str = "grpc-timeout";
/// The largest request. The largest valid one holds a text of a few kilobytes.
pub(super) const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// A gateway's check.
pub(super) const CHECK: &str = "envoy.service.auth.v3.Authorization/Check";
/// The largest Check: a gateway lets through up to 96 KiB of headers, and may send them twice.
pub(super) const MAX_CHECK_BYTES: usize = 256 * 1024;
/// How large the metadata of a call may be, each name and value with 32 bytes on top (RFC 9113, section 6.5.2).
const MAX_METADATA_BYTES: usize = 16 * 1024;
/// What stands for the method of a call that is not looked at any further, so that nobody's names become names
/// of metrics.
const OVERSIZED: &str = "oversized";
/// How much earlier than the caller's deadline the answer is sent, so that it arrives.
const HEAD_START: Duration = Duration::from_millis(20);

/// What is known of a call while it runs; in the extensions of its request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id: the caller's, or one of our own.
    pub request_id: String,
    /// The client behind it, once that is known.
    pub client_id: Arc<OnceLock<ClientId>>,
}

/// Puts [`CallService`] around the services.
#[derive(Clone)]
pub struct CallLayer {
    /// What counts the calls under way.
    pub flows: Arc<Flows>,
    /// The longest that a call may take.
    pub longest: Duration,
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, flows: Arc::clone(&self.flows), longest: self.longest }
    }
}

/// The services, with what is done around every call.
#[derive(Clone)]
pub struct CallService<S> {
    inner: S,
    flows: Arc<Flows>,
    longest: Duration,
}

impl<S, B> Service<Request<B>> for CallService<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = Call { request_id: request_id(request.headers()), client_id: Arc::default() };
        let oversized = size(&request) > MAX_METADATA_BYTES;
        let method =
            if oversized { OVERSIZED } else { request.uri().path().trim_start_matches('/') }.to_owned();
        let bound = if is_stream(&method) { None } else { Some(bound(request.headers(), self.longest)) };
        // A stream does not keep the server from its end.
        let running = bound.map(|_| self.flows.health().begin_call());
        request.extensions_mut().insert(call.clone());
        // The service that was asked whether it is ready must be the one that is called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let span = match is_frequent(&method) {
            true => tracing::debug_span!("call", request_id = %call.request_id),
            false => tracing::info_span!("call", request_id = %call.request_id),
        };
        Box::pin(
            async move {
                let began = Instant::now();
                let response = match oversized {
                    true => too_much_metadata(),
                    false => within(bound, inner.call(request)).await?,
                };
                drop(running);
                Ok(finished(response, &method, &call, began.elapsed()))
            }
            .instrument(span),
        )
    }
}

/// How large path and metadata are.
fn size<B>(request: &Request<B>) -> usize {
    let path = request.uri().path().len();
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>() + path
}

fn too_much_metadata() -> Response<Body> {
    status(&Violation::request("metadata", "is larger than 16 KiB").into()).into_http()
}

/// The response, or the refusal that its time is over.
async fn within<E>(
    bound: Option<Duration>,
    response: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    match bound {
        Some(bound) => tokio::time::timeout(bound, response)
            .await
            .unwrap_or_else(|_| Ok(status(&Error::DeadlineExceeded).into_http())),
        None => response.await,
    }
}

/// Makes sure that a refusal has a reason, notes the outcome, and sends the call's id back.
fn finished(response: Response<Body>, method: &str, call: &Call, took: Duration) -> Response<Body> {
    let refusal = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok);
    let (mut response, refusal) = match refusal {
        Some(status) => {
            let status = with_reason(status, method);
            (status.clone().into_http(), Some(status))
        }
        None => (response, None),
    };
    note(method, call, refusal.as_ref(), took);
    if let Ok(value) = HeaderValue::from_str(&call.request_id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What the transport refuses on its own has no reason yet: a message too large, or none at all.
fn with_reason(refused: Status, method: &str) -> Status {
    if refused.get_details_error_info().is_some() {
        return refused;
    }
    match refused.code() {
        Code::OutOfRange => {
            let most = if method == CHECK { MAX_CHECK_BYTES } else { MAX_REQUEST_BYTES };
            status(&Violation::request("message", format!("is larger than {} KiB", most / 1024)).into())
        }
        Code::Internal => status(&Violation::request("message", "is not the message of this call").into()),
        _ => refused,
    }
}

fn note(method: &str, call: &Call, refusal: Option<&Status>, took: Duration) {
    let code = refusal.map_or(Code::Ok, Status::code);
    let info = refusal.and_then(|status| status.get_details_error_info());
    let reason = info.map_or_else(String::new, |info| info.reason);
    // Names that nobody serves must not become names of metrics.
    if code != Code::Unimplemented {
        let labels =
            [("method", method.to_owned()), ("code", format!("{code:?}")), ("reason", reason.clone())];
        metrics::counter!("countersign_calls_total", &labels).increment(1);
        metrics::histogram!("countersign_call_seconds", "method" => method.to_owned()).record(took);
    }
    if !reason.is_empty() && method.starts_with("countersign.") {
        audit::call_refused(method, &reason, call.client_id.get().copied());
    }
    let client = call.client_id.get().map(ToString::to_string).unwrap_or_default();
    let milliseconds = took.as_secs_f64() * 1_000.0;
    if is_frequent(method) {
        tracing::debug!(method, ?code, reason, client, milliseconds, "call");
    } else {
        tracing::info!(method, ?code, reason, client, milliseconds, "call");
    }
}

/// Probes and gateways ask all the time; a gateway has a log of its own, and who passed counts as a metric.
fn is_frequent(method: &str) -> bool {
    method.starts_with("grpc.") || method.starts_with("envoy.")
}

/// Streams end when their caller or the server wants, not at a deadline.
fn is_stream(method: &str) -> bool {
    matches!(method, "grpc.health.v1.Health/Watch" | "countersign.v1.TokenService/WatchRevocations")
        || method.starts_with("grpc.reflection.")
}

/// The caller's id for the call if it is fit for a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let fit = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    sent.filter(fit).map_or_else(|| RequestId::generate().to_string(), str::to_owned)
}

/// How long a call may take: as long as its caller waits, but not longer than is allowed.
fn bound(headers: &HeaderMap, longest: Duration) -> Duration {
    let asked = headers.get(TIMEOUT).and_then(|value| value.to_str().ok()).and_then(timeout);
    match asked {
        Some(asked) if asked < longest => asked.saturating_sub(HEAD_START).max(asked / 2),
        _ => longest,
    }
}

/// The value of `grpc-timeout`: at most 8 digits and a unit (gRPC over HTTP/2, "Timeout").
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_valid = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if is_valid { digits.parse().ok()? } else { return None };
    match unit {
        "H" => Some(Duration::from_hours(number)),
        "M" => Some(Duration::from_mins(number)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_deadline_counts_up_to_the_longest() {
        let longest = Duration::from_secs(10);
        let of = |text: &str| {
            let headers = HeaderMap::from_iter([(TIMEOUT.parse().unwrap(), text.parse().unwrap())]);
            bound(&headers, longest)
        };
        assert_eq!(bound(&HeaderMap::new(), longest), longest);
        assert_eq!(of("2S"), Duration::from_millis(1_980));
        assert_eq!(of("10m"), Duration::from_millis(5));
        assert_eq!((of("1H"), of("99999999n")), (longest, Duration::from_nanos(79_999_999)));
        for malformed in ["", "S", "1", "123456789S", "-1S", "1s", "1.5S", "S1"] {
            assert_eq!(of(malformed), longest, "{malformed}");
        }
    }

    #[test]
    fn a_callers_id_is_kept_if_it_is_fit_for_a_log() {
        let of = |value: &str| {
            request_id(&HeaderMap::from_iter([(REQUEST_ID.parse().unwrap(), value.parse().unwrap())]))
        };
        assert_eq!(of("abc-123"), "abc-123");
        for invalid in ["", "a b", &"a".repeat(129)] {
            assert!(of(invalid).parse::<uuid::Uuid>().is_ok(), "{invalid}");
        }
    }
}
