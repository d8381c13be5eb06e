//! The bare verification of ES256, by a process that has the servers' core for itself meanwhile.

use std::{
    fs,
    io::{self, Write as _},
    process::Stdio,
    thread,
    time::Duration,
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::grpc::v1::{self, token_service_client::TokenServiceClient};

use crate::{
    each,
    server::{Server, UP_TO_DATE, on_its_core},
};

/// Asks this program for the bare verification alone.
pub(super) const BARE: &str = "bare";

/// Verifies the tokens' signatures, which all are of one key: microseconds of processor time for each.
pub(super) fn bare(point: &str, tokens: &[String]) -> f64 {
    let mut itself = on_its_core(std::env::current_exe().unwrap().to_str().unwrap());
    let mut child = itself.arg(BARE).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    write!(child.stdin.take().unwrap(), "{point}\n{}", tokens.join("\n")).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// What [`bare`] has this program do: the key's point and the tokens come in, the time goes out.
pub(super) fn verify() {
    let lines: Vec<String> = io::stdin().lines().map(Result::unwrap).collect();
    let (point, tokens) = lines.split_first().unwrap();
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(point)).unwrap();
    let parts = tokens.iter().map(|token| token.rsplit_once('.').unwrap());
    let signed: Vec<_> = parts.map(|(signed, signature)| (signed, decode(signature))).collect();
    let verify_all = || {
        for (signed, signature) in &signed {
            key.verify_sig(signed.as_bytes(), signature).unwrap();
        }
    };
    // A server is warm when it is measured.
    verify_all();
    let before = used();
    verify_all();
    println!("{}", each(used() - before, tokens));
}

/// The processor time of this thread so far.
fn used() -> Duration {
    thread::sleep(UP_TO_DATE);
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// The point of the key (SEC 1, section 2.3.3) that signed a token.
pub(super) async fn point(server: &Server, token: &str) -> String {
    let keys = TokenServiceClient::new(server.channel.clone()).get_jwks(v1::GetJwksRequest {}).await.unwrap();
    let header: serde_json::Value =
        serde_json::from_slice(&decode(token.split('.').next().unwrap())).unwrap();
    let key = keys.into_inner().keys.into_iter().find(|key| header["kid"] == key.kid.as_str()).unwrap();
    URL_SAFE_NO_PAD.encode([&[4][..], &decode(&key.x), &decode(&key.y)].concat())
}
