//! Contract wallets (EIP-1271, ERC-6492): the `eth_call` that validates a signature, and its result.
//!
//! One `eth_call` without a recipient runs a small program in the state of the latest block. It looks at the wallet's
//! code, deploys it where the signature brings the means (ERC-6492), calls it, and returns the outcome in a fixed
//! encoding, so that nothing a contract does can be mistaken for an error of the node.

use crate::domain::{Address, VerificationMethod, Violation};
use crate::wallet::malformed_signature;

use super::{address, eip712::word};

/// `isValidSignature(bytes32,bytes)`: its selector, and the value that means yes (EIP-1271).
const MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];

/// What a signature of a wallet that is not deployed yet ends with (ERC-6492).
const WRAPPED: [u8; 32] = [
    0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64,
    0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92, 0x64, 0x92,
];

/// Gas of the whole call: 6 million for a deployment, 4 million for the wallet, the rest for the program, so that it
/// can tell the outcome even where both burn all that they were given.
pub const GAS: u64 = 14_000_000;

/// The program. Behind it stand, as words: the wallet, the factory, the length of the factory's call data, the length
/// of the wallet's; and then both call datas.
#[rustfmt::skip]
const PROGRAM: [u8; 123] = [
    // What stands behind the program goes to memory, from 0 on.
    0x60, 123, 0x80, 0x38, 0x03, 0x90,       // PUSH length DUP CODESIZE SUB SWAP
    0x60, 0x00, 0x39,                        // PUSH 0 CODECOPY
    // The size of the wallet's code as it is; where that is 0, the factory may change it.
    0x60, 0x00, 0x51, 0x3b,                  // PUSH 0 MLOAD EXTCODESIZE
    0x80, 0x60, 0x24, 0x57,                  // DUP PUSH asked JUMPI
    0x60, 0x00, 0x80,                        // PUSH 0 DUP: no answer is kept
    0x60, 0x40, 0x51, 0x60, 0x80,            // PUSH 64 MLOAD PUSH 128: the factory's call data
    0x60, 0x00, 0x60, 0x20, 0x51,            // PUSH 0: no value; PUSH 32 MLOAD: the factory
    0x62, 0x5b, 0x8d, 0x80,                  // PUSH 6,000,000 gas
    0xf1, 0x50,                              // CALL POP
    // asked: whether the code begins with 0xef, as only delegations of EIP-7702 do (EIP-3541).
    0x5b,                                    // JUMPDEST
    0x60, 0x01, 0x60, 0x00, 0x60, 0x20,      // PUSH 1 PUSH 0 PUSH 32
    0x60, 0x00, 0x51, 0x3c,                  // PUSH 0 MLOAD EXTCODECOPY
    0x60, 0x20, 0x51, 0x60, 0x00, 0x1a,      // PUSH 32 MLOAD PUSH 0 BYTE
    0x60, 0xef, 0x14,                        // PUSH 0xef EQ
    // Whether the wallet answers with 32 bytes that are the magic value, and zeros.
    0x60, 0x20, 0x80,                        // PUSH 32 DUP: where the answer goes
    0x60, 0x60, 0x51,                        // PUSH 96 MLOAD: the length of the wallet's call data
    0x60, 0x40, 0x51, 0x60, 0x80, 0x01,      // PUSH 64 MLOAD PUSH 128 ADD: where it stands
    0x60, 0x00, 0x51,                        // PUSH 0 MLOAD: the wallet
    0x62, 0x3d, 0x09, 0x00,                  // PUSH 4,000,000 gas
    0xfa,                                    // STATICCALL
    0x3d, 0x60, 0x20, 0x14, 0x16,            // RETURNDATASIZE PUSH 32 EQ AND
    0x63, MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 0x60, 0xe0, 0x1b, // PUSH magic PUSH 224 SHL
    0x60, 0x20, 0x51, 0x14, 0x16,            // PUSH 32 MLOAD EQ AND
    // Six words: the wallet said yes, it is a delegation, its code before, its code now, chain, block.
    0x60, 0x00, 0x51, 0x3b, 0x60, 0x60, 0x52, // PUSH 0 MLOAD EXTCODESIZE PUSH 96 MSTORE
    0x60, 0x00, 0x52, 0x60, 0x20, 0x52,      // PUSH 0 MSTORE PUSH 32 MSTORE
    0x60, 0x40, 0x52,                        // PUSH 64 MSTORE
    0x46, 0x60, 0x80, 0x52,                  // CHAINID PUSH 128 MSTORE
    0x43, 0x60, 0xa0, 0x52,                  // NUMBER PUSH 160 MSTORE
    0x60, 0xc0, 0x60, 0x00, 0xf3,            // PUSH 192 PUSH 0 RETURN
];

/// What a node is asked: whether a wallet accepts a signature over a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationCall(Vec<u8>);

impl ValidationCall {
    /// The call; `None` where no contract can be a wallet: at an address of Solana, and at the reserved ones up
    /// to `0xffff`, where chains keep their precompiles.
    ///
    /// # Errors
    /// A violation of `signature` if it is wrapped and cannot be unwrapped.
    pub fn new(wallet: &Address, digest: &[u8; 32], signature: &[u8]) -> Result<Option<Self>, Violation> {
        let wallet = address::to_bytes(wallet).filter(|bytes| bytes[..18] != [0; 18]);
        let Some(wallet) = wallet else { return Ok(None) };
        let Some(wrapped) = signature.strip_suffix(&WRAPPED) else {
            return Ok(Some(Self::ask(&wallet, [0; 20], &[], digest, signature)));
        };
        let why = "ends as one of ERC-6492, but is not the encoding of (address, bytes, bytes) before that";
        let (factory, call, inner) = unwrap(wrapped).ok_or_else(|| malformed_signature(why))?;
        Ok(Some(Self::ask(&wallet, factory, call, digest, inner)))
    }

    /// The `data` of an `eth_call` without `to`.
    pub fn data(&self) -> &[u8] {
        &self.0
    }

    fn ask(wallet: &[u8; 20], factory: [u8; 20], deploy: &[u8], digest: &[u8; 32], signature: &[u8]) -> Self {
        let call = is_valid_signature(digest, signature);
        let words = [word(wallet), word(&factory), length(deploy), length(&call)];
        Self([&PROGRAM, words.concat().as_slice(), deploy, &call].concat())
    }
}

/// What a wallet says of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValidationOutcome {
    /// The wallet has code, and that accepts the signature (EIP-1271).
    Accepted,
    /// The wallet accepts it once it is deployed as the signature says (ERC-6492).
    AcceptedOnceDeployed,
    /// It does not accept it, or answers with anything but the magic value.
    Refused,
    /// There is no code at the address, and none came to be.
    NoCode,
    /// The code is a delegation (EIP-7702): such an account signs in with its own key.
    Delegation,
}

/// What a node answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationResult {
    /// The chain that the node is of (EIP-155).
    pub chain_id: u64,
    /// The block in whose state it looked, as contracts of the chain see its number.
    pub block_number: u64,
    /// What the wallet said.
    pub outcome: ValidationOutcome,
}

impl ValidationResult {
    /// The method by which the wallet accepted the signature; `None` if it did not.
    pub const fn method(self) -> Option<VerificationMethod> {
        let block_number = self.block_number;
        match self.outcome {
            ValidationOutcome::Accepted => Some(VerificationMethod::Eip1271 { block_number }),
            ValidationOutcome::AcceptedOnceDeployed => Some(VerificationMethod::Erc6492 { block_number }),
            ValidationOutcome::Refused | ValidationOutcome::NoCode | ValidationOutcome::Delegation => None,
        }
    }

    /// Reads what the program returned; `None` for anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks::<32>() else { return None };
        let [accepted, delegation, before, now, chain_id, block_number] =
            <[[u8; 32]; 6]>::try_from(words).ok()?;
        let [accepted, delegation] = [accepted, delegation].map(|word| number(&word));
        let outcome = match (number(&before)?, number(&now)?, accepted?, delegation?) {
            (_, 0, _, _) => ValidationOutcome::NoCode,
            (_, _, _, 1) => ValidationOutcome::Delegation,
            (0, _, 1, 0) => ValidationOutcome::AcceptedOnceDeployed,
            (_, _, 1, 0) => ValidationOutcome::Accepted,
            (_, _, 0, 0) => ValidationOutcome::Refused,
            _ => return None,
        };
        Some(Self { chain_id: number(&chain_id)?, block_number: number(&block_number)?, outcome })
    }
}

/// The call data of `isValidSignature(digest, signature)`.
fn is_valid_signature(digest: &[u8; 32], signature: &[u8]) -> Vec<u8> {
    let padding = vec![0; signature.len().next_multiple_of(32) - signature.len()];
    [&MAGIC[..], digest, &number_word(64), &length(signature), signature, &padding].concat()
}

/// ABI decoding of `(address factory, bytes call, bytes signature)`, strictly within the bytes.
fn unwrap(bytes: &[u8]) -> Option<([u8; 20], &[u8], &[u8])> {
    let word = |at: usize| bytes.get(at..at.checked_add(32)?)?.first_chunk::<32>();
    let text = |at: usize| {
        let start = usize::try_from(number(word(at)?)?).ok()?;
        let length = usize::try_from(number(word(start)?)?).ok()?;
        let first = start.checked_add(32)?;
        bytes.get(first..first.checked_add(length)?)
    };
    let (zeros, factory) = word(0)?.split_at(12);
    let factory = <[u8; 20]>::try_from(factory).ok().filter(|_| zeros == [0; 12])?;
    Some((factory, text(32)?, text(64)?))
}

/// A word's value, if 64 bits hold it.
fn number(word: &[u8; 32]) -> Option<u64> {
    let (high, low) = word.split_at(24);
    (high == [0; 24]).then(|| low.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))).flatten()
}

fn number_word(number: u64) -> [u8; 32] {
    word(&number.to_be_bytes())
}

fn length(bytes: &[u8]) -> [u8; 32] {
    number_word(bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Problem;

    fn at(text: &str) -> Address {
        Address::from_canonical(text.to_owned())
    }

    fn answer(words: [u64; 6]) -> Vec<u8> {
        words.map(number_word).concat()
    }

    /// `(address, bytes, bytes)` as ABI encoders write it, with the suffix.
    fn wrapped(factory: &[u8; 20], call: &[u8], signature: &[u8]) -> Vec<u8> {
        let pad = |bytes: &[u8]| [bytes, &vec![0; bytes.len().next_multiple_of(32) - bytes.len()]].concat();
        let second = 96 + 32 + pad(call).len() as u64;
        let head = [word(factory), number_word(96), number_word(second)].concat();
        [head, length(call).to_vec(), pad(call), length(signature).to_vec(), pad(signature), WRAPPED.to_vec()]
            .concat()
    }

    #[test]
    fn the_program_knows_its_length_and_its_one_jump() {
        assert_eq!(usize::from(PROGRAM[1]), PROGRAM.len());
        assert_eq!(PROGRAM[0x24], 0x5b);
        // What is returned becomes code in the node's eyes, and code must not begin with this byte (EIP-3541).
        assert_ne!(answer([1, 1, 1, 1, 1, 1])[0], 0xef);
    }

    #[test]
    fn reserved_addresses_are_nobodys_wallet() {
        let ask = |address: &str| ValidationCall::new(&at(address), &[7; 32], &[1; 65]).unwrap();
        for reserved in [
            "0x0000000000000000000000000000000000000001",
            "0x0000000000000000000000000000000000000004",
            "0x0000000000000000000000000000000000000100",
            "0x000000000000000000000000000000000000fFfF",
        ] {
            assert_eq!(ask(reserved), None, "{reserved}");
        }
        assert!(ask("0x0000000000000000000000000000000000010000").is_some());
        assert_eq!(ask("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"), None);
    }

    #[test]
    fn a_wrapped_signature_is_unwrapped_and_its_factory_named() {
        let wallet = at("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
        let signature = wrapped(&[9; 20], &[1, 2, 3], &[4; 65]);
        let call = ValidationCall::new(&wallet, &[7; 32], &signature).unwrap().unwrap();
        let words = &call.data()[PROGRAM.len()..];
        assert_eq!(words[32..64], word(&[9; 20]));
        assert_eq!(words[64..96], number_word(3));
        assert_eq!(words[128..131], [1, 2, 3]);
        assert_eq!(words[131..135], MAGIC);
        let plain = ValidationCall::new(&wallet, &[7; 32], &[4; 65]).unwrap().unwrap();
        assert_eq!(plain.data()[PROGRAM.len() + 128..], words[131..]);
    }

    #[test]
    fn what_cannot_be_unwrapped_is_refused() {
        let wallet = at("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
        let good = wrapped(&[9; 20], &[1, 2, 3], &[4; 65]);
        for at_byte in [0, 32, 63, 64, 95, 96, 127] {
            let mut bad = good.clone();
            bad[at_byte] = 0xff;
            let violation = ValidationCall::new(&wallet, &[7; 32], &bad).unwrap_err();
            assert_eq!(violation.problem, Problem::SignatureEncoding, "byte {at_byte}");
        }
        assert!(ValidationCall::new(&wallet, &[7; 32], &WRAPPED).is_err());
        assert!(ValidationCall::new(&wallet, &[7; 32], &good[64..]).is_err());
    }

    #[test]
    fn an_answer_is_read_to_the_word() {
        let verdict = |words| ValidationResult::parse(&answer(words)).map(|answer| answer.outcome);
        assert_eq!(verdict([1, 0, 9, 9, 1, 2]), Some(ValidationOutcome::Accepted));
        assert_eq!(verdict([1, 0, 0, 9, 1, 2]), Some(ValidationOutcome::AcceptedOnceDeployed));
        assert_eq!(verdict([0, 0, 9, 9, 1, 2]), Some(ValidationOutcome::Refused));
        assert_eq!(verdict([1, 1, 23, 23, 1, 2]), Some(ValidationOutcome::Delegation));
        assert_eq!(verdict([1, 0, 0, 0, 1, 2]), Some(ValidationOutcome::NoCode));
        assert_eq!(verdict([2, 0, 9, 9, 1, 2]), None);
        let read = ValidationResult::parse(&answer([1, 0, 9, 9, 10, 77])).unwrap();
        assert_eq!((read.chain_id, read.block_number), (10, 77));
        let good = answer([1, 0, 9, 9, 1, 2]);
        assert_eq!(ValidationResult::parse(&good[1..]), None);
        assert_eq!(ValidationResult::parse(&[good.clone(), vec![0; 32]].concat()), None);
        assert_eq!(ValidationResult::parse(&[]), None);
    }
}
