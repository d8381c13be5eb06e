//! What other libraries signed is accepted here, and what nobody signed is not.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod arbitrary_input;
mod ed25519;
mod eip4361;
mod eip712;

/// A file of vectors: where they come from, and each of them.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors<T> {
    source: String,
    cases: Vec<T>,
}

/// The cases of a file, at least `least` of them: a test over none would pass.
fn cases<T: serde::de::DeserializeOwned>(json: &str, least: usize) -> Vec<T> {
    let vectors: Vectors<T> = serde_json::from_str(json).unwrap();
    assert!(vectors.cases.len() >= least, "{}: only {} cases", vectors.source, vectors.cases.len());
    vectors.cases
}
