//! Addresses as callers write them, read into their canonical text.

use crate::domain::{Address, Namespace, Network, Problem, Violation};

use super::keccak::keccak256;

/// Reads the address that `field` carries, for a network.
///
/// EVM: 40 hex digits, with or without `0x`; a mixed-case one must carry the checksum of EIP-55.
/// Solana: base58 of 32 bytes.
///
/// # Errors
/// A violation of `field` for anything else, and for the zero address.
pub fn parse(field: &str, text: &str, network: &Network) -> Result<Address, Violation> {
    match network.namespace() {
        Namespace::Eip155 => parse_evm(text),
        Namespace::Solana => parse_solana(text),
    }
    .map_err(|description| Violation::new(field, Problem::Address, description))
}

/// The canonical text of an EVM address.
pub(super) fn from_evm_bytes(bytes: &[u8; 20]) -> Address {
    Address::from_canonical(checksummed(bytes))
}

/// The bytes of an EVM address; `None` for one of Solana.
pub(super) fn evm_bytes(address: &Address) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    hex::decode_to_slice(address.as_str().strip_prefix("0x")?, &mut bytes).ok().map(|()| bytes)
}

/// The canonical text of a Solana address.
pub(in crate::wallet) fn from_solana_bytes(bytes: &[u8; 32]) -> Address {
    Address::from_canonical(bs58::encode(bytes).into_string())
}

/// The bytes of a Solana address, which are its key; `None` for one of EVM, since base58 has no zero.
pub(in crate::wallet) fn solana_bytes(address: &Address) -> Option<[u8; 32]> {
    base58(address.as_str())
}

fn parse_evm(text: &str) -> Result<Address, &'static str> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| "must be 40 hex digits, with or without 0x")?;
    if bytes == [0; 20] {
        return Err("must not be the zero address");
    }
    let canonical = checksummed(&bytes);
    let mixed_case =
        digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
    if mixed_case && canonical[2..] != *digits {
        return Err("has a wrong EIP-55 checksum: a digit is mistyped");
    }
    Ok(Address::from_canonical(canonical))
}

fn parse_solana(text: &str) -> Result<Address, &'static str> {
    match base58::<32>(text) {
        Some(bytes) if bytes != [0; 32] => Ok(Address::from_canonical(text.to_owned())),
        Some(_) => Err("must not be the zero address"),
        None => Err("must be the base58 form of 32 bytes"),
    }
}

/// Exactly `N` bytes of base58.
pub(in crate::wallet) fn base58<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (bs58::decode(text).onto(&mut bytes) == Ok(N)).then_some(bytes)
}

/// EIP-55: a hex digit is upper case where the digest of the lower-case address has a nibble above 7.
pub(super) fn checksummed(bytes: &[u8; 20]) -> String {
    let lower = hex::encode(bytes);
    let digest = keccak256(&[lower.as_bytes()]);
    let digits = lower.chars().enumerate().map(|(at, digit)| {
        let nibble = digest[at / 2] >> (4 * (1 - at % 2)) & 0x0f;
        if nibble > 7 { digit.to_ascii_uppercase() } else { digit }
    });
    "0x".chars().chain(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of EIP-55.
    const EIP55: [&str; 8] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    fn evm(text: &str) -> Result<Address, Violation> {
        parse("address", text, &Network::ethereum())
    }

    #[test]
    fn any_case_and_prefix_reads_as_the_checksummed_form() {
        for expected in EIP55 {
            let digits = &expected[2..];
            for text in [
                expected.to_owned(),
                digits.to_lowercase(),
                digits.to_uppercase(),
                format!("0X{}", digits.to_uppercase()),
            ] {
                assert_eq!(evm(&text).unwrap().as_str(), expected);
            }
        }
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        let violation = evm("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed").unwrap_err();
        assert!(violation.description.contains("checksum"), "{violation}");
    }

    #[test]
    fn what_is_no_address_is_refused_by_field() {
        let zero = "0x0000000000000000000000000000000000000000";
        for text in [
            "",
            "0x",
            "0x12",
            zero,
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed00",
            "0xxxxx6053F3E94C9b9A09f33669435E7Ef1BeAed",
        ] {
            let violation = evm(text).unwrap_err();
            assert_eq!(
                (violation.field.as_str(), violation.problem),
                ("address", Problem::Address),
                "{text}"
            );
        }
    }

    #[test]
    fn a_solana_address_is_32_bytes_of_base58() {
        let solana = Network::parse("", "SOLANA").unwrap();
        let system_token = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
        assert_eq!(parse("address", system_token, &solana).unwrap().as_str(), system_token);
        for text in
            ["11111111111111111111111111111111", "0OIl", "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5", ""]
        {
            assert!(parse("address", text, &solana).is_err(), "{text}");
        }
    }
}
