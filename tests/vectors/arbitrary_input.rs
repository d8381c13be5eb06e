//! Properties: no text makes a parser panic, and nothing but the signature itself verifies.

use countersign::{
    domain::{Address, Network, Nonce, NumericNonce, SessionId, TextTemplate, TypedDataDomain},
    token::{ClientSecret, RefreshToken, RootKeys, SessionToken},
    wallet::{
        evm::{EvmPrivateKey, EvmSignature, eip191::digest, eip712::AuthMessage, signature::signature_bytes},
        parse_address,
        solana::{Ed25519Signature, SolanaPrivateKey, signature::verify},
    },
};
use proptest::prelude::*;
use serde_json::Value;

/// Any text, and texts that nearly are what is asked for.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "(0x|0X)?[0-9a-fA-F]{0,140}",
        "(0x|0X)?[0-9a-fA-F]{40}",
        "(0x|0X)?([0-9a-fA-F]{128}|[0-9a-fA-F]{130})",
        "[1-9A-HJ-NP-Za-km-z]{30,50}",
        "[1-9A-HJ-NP-Za-km-z]{80,90}",
        "1{0,90}.{0,3}",
    ]
}

fn evm_signer() -> impl Strategy<Value = EvmPrivateKey> {
    "[1-9a-f]{60}".prop_map(|digits| EvmPrivateKey::from_hex(&format!("0000{digits}")).unwrap())
}

fn solana_signer() -> impl Strategy<Value = SolanaPrivateKey> {
    any::<[u8; 32]>().prop_map(|seed| SolanaPrivateKey::generate(|| seed))
}

/// Texts near those of networks, nonces, templates, ids and tokens.
fn small_text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9a-zA-Z]{0,66}",
        "[0-9]{1,17}",
        "(eip155|solana|EVM|POLYGON):?[0-9a-zA-Z*]{0,34}",
        "[a-z ]{0,9}(\\{nonce\\}|\\{app\\}|\\{|\\}|\n|\r){0,4}[a-f0-9 ]{0,9}",
        "[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}",
        "(cst_|crt_|ccs_)[A-Za-z0-9_=-]{0,90}",
        "(cst_[A-Za-z0-9_-]{43}|ccs_[A-Za-z0-9_-]{48}|crt_[A-Za-z0-9_-]{80})",
    ]
}

/// Typed data of any client, user and number; and who signs it.
fn typed_data() -> impl Strategy<Value = (AuthMessage, EvmPrivateKey)> {
    let line = "[^\\p{C}\\p{Zl}\\p{Zp}]{1,100}";
    let number = 1_u64..1 << 53;
    (line, line, number.clone(), any::<[u8; 20]>(), number, evm_signer()).prop_map(
        |(name, version, chain_id, contract, noonce, signer)| {
            let domain = TypedDataDomain::parse(&name, &version, chain_id, &hex::encode(contract)).unwrap();
            let noonce = NumericNonce::from_number(noonce - 1).unwrap();
            (AuthMessage::new(domain, &signer.address(), noonce).unwrap(), signer)
        },
    )
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

fn recovered(bytes: &[u8], message: &str) -> Option<Address> {
    EvmSignature::parse(&hex::encode(bytes)).ok()?.recover(&digest(message))
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in text(), message in any::<String>()) {
        if let Ok(signature) = EvmSignature::parse(&text) {
            let _ = signature.recover(&digest(&message));
        }
        prop_assert!(signature_bytes(&text).is_ok() || EvmSignature::parse(&text).is_err());
        if let Ok(signature) = Ed25519Signature::parse(&text) {
            let token = Address::from_canonical("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA".to_owned());
            prop_assert!(!verify(&token, message.as_bytes(), &signature));
        }
        prop_assert!(AuthMessage::from_json(&text).is_none());
    }

    #[test]
    fn an_address_that_is_read_is_read_from_its_canonical_text_again(text in text(), solana in any::<bool>()) {
        let network = Network::parse("network", if solana { "SOLANA" } else { "EVM" }).unwrap();
        if let Ok(address) = parse_address("address", &text, &network) {
            let again = parse_address("address", address.as_str(), &network);
            prop_assert_eq!(again, Ok(address));
        }
    }

    #[test]
    fn every_evm_address_is_read_in_any_case(mut bytes in any::<[u8; 20]>()) {
        bytes[0] |= 1; // not the zero address
        let read = |text: &str| parse_address("address", text, &Network::ethereum());
        let canonical = read(&hex::encode(bytes)).unwrap();
        prop_assert_eq!(read(&hex::encode_upper(bytes)).unwrap(), canonical.clone());
        prop_assert_eq!(read(&format!("0x{}", hex::encode(bytes))).unwrap(), canonical.clone());
        prop_assert_eq!(canonical.as_str().to_lowercase(), format!("0x{}", hex::encode(bytes)));
    }

    #[test]
    fn twins_recover_the_same_and_a_flipped_bit_never_does(
        signer in evm_signer(),
        message in any::<String>(),
        bit in 0_usize..64 * 8,
    ) {
        let rsv = hex::decode(&signer.sign_text(&message)[2..]).unwrap();
        let mut low_v = rsv.clone();
        low_v[64] -= 27;
        let mut eip2098 = rsv[..64].to_vec();
        eip2098[32] |= low_v[64] << 7;
        for twin in [&rsv, &low_v, &eip2098] {
            prop_assert_eq!(recovered(twin, &message), Some(signer.address()));
            prop_assert_ne!(recovered(&flipped(twin, bit), &message), Some(signer.address()));
        }
        low_v[64] ^= 1;
        prop_assert_ne!(recovered(&low_v, &message), Some(signer.address()));
    }

    #[test]
    fn a_flipped_bit_of_an_ed25519_signature_never_verifies(
        signer in solana_signer(),
        message in any::<String>(),
        bit in 0_usize..64 * 8,
        hex_form in any::<bool>(),
    ) {
        let base58 = signer.sign_text(&message);
        let bytes = bs58::decode(&base58).into_vec().unwrap();
        let verifies = |text: &str, message: &[u8]| {
            verify(&signer.address(), message, &Ed25519Signature::parse(text).unwrap())
        };
        prop_assert!(verifies(&base58, message.as_bytes()));
        prop_assert!(verifies(&hex::encode(&bytes), message.as_bytes()));
        let other = flipped(&bytes, bit);
        let other = if hex_form { hex::encode(other) } else { bs58::encode(other).into_string() };
        prop_assert!(!verifies(&other, message.as_bytes()));
        let longer = [message.as_bytes(), b"\0"].concat();
        prop_assert!(!verifies(&base58, &longer));
    }

    #[test]
    fn typed_data_is_read_back_as_it_was_written((message, _) in typed_data()) {
        let read = AuthMessage::from_json(&message.to_json());
        prop_assert_eq!(read.as_ref().map(AuthMessage::digest), Some(message.digest()));
        prop_assert_eq!(read, Some(message));
    }

    #[test]
    fn a_changed_byte_of_typed_data_is_never_the_same_message(
        (message, _) in typed_data(),
        place in any::<prop::sample::Index>(),
        byte in b' '..=b'~',
    ) {
        let json = message.to_json();
        let mut bytes = json.clone().into_bytes();
        let at = place.index(bytes.len());
        bytes[at] = byte;
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        let value = |text: &str| serde_json::from_str::<Value>(text).ok();
        if let Some(other) = AuthMessage::from_json(&changed).filter(|_| value(&changed) != value(&json)) {
            prop_assert_ne!(other.digest(), message.digest());
            prop_assert_ne!(other, message);
        }
    }

    #[test]
    fn a_flipped_bit_of_a_signature_of_typed_data_never_verifies(
        (message, signer) in typed_data(),
        bit in 0_usize..64 * 8,
    ) {
        let rsv = hex::decode(&signer.sign_typed_data(&message)[2..]).unwrap();
        let recovered = |bytes: &[u8]| EvmSignature::parse(&hex::encode(bytes)).ok()?.recover(&message.digest());
        prop_assert_eq!(recovered(&rsv), Some(signer.address()));
        prop_assert_ne!(recovered(&flipped(&rsv, bit)), Some(signer.address()));
        let mut other_v = rsv;
        other_v[64] = 55 - other_v[64];
        prop_assert_ne!(recovered(&other_v), Some(signer.address()));
    }

    #[test]
    fn a_flipped_bit_of_a_digest_is_another_signers(signer in evm_signer(), message in any::<String>(), bit in 0_usize..256) {
        let signature = EvmSignature::parse(&signer.sign_text(&message)).unwrap();
        let other: [u8; 32] = flipped(&digest(&message), bit).try_into().unwrap();
        prop_assert_ne!(signature.recover(&other), Some(signer.address()));
    }

    #[test]
    fn bytes_for_a_contract_are_kept_as_they_were(bytes in proptest::collection::vec(any::<u8>(), 1..400), upper in any::<bool>()) {
        let digits = if upper { hex::encode_upper(&bytes) } else { hex::encode(&bytes) };
        for text in [format!("0x{digits}"), digits] {
            prop_assert_eq!(signature_bytes(&text), Ok(bytes.clone()));
        }
    }

    #[test]
    fn whatever_else_callers_write_is_refused_or_stays_as_it_was(text in small_text()) {
        if let Ok(network) = Network::parse("network", &text) {
            prop_assert_eq!(Network::parse("network", network.as_str()), Ok(network));
        }
        if let Ok(nonce) = Nonce::parse(&text) {
            prop_assert_eq!(nonce.as_str(), &text);
            prop_assert!(NumericNonce::from_nonce(&nonce).is_none_or(|number| number.get().to_string() == text));
        }
        if let Ok(template) = TextTemplate::parse(&text) {
            prop_assert_eq!(template.as_str(), &text);
        }
        if let Ok(id) = SessionId::parse("session_id", &text) {
            prop_assert_eq!(SessionId::parse("session_id", &id.to_string()), Ok(id));
        }
    }

    #[test]
    fn tokens_that_nobody_made_are_none_or_stay_as_they_were(text in small_text()) {
        let keys = RootKeys::parse(RootKeys::new_key().expose()).unwrap();
        if let Some(token) = SessionToken::parse(&text) {
            prop_assert!(!token.is_marked(&keys));
            prop_assert_eq!(token.into_exposed(), text.clone());
        }
        if let Some(secret) = ClientSecret::parse(&text) {
            prop_assert_eq!(secret.expose(), &text);
        }
        prop_assert_eq!(RefreshToken::verify(&text, &keys), None);
        let _ = RootKeys::parse(&text);
    }
}
