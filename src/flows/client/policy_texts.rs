//! Validation of a policy, with the texts that are to stand in EIP-4361 texts: each must fit the grammar.

use crate::{
    domain::{Policy, Violation},
    flows::{Error, Result},
    wallet::siwx::{Domain, Statement, Uri},
};

/// A policy whose rules hold, and whose texts can be signed.
///
/// # Errors
/// Every violation at once.
pub(crate) fn validated(policy: Policy) -> Result<Policy> {
    let policy = policy.validated().map_err(Error::Invalid)?;
    let violation = |field: &str, list: &[String], fits: fn(&str) -> bool, must: &str| {
        list.iter().any(|text| !fits(text)).then(|| Violation::request(field, must))
    };
    let uri = |text: &str| Uri::parse(text).is_some();
    let wrong: Vec<_> = [
        violation("domains", &policy.domains, |text| Domain::parse(text).is_some(), DOMAIN),
        violation("uris", &policy.uris, uri, URI),
        violation("resources", &policy.resources, uri, URI),
        violation("statements", &policy.statements, |text| Statement::parse(text).is_some(), STATEMENT),
    ]
    .into_iter()
    .flatten()
    .collect();
    if wrong.is_empty() { Ok(policy) } else { Err(Error::Invalid(wrong)) }
}

const DOMAIN: &str = "must be hosts with or without a port, such as `shop.example:8443`, and no URLs";
const URI: &str = "must be absolute URIs (RFC 3986), such as `https://shop.example/login`";
const STATEMENT: &str = "must be lines of the characters that EIP-4361 allows in a statement";
