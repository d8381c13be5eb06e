//! Properties of every sign-in text and message; `tests/vectors/eip4361.rs` has the texts of other libraries.

use proptest::{collection::vec, option, prelude::*, sample::select};
use time::OffsetDateTime;

use super::*;
use crate::domain::{Network, Problem};
use crate::wallet::parse_address;

/// The EIP's own example, with everything that it has a place for.
const FULL: &str = "https://example.com:3388 wants you to sign in with your Ethereum account:
0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2

I accept the ExampleOrg Terms of Service: https://example.com/tos

URI: https://example.com/login
Version: 1
Chain ID: 137
Nonce: 32891756
Issued At: 2021-09-30T16:25:24Z
Expiration Time: 2021-09-30T16:27:24Z
Not Before: 2021-09-30T18:25:24.000+02:00
Request ID: a%20b:@
Resources:
- ipfs://bafybeiemxf5abjwjbikoz4mc3a3dla6ual3jsgpdr4cjr3oz3evfyavhwq/
- https://example.com/my-web2-claim.json";

const SOLANA: &str = "phantom.app wants you to sign in with your Solana account:
GwAF45zjfyGzUbd3i3hXxzGeuchzEZXwpRYHZM5912F1

URI: https://phantom.app/login
Version: 1
Chain ID: mainnet
Nonce: 32891757
Issued At: 2021-09-30T16:25:24.000Z";

fn refusal(text: &str) -> String {
    let violation = parse(text).unwrap_err();
    assert_eq!((violation.field.as_str(), violation.problem), ("message", Problem::Message));
    violation.description
}

#[test]
fn every_field_is_read() {
    let message = parse(FULL).unwrap();
    assert_eq!(message.scheme.as_ref().map(Scheme::as_str), Some("https"));
    assert_eq!(message.domain.as_str(), "example.com:3388");
    assert_eq!(message.address.as_str(), "0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2");
    assert_eq!(
        message.statement.as_ref().map(Statement::as_str),
        Some("I accept the ExampleOrg Terms of Service: https://example.com/tos")
    );
    assert_eq!(message.uri.as_str(), "https://example.com/login");
    assert_eq!(message.chain_id.network().as_str(), "eip155:137");
    assert_eq!(message.nonce.as_str(), "32891756");
    assert_eq!(message.issued_at.instant(), message.not_before.as_ref().unwrap().instant());
    assert_eq!(message.expiration_time.as_ref().map(Timestamp::as_str), Some("2021-09-30T16:27:24Z"));
    assert_eq!(message.request_id.as_ref().map(RequestId::as_str), Some("a%20b:@"));
    assert_eq!(message.resources.as_ref().map(Vec::len), Some(2));
    assert_eq!(message.to_string(), FULL);
}

#[test]
fn none_and_empty_are_different_texts_and_stay_so() {
    let without = FULL.replace("I accept the ExampleOrg Terms of Service: https://example.com/tos\n", "");
    let empty = without.replace("\n\n\n", "\n\n\n\n");
    assert_eq!(parse(&without).unwrap().statement, None);
    assert_eq!(parse(&empty).unwrap().statement, Statement::parse(""));
    let no_request = FULL.replace("Request ID: a%20b:@\n", "");
    let empty_request = FULL.replace("a%20b:@", "");
    assert_eq!(parse(&no_request).unwrap().request_id, None);
    assert_eq!(parse(&empty_request).unwrap().request_id, RequestId::parse(""));
    let no_resources = &FULL[..FULL.find("\nResources").unwrap()];
    let empty_resources = format!("{no_resources}\nResources:");
    assert_eq!(parse(no_resources).unwrap().resources, None);
    assert_eq!(parse(&empty_resources).unwrap().resources, Some(Vec::new()));
    for text in [&without, &empty, &no_request, &empty_request, no_resources, &empty_resources] {
        assert_eq!(parse(text).unwrap().to_string(), *text);
    }
}

#[test]
fn a_statement_may_look_like_a_field_and_is_one_no_more() {
    let disguised = FULL.replace("I accept the", "URI: https://evil.example");
    let message = parse(&disguised).unwrap();
    assert_eq!(message.uri.as_str(), "https://example.com/login");
    assert!(message.statement.unwrap().as_str().starts_with("URI: https://evil.example"));
}

#[test]
fn solana_has_its_own_form_of_chain_id_and_blank_line() {
    let mainnet = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";
    for (chain, network) in [
        ("mainnet", mainnet),
        ("solana:mainnet", mainnet),
        ("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", mainnet),
        (mainnet, mainnet),
        ("devnet", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
        ("testnet", "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"),
    ] {
        let text = SOLANA.replace("mainnet", chain);
        let message = parse(&text).unwrap();
        assert_eq!(message.chain_id.network().as_str(), network);
        assert_eq!((message.namespace(), message.to_string()), (Namespace::Solana, text));
    }
    for chain in ["1", "localnet", "Mainnet", "mainnet-beta", "solana:", "solana:solana:mainnet", "eip155:1"]
    {
        assert!(refusal(&SOLANA.replace("mainnet", chain)).contains("`Chain ID`"), "{chain}");
    }
    assert!(refusal(&SOLANA.replace("\n\n", "\n\n\n")).contains("one blank line"));
    assert!(refusal(&SOLANA.replace("phantom.app wants", "https://phantom.app wants")).contains("domain"));
    assert!(refusal(&SOLANA.replace("GwAF", "0wAF")).contains("base58"));
}

#[test]
fn a_chain_is_written_as_wallets_know_it() {
    let written = |network| ChainId::of(&Network::parse("network", network).unwrap()).to_string();
    assert_eq!(written("POLYGON"), "137");
    assert_eq!(written("SOLANA"), "mainnet");
    assert_eq!(written("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"), "devnet");
    assert_eq!(written("solana:8EtWTRABZaYq6iMfeYKouRu166VU2xqa"), "8EtWTRABZaYq6iMfeYKouRu166VU2xqa");
}

#[test]
fn whatever_asks_to_sign_in_looks_like_it() {
    for text in [FULL, SOLANA, "evil.example wants you to sign in with your Bitcoin account:"] {
        assert!(looks_like_sign_in(text), "{text}");
    }
    assert!(!looks_like_sign_in("Sign in to Shop\n\nCode: abc"));
}

#[test]
fn a_refusal_names_the_part_and_never_repeats_it() {
    for (part, found) in [
        ("https://example.com:3388", "EVIL@x"),
        ("0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2", "EVIL"),
        ("I accept", "EVIL\""),
        ("https://example.com/login", "EVIL"),
        ("Version: 1", "Version: EVIL"),
        ("137", "EVIL"),
        ("32891756", "EVIL"),
        ("2021-09-30T16:25:24Z", "EVIL"),
        ("a%20b:@", "EVIL%"),
        ("- ipfs", "EVIL"),
        ("Request ID", "EVIL"),
    ] {
        assert!(!refusal(&FULL.replacen(part, found, 1)).contains("EVIL"), "{part}");
    }
}

/// What a pattern matches, as a typed piece.
fn piece<T: std::fmt::Debug>(pattern: &'static str, read: fn(&str) -> Option<T>) -> impl Strategy<Value = T> {
    pattern.prop_map(move |text| read(&text).expect("the pattern is within the grammar"))
}

fn uri() -> impl Strategy<Value = Uri> {
    let pattern = "[a-z][a-z0-9+.-]{0,5}:(//([a-z:]{1,3}@)?([a-z0-9.-]{0,9}|\\[::[1-9a-f]\\])(:[0-9]{0,5})?)?\
                   (/[a-zA-Z0-9:@%%]{1,8}){0,3}(\\?[a-z=&/?]{0,8})?(#[a-z/?]{0,4})?";
    pattern.prop_map(|text| Uri::parse(&text.replace('%', "%2F")).expect("the pattern is within the grammar"))
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    piece(
        "[0-9]{3}[1-8]-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\
         (\\.[0-9]{1,12})?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])",
        Timestamp::parse,
    )
}

fn chain_and_address() -> impl Strategy<Value = (ChainId, Address)> {
    let evm = (1..=u64::MAX, any::<[u8; 20]>()).prop_map(|(chain, bytes)| {
        let chain = ChainId::parse(Namespace::Eip155, &chain.to_string()).expect("not zero");
        (chain, hex::encode(bytes))
    });
    let names = ["mainnet", "solana:devnet", "testnet", "8EtWTRABZaYq6iMfeYKouRu166VU2xqa"];
    let solana = (select(names.to_vec()), any::<[u8; 32]>()).prop_map(|(chain, bytes)| {
        let chain = ChainId::parse(Namespace::Solana, chain).expect("listed above");
        (chain, bs58::encode(bytes).into_string())
    });
    prop_oneof![evm, solana].prop_filter_map("no zero address", |(chain, text)| {
        let address = parse_address("address", &text, chain.network()).ok()?;
        Some((chain, address))
    })
}

prop_compose! {
    fn message()(
        (chain_id, address) in chain_and_address(),
        scheme in option::of(piece("[a-zA-Z][a-zA-Z0-9+.-]{0,9}", Scheme::parse)),
        domain in piece("([a-zA-Z0-9._~-]{1,20}|\\[[1-9a-f]{1,4}::\\])(:[1-9][0-9]{0,3})?", Domain::parse),
        statement in option::of(piece("[a-zA-Z0-9 :/?#\\[\\]@!$&'()*+,;=._~-]{0,60}", Statement::parse)),
        uri in uri(),
        nonce in piece("[a-zA-Z0-9]{8,64}", |text| Nonce::parse(text).ok()),
        [issued_at, expiration, beginning] in [timestamp(), timestamp(), timestamp()],
        (has_expiration, has_beginning) in any::<(bool, bool)>(),
        request_id in option::of(piece("([a-zA-Z0-9:@!=~-]|%[0-9a-fA-F]{2}){0,20}", RequestId::parse)),
        resources in option::of(vec(uri(), 0..4)),
    ) -> SiwxMessage {
        let ethereum = chain_id.network().namespace() == Namespace::Eip155;
        SiwxMessage {
            scheme: scheme.filter(|_| ethereum),
            statement: statement.filter(|statement| ethereum || !statement.as_str().is_empty()),
            expiration_time: has_expiration.then_some(expiration),
            not_before: has_beginning.then_some(beginning),
            domain, address, uri, chain_id, nonce, issued_at, request_id, resources,
        }
    }
}

/// Texts that lie near the grammar: pieces of good ones in any order.
fn near_miss() -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = FULL.split_inclusive('\n').chain(SOLANA.split_inclusive('\n')).collect();
    let odd = ["\n", " ", "\r", "\0", "é", "- a:b", "Resources:\n", "://", "@", "Chain ID: +1\n", "%"];
    let pieces: Vec<String> = pieces.into_iter().chain(odd).map(str::to_owned).collect();
    vec(select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_as_it_was(message in message()) {
        let text = message.to_string();
        prop_assert_eq!(parse(&text), Ok(message));
    }

    #[test]
    fn no_text_is_too_strange_to_be_read_or_refused(bytes in vec(any::<u8>(), 0..300), near in near_miss()) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for text in [&text, &near] {
            if let Ok(message) = parse(text) {
                prop_assert_eq!(&message.to_string(), text);
            }
        }
    }

    #[test]
    fn a_changed_byte_is_never_the_same_message(
        message in message(),
        place in any::<prop::sample::Index>(),
        byte in 0_u8..128,
    ) {
        let text = message.to_string();
        let mut bytes = text.clone().into_bytes();
        let at = place.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).expect("ASCII stays ASCII");
        if let Ok(other) = parse(&changed) {
            prop_assert_ne!(&other, &message);
            prop_assert_eq!(other.to_string(), changed);
        }
    }

    #[test]
    fn a_left_out_doubled_or_swapped_line_is_never_the_same_message(
        message in message(),
        places in any::<[prop::sample::Index; 2]>(),
    ) {
        let text = message.to_string();
        let lines: Vec<&str> = text.split('\n').collect();
        let [one, other] = places.map(|place| place.index(lines.len()));
        let (mut without, mut doubled, mut swapped) = (lines.clone(), lines.clone(), lines.clone());
        without.remove(one);
        doubled.insert(one, lines[one]);
        swapped.swap(one, other);
        for changed in [without, doubled, swapped].map(|lines| lines.join("\n")) {
            prop_assert!(changed == text || parse(&changed).as_ref() != Ok(&message));
        }
    }

    #[test]
    fn an_instant_survives_the_text(seconds in -62_167_219_200_i64..=253_402_300_799) {
        let instant = OffsetDateTime::from_unix_timestamp(seconds).expect("within the calendar");
        let written = Timestamp::of(instant).expect("within the calendar");
        prop_assert_eq!(Timestamp::parse(written.as_str()).map(|read| read.instant()), Some(instant));
    }
}
