//! EIP-712: the typed data that wallets' libraries were given, its digest and their signatures.

use std::collections::BTreeMap;

use countersign::{
    domain::{Network, NumericNonce, TypedDataDomain},
    wallet::{
        evm::{EvmPrivateKey, EvmSignature, eip712::AuthMessage},
        parse_address,
    },
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    private_key: String,
    /// What each library was given.
    typed_data: Value,
    /// By name and version.
    signed_by: BTreeMap<String, Signed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    digest: String,
    signature: String,
}

fn cases() -> Vec<Case> {
    super::cases(include_str!("eip712/auth_message.json"), 8)
}

/// The message that these fields make, each read as a caller's.
fn message(typed_data: &Value) -> AuthMessage {
    let text = |path| typed_data.pointer(path).and_then(Value::as_str).unwrap();
    let number = |path| typed_data.pointer(path).and_then(Value::as_u64).unwrap();
    let domain = TypedDataDomain::parse(
        text("/domain/name"),
        text("/domain/version"),
        number("/domain/chainId"),
        &text("/domain/verifyingContract").to_lowercase(),
    );
    let signer = text("/message/address").to_lowercase();
    let signer = parse_address("address", &signer, &Network::ethereum()).unwrap();
    let noonce = NumericNonce::from_number(number("/message/noonce")).unwrap();
    AuthMessage::new(domain.unwrap(), &signer, noonce).unwrap()
}

#[test]
fn our_json_is_what_the_libraries_were_given() {
    for case in cases() {
        let message = message(&case.typed_data);
        let json: Value = serde_json::from_str(&message.to_json()).unwrap();
        assert_eq!(json, case.typed_data);
        assert_eq!(AuthMessage::from_json(&case.typed_data.to_string()), Some(message));
    }
}

#[test]
fn digests_and_signers_are_those_of_every_library() {
    for case in cases() {
        let message = message(&case.typed_data);
        let signer = EvmPrivateKey::from_hex(&case.private_key).unwrap();
        assert!(case.signed_by.len() >= 4);
        for (library, signed) in &case.signed_by {
            assert_eq!(format!("0x{}", hex::encode(message.digest())), signed.digest, "{library}");
            let signature = EvmSignature::parse(&signed.signature).unwrap();
            assert_eq!(signature.recover(&message.digest()), Some(signer.address()), "{library}");
            assert_eq!(signer.sign_typed_data(&message), signed.signature, "{library}");
        }
    }
}
