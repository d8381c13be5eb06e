//! EVM addresses: 20 bytes, written with the checksum of EIP-55.

use crate::domain::Address;
use crate::wallet::hex_digits;

use super::keccak::keccak256;

/// Returns whether a text has the form of an EVM address rather than another namespace's.
pub(in crate::wallet) fn has_form(text: &str) -> bool {
    text.starts_with("0x") || text.len() == 40
}

/// Parses 40 hex digits, with or without `0x`. Mixed case must carry the checksum of EIP-55.
///
/// # Errors
/// A description of the mistake, also for the zero address.
pub(in crate::wallet) fn parse(text: &str) -> Result<Address, &'static str> {
    let digits = hex_digits(text);
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

/// Address of these bytes.
pub(super) fn from_bytes(bytes: &[u8; 20]) -> Address {
    Address::from_canonical(checksummed(bytes))
}

/// Bytes of an address; `None` for another namespace's.
pub(super) fn to_bytes(address: &Address) -> Option<[u8; 20]> {
    let mut bytes = [0; 20];
    hex::decode_to_slice(address.as_str().strip_prefix("0x")?, &mut bytes).ok().map(|()| bytes)
}

/// Text with the checksum of EIP-55: a hex digit is upper case where the digest of the lower-case address has a
/// nibble above 7.
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
    use crate::{
        domain::{Address, Network, Problem, Violation},
        wallet::parse_address,
    };

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
        parse_address("address", text, &Network::ethereum())
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
}
