//! envoy.service.auth.v3.Authorization: a gateway asks, for each request, whether it may pass.

use std::{
    future::{Ready, ready},
    sync::Arc,
    time::Duration,
};

use envoy_types::pb::{
    envoy::{
        config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
        service::auth::v3::{
            CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse, attribute_context::HttpRequest,
            check_response::HttpResponse,
        },
        r#type::v3::HttpStatus,
    },
    google::rpc,
};
use http::{HeaderMap, HeaderName, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use tonic::{Code, Request, Response, Status, body::Body, codegen::Bytes, server::UnaryService};

use super::{call_record::note_authenticated, credentials::read, status::code_and_reason};
use crate::flows::{AccessClaims, Credentials, Error, Flows, token::check::Route};

/// Every header that tells a service who calls begins with this, and comes from here alone.
const PREFIX: &str = "x-countersign-";

/// The service, over the flows.
#[derive(Clone)]
pub(super) struct AuthorizationApi {
    /// The flows.
    pub(super) flows: Arc<Flows>,
    /// How old what is known of revocations may be.
    pub(super) max_age: Duration,
}

/// Check, without the generated server around it: nothing here waits, and a request of a kilobyte is not moved.
impl UnaryService<Box<CheckRequest>> for AuthorizationApi {
    type Response = CheckResponse;
    type Future = Ready<Result<Response<CheckResponse>, Status>>;

    fn call(&mut self, request: Request<Box<CheckRequest>>) -> Self::Future {
        ready(Ok(Response::new(self.check(&request))))
    }
}

impl AuthorizationApi {
    fn check(&self, request: &Request<Box<CheckRequest>>) -> CheckResponse {
        let attributes = request.get_ref().attributes.as_ref();
        let http = attributes.and_then(|it| it.request.as_ref()).and_then(|it| it.http.as_ref());
        let named = |name| attributes.and_then(|it| it.context_extensions.get(name)).map(String::as_str);
        let credentials = http.map_or(Credentials::None, credentials);
        let outcome = Route::new(named("audience"), named("client_id"))
            .and_then(|route| self.flows.check_token(&credentials, &route, self.max_age));
        let reason = outcome.as_ref().map_or_else(|error| code_and_reason(error).1, |_| "");
        metrics::counter!("countersign_checks_total", "reason" => reason).increment(1);
        match outcome {
            Ok(claims) => {
                note_authenticated(request.extensions(), claims.client_id);
                passed(&claims, http)
            }
            Err(error) => denied(&error),
        }
    }
}

/// The headers of the request, in whichever of its two forms the gateway sends them.
fn headers(http: &HttpRequest) -> impl Iterator<Item = (&str, &str)> {
    let merged = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let raw = http.header_map.iter().flat_map(|map| &map.headers);
    let raw = raw.map(|it| match str::from_utf8(&it.raw_value) {
        Ok(value) if !value.is_empty() => (it.key.as_str(), value),
        _ => (it.key.as_str(), it.value.as_str()),
    });
    merged.chain(raw)
}

/// What the request was sent with. Two values cannot both be meant.
fn credentials(http: &HttpRequest) -> Credentials {
    let mut values = headers(http).filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    match (values.next(), values.next()) {
        (None, _) => Credentials::None,
        (Some((_, value)), None) => read(value).unwrap_or(Credentials::Unreadable),
        (Some(_), Some(_)) => Credentials::Unreadable,
    }
}

/// Let through, as whom the token says; whoever the request itself claims to be is forgotten.
fn passed(claims: &AccessClaims, http: Option<&HttpRequest>) -> CheckResponse {
    let identity = [
        ("x-countersign-account", claims.sub.to_string()),
        ("x-countersign-session", claims.sid.to_string()),
        ("x-countersign-client", claims.client_id.to_string()),
        ("x-countersign-address", claims.address.clone()),
        ("x-countersign-network", claims.network.clone()),
        ("x-countersign-wallet-kind", claims.wallet_kind.clone()),
        ("x-countersign-scope", claims.scope.clone()),
    ];
    let (present, absent): (Vec<_>, Vec<_>) = identity.into_iter().partition(|(_, value)| !value.is_empty());
    let mut headers_to_remove: Vec<String> = absent.iter().map(|(name, _)| (*name).to_owned()).collect();
    // A name is one in any case: what is removed after it was set would take our value with it.
    let is_present = |name: &str| present.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    let forged =
        http.into_iter().flat_map(headers).filter(|(name, _)| is_identity(name) && !is_present(name));
    headers_to_remove.extend(forged.map(|(name, _)| name.to_owned()));
    let headers = present.into_iter().map(|(name, value)| header(name, value)).collect();
    CheckResponse {
        status: Some(rpc::Status::default()),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
            headers,
            headers_to_remove,
            ..OkHttpResponse::default()
        })),
        ..CheckResponse::default()
    }
}

/// Whether a service could take a header for one of ours: to many, `_` and `-` are the same.
fn is_identity(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.replace('_', "-").eq_ignore_ascii_case(PREFIX))
}

/// Denied response to a Check that was not made: it did not arrive, or a limit was reached. The request may well be
/// allowed, so the status is 503 instead of 403.
pub(super) fn denied_call(error: &Error) -> http::Response<Body> {
    metrics::counter!("countersign_checks_total", "reason" => code_and_reason(error).1).increment(1);
    let response = denied_as(503, error).encode_to_vec();
    let length = u32::try_from(response.len()).unwrap_or_default().to_be_bytes();
    // gRPC over HTTP/2, "Length-Prefixed-Message": not compressed, the length, the message.
    let message = Bytes::from([&[0], &length[..], &response].concat());
    let trailers =
        HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), http::HeaderValue::from(0))]);
    let body = Full::new(message).with_trailers(async { Some(Ok(trailers)) });
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    response
}

/// Refused with a response of its own: a status alone would reach the caller as 403, whatever it says.
fn denied(error: &Error) -> CheckResponse {
    let http_status = match code_and_reason(error).0 {
        Code::Unauthenticated => 401,
        Code::Unavailable => 503,
        _ => 403,
    };
    denied_as(http_status, error)
}

fn denied_as(http_status: i32, error: &Error) -> CheckResponse {
    let (code, reason) = code_and_reason(error);
    let more = match http_status {
        401 => Some(header("www-authenticate", challenge(error))),
        503 => Some(header("retry-after", "1".to_owned())),
        _ => None,
    };
    let body = serde_json::json!({ "reason": reason, "message": error.to_string() }).to_string();
    let mut headers = vec![header("content-type", "application/json".to_owned())];
    headers.extend(more);
    CheckResponse {
        status: Some(rpc::Status { code: code.into(), message: error.to_string(), ..rpc::Status::default() }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: http_status }),
            headers,
            body,
        })),
        ..CheckResponse::default()
    }
}

/// RFC 6750, section 3: whoever sent no token is told no error.
fn challenge(error: &Error) -> String {
    match error {
        Error::CredentialsMissing(_) => "Bearer realm=\"countersign\"".to_owned(),
        _ => format!("Bearer realm=\"countersign\", error=\"invalid_token\", error_description=\"{error}\""),
    }
}

fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}
