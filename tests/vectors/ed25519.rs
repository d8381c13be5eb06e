//! Ed25519: edge cases with their strict answer, and signatures of Solana's libraries.

use countersign::{
    domain::{Address, Network},
    wallet::{
        parse_address,
        solana::{Ed25519Signature, SolanaPrivateKey, signature::verify},
    },
};
use serde::Deserialize;

/// One of "Taming the many EdDSAs", in hex.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeCase {
    what: String,
    message: String,
    public_key: String,
    signature: String,
    accepted: bool,
}

/// What a wallet's library signed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    library: String,
    private_key: String,
    address: String,
    message: String,
    signature: String,
}

fn edge_cases() -> Vec<EdgeCase> {
    super::cases(include_str!("ed25519/speccheck.json"), 12)
}

fn wallets() -> Vec<Signed> {
    super::cases(include_str!("ed25519/wallets.json"), 36)
}

fn solana(text: &str) -> Address {
    parse_address("address", text, &Network::parse("network", "SOLANA").unwrap()).unwrap()
}

#[test]
fn edge_cases_have_the_strict_answer() {
    for case in edge_cases() {
        let key = solana(&bs58::encode(hex::decode(&case.public_key).unwrap()).into_string());
        let message = hex::decode(&case.message).unwrap();
        let signature = Ed25519Signature::parse(&case.signature).unwrap();
        assert_eq!(verify(&key, &message, &signature), case.accepted, "{}", case.what);
    }
}

/// The points of order 1, 2, 4 and 8 in each of their encodings: with one of them as its key, one
/// signature is valid for many messages.
#[test]
fn a_key_of_small_order_never_verifies() {
    let small = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    ];
    for key in small {
        let address = solana(&bs58::encode(hex::decode(key).unwrap()).into_string());
        for r in small {
            let signature = Ed25519Signature::parse(&format!("{r}{}", "0".repeat(64))).unwrap();
            for message in 0..16_u8 {
                assert!(!verify(&address, &[message], &signature), "key {key}, R {r}, message {message}");
            }
        }
    }
}

#[test]
fn what_solana_libraries_signed_verifies() {
    for case in wallets() {
        let (address, signature) = (solana(&case.address), Ed25519Signature::parse(&case.signature).unwrap());
        assert!(verify(&address, case.message.as_bytes(), &signature), "{}: {}", case.library, case.message);
        let longer = format!("{} ", case.message);
        assert!(!verify(&address, longer.as_bytes(), &signature), "{}: {longer}", case.library);
    }
}

#[test]
fn our_throw_away_wallet_signs_as_they_do() {
    for case in wallets() {
        let signer = SolanaPrivateKey::from_base58(&case.private_key).unwrap();
        assert_eq!(signer.address().as_str(), case.address, "{}", case.library);
        let ours = bs58::decode(signer.sign_text(&case.message)).into_vec().unwrap();
        let theirs = match case.signature.strip_prefix("0x") {
            Some(digits) => hex::decode(digits).unwrap(),
            None => bs58::decode(&case.signature).into_vec().unwrap(),
        };
        assert_eq!(ours, theirs, "{}: {}", case.library, case.message);
    }
}
