//! The layer around every call: its limits, its id, its deadline, its line in the log.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Body as HttpBody, Bytes, StdError},
};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::{
    arriving_request::{MAX_REQUEST_BYTES, arrived, too_large},
    authorization::denied_call,
    call_log,
    call_record::Call,
    guarded_body::guarded,
    methods::Method,
    status::status,
    stream_messages::StreamError,
};
use crate::{
    domain::{
        Peer, RequestId, TrustedProxies, Violation,
        peer::{HealthWatch, Stalled},
    },
    flows::{Error, Flows},
    state::running_calls::{CallKind, RunningCall},
};

/// Carries a call's id in and out.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// gRPC's own header for a caller's deadline.
static TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Names the addresses that a call has come through.
static FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How large the metadata of a call may be, each name and value with 32 bytes on top (RFC 9113, section 6.5.2).
const MAX_METADATA_BYTES: usize = 16 * 1024;
/// The error of a request that lost its place while it had not arrived whole.
pub(super) const INCOMPLETE_REQUESTS: Error = Error::Overloaded("incomplete requests");
/// How much earlier than the caller's deadline the answer is sent, so that it arrives.
const HEAD_START: Duration = Duration::from_millis(20);

/// Puts [`CallService`] around the services.
#[derive(Clone)]
pub struct CallLayer {
    flows: Arc<Flows>,
    /// The longest that a call may take.
    longest: Duration,
    proxies: Arc<TrustedProxies>,
    /// True once an ignored `x-forwarded-for` was logged.
    has_warned: Arc<AtomicBool>,
}

impl CallLayer {
    /// With the longest time of a call, and the proxies whose `x-forwarded-for` is trusted.
    pub(super) fn new(flows: Arc<Flows>, longest: Duration, proxies: TrustedProxies) -> Self {
        Self { flows, longest, proxies: Arc::new(proxies), has_warned: Arc::default() }
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = CallService<S>;

    fn layer(&self, inner: S) -> CallService<S> {
        CallService { inner, layer: self.clone() }
    }
}

/// The services, with what is done around every call.
#[derive(Clone)]
pub struct CallService<S> {
    inner: S,
    layer: CallLayer,
}

impl<S, B> Service<Request<B>> for CallService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + Unpin + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let began = Instant::now();
        let method = method(&request);
        let call = self.layer.call(&request);
        request.extensions_mut().insert(call.clone());
        let (flows, longest) = (Arc::clone(&self.layer.flows), self.layer.longest);
        // The service that was asked whether it is ready must be the one that is called.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        let span = match method.kind.is_frequent() {
            true => tracing::debug_span!("call", request_id = %call.request_id),
            false => tracing::info_span!("call", request_id = %call.request_id),
        };
        let bound = bound(request.headers(), self.layer.longest);
        Box::pin(
            async move {
                let mut has_begun = false;
                let response = tokio::time::timeout(bound, async {
                    let (head, body) = request.into_parts();
                    // The caller of a stream may wait for the response before it sends a message.
                    let error = (method.kind == CallKind::Reflection).then(StreamError::default);
                    let body = match &error {
                        Some(error) => error.request(Body::new(body.map_err(as_status)), longest),
                        None => match arrived(body).await {
                            Ok(body) => Body::new(body.map_err(as_status)),
                            Err(error) => return Ok(rejected(method, &incomplete(error))),
                        },
                    };
                    has_begun = true;
                    match admit(&flows, method, &head.extensions) {
                        Ok(admitted) => {
                            let response = inner.call(Request::from_parts(head, body)).await?;
                            let response = match error {
                                Some(error) => response.map(|body| error.response(body)),
                                None => response,
                            };
                            Ok(admitted.hold(method.kind, response))
                        }
                        Err(error) => Ok(rejected(method, &error)),
                    }
                });
                let response = response.await.unwrap_or_else(|_| {
                    let error = if has_begun { Error::DeadlineExceeded } else { Error::RequestIncomplete };
                    Ok(rejected(method, &error))
                });
                Ok(finished(response?, method, &call, began))
            }
            .instrument(span),
        )
    }
}

/// Places of a running call.
struct Admitted {
    _running: RunningCall,
    _health_watch: Option<HealthWatch>,
}

impl Admitted {
    /// A response that keeps the places while it is a stream of a kind whose number is bounded.
    fn hold(self, kind: CallKind, response: Response<Body>) -> Response<Body> {
        match kind {
            CallKind::Api | CallKind::Probe => response,
            CallKind::RevocationWatch | CallKind::HealthWatch | CallKind::Reflection => {
                response.map(|body| guarded(body, self))
            }
        }
    }
}

impl CallLayer {
    fn call<B>(&self, request: &Request<B>) -> Call {
        let peer = request.extensions().get::<Peer>();
        let origin = peer.map(|peer| self.origin(peer.address, request.headers()));
        Call::new(request_id(request.headers()), origin)
    }

    /// The address that a call came from. The first `x-forwarded-for` of an untrusted peer is logged.
    fn origin(&self, connection: IpAddr, headers: &HeaderMap) -> IpAddr {
        let is_ignored =
            headers.contains_key(&FORWARDED) && !self.proxies.contains(connection.to_canonical());
        if is_ignored && !self.has_warned.swap(true, Ordering::AcqRel) {
            let advice = "x-forwarded-for is ignored: the peer is not in `trusted-proxies`";
            tracing::warn!(%connection, "{advice}; this is logged once");
        }
        self.proxies.origin(connection, forwarded(headers))
    }
}

/// The method of a call.
fn method<B>(request: &Request<B>) -> Method {
    if size(request) > MAX_METADATA_BYTES { Method::OVERSIZED } else { Method::of(request.uri().path()) }
}

/// Places of a call that is to run.
fn admit(flows: &Flows, method: Method, extensions: &http::Extensions) -> Result<Admitted, Error> {
    if method.is_oversized() {
        return Err(Violation::request("metadata", "is larger than 16 KiB").into());
    }
    let health_watch = health_watch(method.kind, extensions.get::<Peer>());
    let running = match &health_watch {
        Some(watch) => flows.calls().begin_health_watch(watch.is_within_share()),
        None => flows.calls().begin(method.kind),
    };
    Ok(Admitted { _running: running?, _health_watch: health_watch })
}

/// A Health/Watch stream, counted for its connection.
fn health_watch(kind: CallKind, peer: Option<&Peer>) -> Option<HealthWatch> {
    let peer = peer.filter(|_| kind == CallKind::HealthWatch)?;
    Some(peer.connection.begin_health_watch())
}

fn forwarded(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &str> {
    headers.get_all(&FORWARDED).iter().map(|line| line.to_str().unwrap_or_default())
}

/// The error of a request whose beginning does not arrive.
fn incomplete(error: impl Into<StdError>) -> Error {
    match error.into().downcast_ref::<Stalled>() {
        Some(Stalled::TooMany) => INCOMPLETE_REQUESTS,
        Some(Stalled::TooLong) | None => Error::RequestIncomplete,
    }
}

/// The error of a body, as a status if the peer stopped sending.
fn as_status(error: impl Into<StdError>) -> StdError {
    let error = error.into();
    match error.downcast_ref::<Stalled>() {
        Some(Stalled::TooLong) => status(&Error::RequestIncomplete).into(),
        Some(Stalled::TooMany) => status(&INCOMPLETE_REQUESTS).into(),
        None => error,
    }
}

/// The response to a call that does not run.
fn rejected(method: Method, error: &Error) -> Response<Body> {
    if method.is_check() { denied_call(error) } else { status(error).into_http() }
}

/// How large path and metadata are.
fn size<B>(request: &Request<B>) -> usize {
    let path = request.uri().path().len();
    request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum::<usize>() + path
}

/// Makes sure that a refusal has a reason, notes the outcome, and sends the call's id back.
fn finished(response: Response<Body>, method: Method, call: &Call, began: Instant) -> Response<Body> {
    let refusal = Status::from_header_map(response.headers()).filter(|status| status.code() != Code::Ok);
    let (mut response, refusal) = match refusal {
        Some(status) => {
            let status = with_reason(status);
            (status.clone().into_http(), Some(status))
        }
        None => (response, None),
    };
    call_log::note(method, call, refusal.as_ref(), began.elapsed());
    if let Ok(value) = HeaderValue::from_str(&call.request_id) {
        response.headers_mut().insert(&REQUEST_ID, value);
    }
    response
}

/// What the transport refuses on its own has no reason yet: a message too large, or none at all.
fn with_reason(refused: Status) -> Status {
    if refused.get_details_error_info().is_some() {
        return refused;
    }
    match refused.code() {
        Code::OutOfRange => status(&too_large(MAX_REQUEST_BYTES)),
        Code::Internal => status(&Violation::request("message", "is not the message of this call").into()),
        _ => refused,
    }
}

/// The caller's id for the call if it is fit for a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sent = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let fit = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    sent.filter(fit).map_or_else(|| RequestId::generate().to_string(), str::to_owned)
}

/// How long a call may take: as long as its caller waits, but not longer than is allowed.
fn bound(headers: &HeaderMap, longest: Duration) -> Duration {
    let asked = headers.get(&TIMEOUT).and_then(|value| value.to_str().ok()).and_then(timeout);
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
            let headers = HeaderMap::from_iter([(TIMEOUT.clone(), text.parse().unwrap())]);
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
        let of =
            |value: &str| request_id(&HeaderMap::from_iter([(REQUEST_ID.clone(), value.parse().unwrap())]));
        assert_eq!(of("abc-123"), "abc-123");
        for invalid in ["", "a b", &"a".repeat(129)] {
            assert!(of(invalid).parse::<uuid::Uuid>().is_ok(), "{invalid}");
        }
    }
}
