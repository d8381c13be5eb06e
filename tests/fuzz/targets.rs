//! What must hold for every input: one target for each reader of what strangers send.
//!
//! The tests beside this file run the targets for some seconds, on stable; `fuzz/` runs them for as long as one
//! likes, on nightly. A target panics where something does not hold, and tells whether it could read the input:
//! a fuzzer whose inputs are all refused at the door has seen nothing.

use std::sync::LazyLock;

use countersign::{
    domain::{Address, Namespace, Network},
    wallet::{
        address, ed25519,
        eip191::digest,
        eip712::AuthMessage,
        eip4361,
        signature::{Signature, SignatureBytes},
        signer::{Signer, SolanaSigner},
    },
};

/// The text that the wallets of these targets have signed; the seeds hold their signatures.
const SIGNED: &str = "Sign in to Shop\n\nCode: abc";

/// A wallet, and each encoding of the one signature by it.
struct Signed {
    address: Address,
    encodings: Vec<Vec<u8>>,
}

/// v of 27 and 28, v of 0 and 1, EIP-2098.
static ON_EVM: LazyLock<Signed> = LazyLock::new(|| {
    let signer = Signer::from_hex(&"11".repeat(32)).unwrap();
    let rsv = hex::decode(&signer.sign_text(SIGNED)[2..]).unwrap();
    let (mut low_v, mut eip2098) = (rsv.clone(), rsv[..64].to_vec());
    low_v[64] -= 27;
    eip2098[32] |= low_v[64] << 7;
    Signed { address: signer.address(), encodings: vec![rsv, low_v, eip2098] }
});

static ON_SOLANA: LazyLock<Signed> = LazyLock::new(|| {
    let signer = SolanaSigner::generate(|| [17; 32]);
    let signature = bs58::decode(signer.sign_text(SIGNED)).into_vec().unwrap();
    Signed { address: signer.address(), encodings: vec![signature] }
});

/// A text that parses is written back byte for byte, and is seen as a sign-in text.
pub fn eip4361(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let Ok(message) = eip4361::parse(&text) else { return false };
    assert_eq!(message.to_string(), text);
    assert!(eip4361::looks_like_sign_in(&text), "parsed, but not seen as a sign-in text");
    let read = address::parse("address", message.address.as_str(), message.chain_id.network());
    assert_eq!(read.as_ref(), Ok(&message.address), "another address than everywhere else");
    true
}

/// What is decoded is encoded again as it was; and nothing recovers to a wallet but its own signature.
pub fn evm_signature(input: &[u8]) -> bool {
    let as_text = evm_signature_text(&String::from_utf8_lossy(input));
    let as_bytes = evm_signature_text(&hex::encode(input));
    as_text || as_bytes
}

fn evm_signature_text(text: &str) -> bool {
    let native = Signature::parse(text);
    let Ok(kept) = SignatureBytes::parse(text) else {
        assert!(native.is_err(), "refused as bytes, and read as a signature");
        return false;
    };
    assert_eq!(hex::encode(kept.as_bytes()), digits(text).to_lowercase());
    assert_eq!(kept.native().is_ok(), native.is_ok());
    let Ok(signature) = native else { return false };
    let has_a_form = kept.as_bytes().len() == 64
        || matches!(kept.as_bytes(), [rest @ .., 0 | 1 | 27 | 28] if rest.len() == 64);
    assert!(has_a_form, "another length than 64 and 65 bytes, or another v");
    let is_its_own = signature.recover(&digest(SIGNED)).as_ref() == Some(&ON_EVM.address);
    assert_eq!(is_its_own, ON_EVM.encodings.iter().any(|encoding| encoding == kept.as_bytes()));
    true
}

/// Hex and base58 of the same bytes mean the same; and nothing verifies but a wallet's own signature.
pub fn ed25519_signature(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let as_text = ed25519_signature_text(&text);
    let (in_hex, in_base58) = (hex::encode(input), bs58::encode(&input[..input.len().min(64)]).into_string());
    let as_bytes = ed25519_signature_text(&in_hex);
    assert_eq!(as_bytes, input.len() == 64, "64 bytes, and no other number of them");
    let also = ed25519_signature_text(&in_base58);
    assert!(also || input.len() < 64, "the same bytes, refused in base58");
    as_text || as_bytes
}

fn ed25519_signature_text(text: &str) -> bool {
    let Ok(signature) = ed25519::Signature::parse(text) else { return false };
    let digits = digits(text);
    let bytes =
        if digits.len() == 128 { hex::decode(digits).ok() } else { bs58::decode(text).into_vec().ok() };
    let bytes = bytes.expect("what was read is hex or base58");
    let is_its_own = ed25519::verify(&ON_SOLANA.address, SIGNED.as_bytes(), &signature);
    assert_eq!(is_its_own, ON_SOLANA.encodings.contains(&bytes));
    true
}

/// An address that is read says what was written, but for the case of EVM's digits, and is read as itself.
pub fn address(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let read = ["EVM", "SOLANA"].map(|alias| {
        let network = Network::parse("network", alias).unwrap();
        let address = address::parse("address", &text, &network).ok()?;
        assert_eq!(address::parse("address", address.as_str(), &network).as_ref(), Ok(&address));
        match network.namespace() {
            Namespace::Solana => assert_eq!(address.as_str(), text),
            Namespace::Eip155 => {
                assert_eq!(address.as_str()[2..].to_lowercase(), digits(&text).to_lowercase())
            }
        }
        Some(address)
    });
    // Digits may be both: 40 of them, with many a 1 in front, are 32 bytes of base58, too. The network decides.
    read.iter().any(Option::is_some)
}

/// Typed data that is read says nothing but what is written again, and keeps its digest.
pub fn typed_data(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let Some(message) = AuthMessage::from_json(&text) else { return false };
    let written = message.to_json();
    let again = AuthMessage::from_json(&written).expect("what was written is read");
    assert_eq!(again, message);
    assert_eq!(again.digest(), message.digest());
    let value = |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap();
    assert_eq!(value(&written), value(&text), "something was read and not written");
    true
}

/// Hex without its prefix.
fn digits(text: &str) -> &str {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text)
}
