//! One JSON-RPC endpoint: an `eth_call`, and what may come back.

use std::{fmt, time::Instant};

use http::{Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use url::Url;

use super::places::{Holder, Place, Places, Shed};
use crate::{
    domain::{LogLines, Secret},
    wallet::evm::contract::{GAS, ValidationCall, ValidationResult},
};

/// The longest answer that is read, in bytes; a good one has some 400.
const ANSWER_LIMIT: usize = 16 * 1024;

/// Who asks. Contracts that take the zero address for a simulation, and go easy on it, must not do so here.
const FROM: &str = "0x636f756e7465727369676e000000000000000000";

/// Keeps connections to the endpoints open.
pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// `https` is verified against Mozilla's authorities. Redirections are not followed, and no proxy is asked.
pub(super) fn http_client() -> HttpClient {
    let connector = HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// Lines a second for a node that does not answer: each call would write one, for as long as the node is away.
const FAILURE_LINES: u32 = 1;

/// Where a node is asked.
pub(super) struct Endpoint {
    url: Secret<Url>,
    places: Places,
    /// Limit on the lines about its failures.
    pub(super) failure_lines: LogLines,
}

/// Why an endpoint gave no answer. Of its URL only the host is shown: the rest may hold a key.
#[derive(Debug)]
pub(super) struct EndpointError {
    host: String,
    why: String,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.host, self.why)
    }
}

/// JSON-RPC 2.0, section 5: a result or an error.
#[derive(Deserialize)]
struct Reply {
    result: Option<String>,
    error: Option<ReplyError>,
}

#[derive(Deserialize)]
struct ReplyError {
    code: i64,
}

impl Endpoint {
    pub(super) fn new(url: &Secret<Url>) -> Self {
        Self {
            url: url.clone(),
            places: Places::default(),
            failure_lines: LogLines::per_second(FAILURE_LINES),
        }
    }

    /// Takes a place for one call.
    pub(super) fn place(&self, holder: Holder) -> Result<Place<'_>, Shed> {
        self.places.take(holder, Instant::now())
    }

    pub(super) fn error(&self, why: impl Into<String>) -> EndpointError {
        let url = self.url.expose();
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        EndpointError { host, why: why.into() }
    }

    /// Anything but an answer in the exact form asked for is an error.
    pub(super) async fn ask(
        &self,
        client: &HttpClient,
        call: &ValidationCall,
    ) -> Result<ValidationResult, EndpointError> {
        let request = Request::post(self.url.expose().as_str())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(eth_call(call)))
            .map_err(|_| self.error("has a URL that cannot be asked"))?;
        let response = client.request(request).await.map_err(|error| self.error(innermost(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(self.error(format!("answered with status {}", response.status().as_u16())));
        }
        let body = Limited::new(response.into_body(), ANSWER_LIMIT);
        let body = body.collect().await.map_err(|error| self.error(innermost(error.as_ref())))?;
        let reply: Reply =
            serde_json::from_slice(&body.to_bytes()).map_err(|_| self.error("answered no JSON-RPC"))?;
        if let Some(ReplyError { code }) = reply.error {
            return Err(self.error(format!("answered with error {code}")));
        }
        let bytes = reply.result.and_then(|text| hex::decode(text.strip_prefix("0x")?).ok());
        bytes
            .and_then(|bytes| ValidationResult::parse(&bytes))
            .ok_or_else(|| self.error("answered something else than was asked"))
    }
}

/// Without a recipient, so that `data` is a program that runs; nothing of what it does is kept.
fn eth_call(call: &ValidationCall) -> String {
    let data = format!("0x{}", hex::encode(call.data()));
    serde_json::json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_call",
        "params": [{ "from": FROM, "data": data, "gas": format!("{GAS:#x}") }, "latest"],
    })
    .to_string()
}

/// The first cause: "Connection refused" rather than "client error".
fn innermost(mut error: &(dyn std::error::Error + 'static)) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    format!("failed: {error}")
}
