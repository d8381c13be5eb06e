//! Strict parser: nothing is guessed, skipped or corrected.

use crate::domain::{Address, Namespace, Network, Nonce, Problem, Violation};
use crate::wallet::parse_address;

use super::{
    ChainId, Domain, RequestId, Scheme, SiwxMessage, Statement, Timestamp, Uri,
    dialect::Dialect,
    lines::{Form, Lines, Refusal},
};

const URI: Form<'_, Uri> = Form { read: &Uri::parse, must_be: "a URI after RFC 3986" };
const VERSION: Form<'_, ()> = Form { read: &|text| (text == "1").then_some(()), must_be: "1" };
const NONCE: Form<'_, Nonce> = Form { read: &read_nonce, must_be: "8 to 64 letters and digits" };
const TIME: Form<'_, Timestamp> = Form {
    read: &Timestamp::parse,
    must_be: "a time after RFC 3339 that the calendar has, such as 2026-01-31T12:00:00Z",
};
const REQUEST_ID: Form<'_, RequestId> =
    Form { read: &RequestId::parse, must_be: "made of the characters that RFC 3986 has for a path segment" };
const RESOURCE: Form<'_, Uri> = Form {
    read: &|line| line.strip_prefix("- ").and_then(Uri::parse),
    must_be: "the last field, and each line below it `- ` and a URI after RFC 3986",
};

/// Parses a sign-in text of any namespace.
///
/// # Errors
/// A violation of `message` that names the part that breaks the grammar and does not repeat it.
pub fn parse(text: &str) -> Result<SiwxMessage, Violation> {
    read(text).map_err(|why| Violation::new("message", Problem::Message, why))
}

fn read(text: &str) -> Result<SiwxMessage, Refusal> {
    if !text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)) {
        return Err("must have printable ASCII and line feeds only, and no carriage returns".into());
    }
    let lines: Vec<&str> = text.split('\n').collect();
    let mut lines = Lines::new(&lines);
    let (namespace, scheme, domain) = read_header(lines.next())?;
    let address = lines.next();
    if !lines.next().is_empty() {
        return Err("must have a blank line after the address".into());
    }
    let dialect = Dialect::of(namespace);
    let statement = lines.statement(dialect)?.map(read_statement).transpose()?;
    let uri = lines.field("URI", &URI)?;
    lines.field("Version", &VERSION)?;
    let read_chain_id = |text: &str| ChainId::parse(namespace, text);
    let chain_id = lines.field("Chain ID", &Form { read: &read_chain_id, must_be: dialect.chain_id_form })?;
    let message = SiwxMessage {
        scheme,
        domain,
        address: read_address(address, chain_id.network(), dialect)?,
        statement,
        uri,
        chain_id,
        nonce: lines.field("Nonce", &NONCE)?,
        issued_at: lines.field("Issued At", &TIME)?,
        expiration_time: lines.optional_field("Expiration Time", &TIME)?,
        not_before: lines.optional_field("Not Before", &TIME)?,
        request_id: lines.optional_field("Request ID", &REQUEST_ID)?,
        resources: lines.resources(&RESOURCE)?,
    };
    lines.end().map(|()| message)
}

/// `[ scheme "://" ] domain " wants you to ..."`; on Solana without a scheme.
fn read_header(line: &str) -> Result<(Namespace, Option<Scheme>, Domain), Refusal> {
    let origin_in = |namespace| Some((namespace, line.strip_suffix(Dialect::of(namespace).header)?));
    let (namespace, origin) = Namespace::ALL.into_iter().find_map(origin_in).ok_or(
        "must end its first line with `wants you to sign in with your Ethereum account:`, or another chain there",
    )?;
    let (scheme, domain) = match origin.split_once("://") {
        Some((scheme, domain)) if Dialect::of(namespace).has_scheme => {
            let scheme = Scheme::parse(scheme).ok_or("must have a scheme after RFC 3986 before `://`")?;
            (Some(scheme), domain)
        }
        _ => (None, origin),
    };
    let domain =
        Domain::parse(domain).ok_or("must name a domain as an origin has it: a host, no user, a port")?;
    Ok((namespace, scheme, domain))
}

fn read_statement(text: &str) -> Result<Statement, Refusal> {
    Statement::parse(text)
        .ok_or_else(|| "must have a statement of letters, digits, spaces and -._~:/?#[]@!$&'()*+,;=".into())
}

/// EIP-4361 says that the checksum of EIP-55 must hold ("ABNF"), and that it should ("Message Fields"). Libraries write
/// it and reject a text without it, so only the canonical form is accepted.
fn read_address(text: &str, network: &Network, dialect: &Dialect) -> Result<Address, Refusal> {
    let address = parse_address("message", text, network).ok();
    address.filter(|address| address.as_str() == text).ok_or_else(|| dialect.address_refusal.into())
}

fn read_nonce(text: &str) -> Option<Nonce> {
    if text.len() < 8 {
        return None;
    }
    Nonce::parse(text).ok()
}
