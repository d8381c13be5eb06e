//! What must hold for every input: one target for each reader of what strangers send.
//!
//! The tests beside this file run the targets for some seconds, on stable; `fuzz/` runs them for as long as one
//! likes, on nightly. A target panics where something does not hold, and tells whether it could read the input:
//! a fuzzer whose inputs are all rejected at once has tested nothing.

use std::sync::LazyLock;

use countersign::{
    domain::{Address, Namespace, Network},
    wallet::{
        canonical_signature,
        evm::{
            EvmPrivateKey, EvmSignature,
            contract::{ValidationCall, ValidationOutcome, ValidationResult},
            eip191::digest,
            eip712::AuthMessage,
            signature::signature_bytes,
        },
        parse_address, siwx,
        solana::{Ed25519Signature, SolanaPrivateKey, signature::verify},
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
    let signer = EvmPrivateKey::from_hex(&"11".repeat(32)).unwrap();
    let rsv = hex::decode(&signer.sign_text(SIGNED)[2..]).unwrap();
    let (mut low_v, mut eip2098) = (rsv.clone(), rsv[..64].to_vec());
    low_v[64] -= 27;
    eip2098[32] |= low_v[64] << 7;
    Signed { address: signer.address(), encodings: vec![rsv, low_v, eip2098] }
});

static ON_SOLANA: LazyLock<Signed> = LazyLock::new(|| {
    let signer = SolanaPrivateKey::generate(|| [17; 32]);
    let signature = bs58::decode(signer.sign_text(SIGNED)).into_vec().unwrap();
    Signed { address: signer.address(), encodings: vec![signature] }
});

/// A text that parses is written back byte for byte, and is seen as a sign-in text.
pub fn eip4361(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let Ok(message) = siwx::parse(&text) else { return false };
    assert_eq!(message.to_string(), text);
    assert!(siwx::looks_like_sign_in(&text), "parsed, but not seen as a sign-in text");
    let read = parse_address("address", message.address.as_str(), message.chain_id.network());
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
    let native = EvmSignature::parse(text);
    let Ok(kept) = signature_bytes(text) else {
        assert!(native.is_err(), "refused as bytes, and read as a signature");
        return false;
    };
    assert_eq!(hex::encode(&kept), digits(text).to_lowercase());
    let Ok(signature) = native else { return false };
    let has_a_form =
        kept.len() == 64 || matches!(kept.as_slice(), [rest @ .., 0 | 1 | 27 | 28] if rest.len() == 64);
    assert!(has_a_form, "another length than 64 and 65 bytes, or another v");
    let normal = canonical_signature(text, Namespace::Eip155).expect("what was read has a normal form");
    let again = EvmSignature::parse(&normal).expect("a normal form is read");
    assert_eq!(again.recover(&digest(SIGNED)), signature.recover(&digest(SIGNED)));
    let is_its_own = signature.recover(&digest(SIGNED)).as_ref() == Some(&ON_EVM.address);
    assert_eq!(is_its_own, ON_EVM.encodings.contains(&kept));
    true
}

/// Hex and base58 of the same bytes mean the same; and nothing verifies but a wallet's own signature.
pub fn ed25519_signature(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let as_text = ed25519_signature_text(&text);
    let (in_hex, in_base58) = (hex::encode(input), bs58::encode(&input[..input.len().min(64)]).into_string());
    let as_bytes = ed25519_signature_text(&in_hex);
    // Hex without a 0 is base58, too, and 88 digits of it can be 64 bytes.
    let in_both = bs58::decode(&in_hex).into_vec().is_ok_and(|bytes| bytes.len() == 64);
    assert_eq!(as_bytes, input.len() == 64 || in_both, "64 bytes, and no other number of them");
    let also = ed25519_signature_text(&in_base58);
    assert!(also || input.len() < 64, "the same bytes, refused in base58");
    as_text || as_bytes
}

fn ed25519_signature_text(text: &str) -> bool {
    let Ok(signature) = Ed25519Signature::parse(text) else { return false };
    let digits = digits(text);
    let bytes =
        if digits.len() == 128 { hex::decode(digits).ok() } else { bs58::decode(text).into_vec().ok() };
    let bytes = bytes.expect("what was read is hex or base58");
    let canonical = canonical_signature(text, Namespace::Solana).expect("what was read has a canonical form");
    assert_eq!(bs58::decode(canonical).into_vec().as_ref(), Ok(&bytes));
    let is_its_own = verify(&ON_SOLANA.address, SIGNED.as_bytes(), &signature);
    assert_eq!(is_its_own, ON_SOLANA.encodings.contains(&bytes));
    true
}

/// An address that is read says what was written, but for the case of EVM's digits, and is read as itself.
pub fn address(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let read = ["EVM", "SOLANA"].map(|alias| {
        let network = Network::parse("network", alias).unwrap();
        let address = parse_address("address", &text, &network).ok()?;
        assert_eq!(parse_address("address", address.as_str(), &network).as_ref(), Ok(&address));
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

/// What a chain's node is asked carries the signature unchanged; what it answers is read to the word.
pub fn contract(input: &[u8]) -> bool {
    let is_unwrapped = validation_call(&[input, &WRAPPED].concat());
    validation_call(input);
    answer(input) || is_unwrapped
}

/// What a signature of a wallet that is not deployed yet ends with (ERC-6492).
const WRAPPED: [u8; 32] = [
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64,
    0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
];

/// Whether there is one. It is a program, whose second byte is its length, four words, and two call datas, of which
/// the second is `isValidSignature(bytes32,bytes)`.
fn validation_call(signature: &[u8]) -> bool {
    let is_wrapped = signature.ends_with(&WRAPPED);
    let Ok(call) = ValidationCall::new(&ON_EVM.address, &digest(SIGNED), signature) else {
        assert!(is_wrapped, "a plain signature is refused");
        return false;
    };
    let call = call.expect("a contract may be at the address");
    let (_, rest) = call.data().split_at(usize::from(call.data()[1]));
    let (words, calls) = rest.split_at(4 * 32);
    let (deploy, call) = calls.split_at(length(&words[64..96]));
    assert_eq!(call.len(), length(&words[96..128]));
    let (head, text) = call.split_at(4 + 3 * 32);
    assert_eq!(head[..36], [&[0x16, 0x26, 0xba, 0x7e], digest(SIGNED).as_slice()].concat());
    let (asked, padding) = text.split_at(length(&head[68..]));
    assert!(padding.len() < 32 && padding.iter().all(|byte| *byte == 0), "padded otherwise");
    if is_wrapped {
        assert!(has(signature, asked) && has(signature, deploy), "what the signature does not hold is asked");
    } else {
        assert_eq!((asked, deploy, &words[32..64]), (signature, &[][..], &[0; 32][..]));
    }
    is_wrapped
}

fn answer(bytes: &[u8]) -> bool {
    let Some(answer) = ValidationResult::parse(bytes) else { return false };
    assert_eq!(bytes.len(), 6 * 32);
    let is = |word: usize, number: u64| {
        bytes[32 * word..][..32] == [[0; 24].as_slice(), &number.to_be_bytes()].concat()
    };
    assert!(is(4, answer.chain_id) && is(5, answer.block_number), "another chain or block");
    let accepted =
        matches!(answer.outcome, ValidationOutcome::Accepted | ValidationOutcome::AcceptedOnceDeployed);
    assert!(!accepted || (is(0, 1) && is(1, 0) && !is(3, 0)), "accepted without a yes, or without code");
    assert_eq!(answer.outcome == ValidationOutcome::NoCode, is(3, 0));
    true
}

/// The length that a word tells.
fn length(word: &[u8]) -> usize {
    usize::try_from(u64::from_be_bytes(*word.last_chunk().unwrap())).unwrap()
}

fn has(bytes: &[u8], piece: &[u8]) -> bool {
    piece.is_empty() || bytes.windows(piece.len()).any(|window| window == piece)
}

/// Hex without its prefix.
fn digits(text: &str) -> &str {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text)
}
