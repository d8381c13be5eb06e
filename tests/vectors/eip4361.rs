//! Texts of independent libraries, and texts that must be refused, against what reads and writes them.
//!
//! `eip4361/cases.json` has the fields; the two `generate` scripts beside it had the libraries
//! make texts of them. `refused.json` was written by hand after the grammar, one broken rule each.

use std::{fs, path::Path};

use countersign::wallet::siwx::{self, SiwxMessage, Timestamp};
use serde_json::{Map, Value, json};

fn vectors(file: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/eip4361");
    serde_json::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

/// The members that the vectors have, under the names that they give them.
fn fields(message: &SiwxMessage) -> Value {
    let optional = |value: Option<&str>| value.map_or(Value::Null, Value::from);
    let uris = message.resources.as_ref().map(|uris| uris.iter().map(|uri| uri.as_str()).collect::<Vec<_>>());
    let fields = json!({
        "scheme": optional(message.scheme.as_ref().map(|scheme| scheme.as_str())),
        "domain": message.domain.as_str(),
        "address": message.address.as_str(),
        "statement": optional(message.statement.as_ref().map(|statement| statement.as_str())),
        "uri": message.uri.as_str(),
        "chainId": message.chain_id.as_str(),
        "nonce": message.nonce.as_str(),
        "issuedAt": message.issued_at.as_str(),
        "expirationTime": optional(message.expiration_time.as_ref().map(Timestamp::as_str)),
        "notBefore": optional(message.not_before.as_ref().map(Timestamp::as_str)),
        "requestId": optional(message.request_id.as_ref().map(|id| id.as_str())),
        "resources": uris,
    });
    without_nulls(fields)
}

fn milliseconds(message: &SiwxMessage) -> Value {
    let of = |time: &Timestamp| i64::try_from(time.instant().unix_timestamp_nanos() / 1_000_000).unwrap();
    without_nulls(json!({
        "issuedAt": of(&message.issued_at),
        "expirationTime": message.expiration_time.as_ref().map(of),
        "notBefore": message.not_before.as_ref().map(of),
    }))
}

fn without_nulls(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    members.into_iter().filter(|(_, member)| !member.is_null()).collect::<Map<_, _>>().into()
}

#[test]
fn the_texts_of_other_libraries_are_read_and_written_byte_for_byte() {
    for (file, least) in [("siwe.json", 10), ("siwe-python.json", 8), ("viem.json", 8), ("solana.json", 3)] {
        let content = vectors(file);
        let texts = content["vectors"].as_array().unwrap();
        assert!(texts.len() >= least, "{file} has only {} texts", texts.len());
        for vector in texts {
            let case = format!("{}, {}", content["library"], vector["name"]);
            let text = vector["text"].as_str().unwrap();
            let message = siwx::parse(text).unwrap_or_else(|why| panic!("{case}: {why}"));
            assert_eq!(fields(&message), vector["fields"], "{case}");
            assert_eq!(milliseconds(&message), vector["milliseconds"], "{case}");
            assert!(message.chain_id.network().as_str().starts_with(content["network"].as_str().unwrap()));
            assert_eq!(message.to_string(), text, "{case}");
        }
    }
}

#[test]
fn a_text_that_breaks_one_rule_is_refused_by_the_part_that_breaks_it() {
    let content = vectors("refused.json");
    let bases = &content["bases"];
    for base in bases.as_object().unwrap().values() {
        siwx::parse(base.as_str().unwrap()).unwrap();
    }
    let wrong: Vec<String> =
        content["refused"].as_array().unwrap().iter().filter_map(|vector| fault(bases, vector)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What is not as the vector says.
fn fault(bases: &Value, vector: &Value) -> Option<String> {
    let member = |name: &str| vector[name].as_str().unwrap();
    let base = bases[member("base")].as_str().unwrap();
    let rule = member("rule");
    if base.matches(member("replace")).count() != 1 {
        return Some(format!("{rule}: unclear what to replace"));
    }
    match siwx::parse(&base.replace(member("replace"), member("by"))) {
        Ok(_) => Some(format!("{rule}: accepted")),
        Err(why) if why.field == "message" && why.description.contains(member("says")) => None,
        Err(why) => Some(format!("{rule}: {why}")),
    }
}
