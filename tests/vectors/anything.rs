//! Properties: no text makes a parser panic, and nothing but the signature itself verifies.

use countersign::{
    domain::{Address, Network},
    wallet::{
        address, ed25519,
        eip191::digest,
        eip712::AuthMessage,
        signature::{Signature, SignatureBytes},
        signer::{Signer, SolanaSigner},
    },
};
use proptest::prelude::*;

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

fn evm_signer() -> impl Strategy<Value = Signer> {
    "[1-9a-f]{60}".prop_map(|digits| Signer::from_hex(&format!("0000{digits}")).unwrap())
}

fn solana_signer() -> impl Strategy<Value = SolanaSigner> {
    any::<[u8; 32]>().prop_map(|seed| SolanaSigner::generate(|| seed))
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

fn recovered(bytes: &[u8], message: &str) -> Option<Address> {
    Signature::parse(&hex::encode(bytes)).ok()?.recover(&digest(message))
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in text(), message in any::<String>()) {
        if let Ok(signature) = Signature::parse(&text) {
            let _ = signature.recover(&digest(&message));
        }
        if let Ok(bytes) = SignatureBytes::parse(&text) {
            prop_assert_eq!(bytes.native().is_ok(), Signature::parse(&text).is_ok());
        }
        if let Ok(signature) = ed25519::Signature::parse(&text) {
            let token = Address::from_canonical("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA".to_owned());
            prop_assert!(!ed25519::verify(&token, message.as_bytes(), &signature));
        }
        prop_assert!(AuthMessage::from_json(&text).is_none());
    }

    #[test]
    fn an_address_that_is_read_is_read_from_its_canonical_text_again(text in text(), solana in any::<bool>()) {
        let network = Network::parse("network", if solana { "SOLANA" } else { "EVM" }).unwrap();
        if let Ok(address) = address::parse("address", &text, &network) {
            let again = address::parse("address", address.as_str(), &network);
            prop_assert_eq!(again, Ok(address));
        }
    }

    #[test]
    fn every_evm_address_is_read_in_any_case(mut bytes in any::<[u8; 20]>()) {
        bytes[0] |= 1; // not the zero address
        let read = |text: &str| address::parse("address", text, &Network::ethereum());
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
            ed25519::verify(&signer.address(), message, &ed25519::Signature::parse(text).unwrap())
        };
        prop_assert!(verifies(&base58, message.as_bytes()));
        prop_assert!(verifies(&hex::encode(&bytes), message.as_bytes()));
        let other = flipped(&bytes, bit);
        let other = if hex_form { hex::encode(other) } else { bs58::encode(other).into_string() };
        prop_assert!(!verifies(&other, message.as_bytes()));
        let longer = [message.as_bytes(), b"\0"].concat();
        prop_assert!(!verifies(&base58, &longer));
    }
}
