//! Solana addresses: the 32 bytes of an Ed25519 key, in base58.

use crate::domain::Address;

/// Returns whether a text has the length of a Solana address.
pub(in crate::wallet) fn has_form(text: &str) -> bool {
    (32..=44).contains(&text.len())
}

/// Parses the base58 form of 32 bytes.
///
/// # Errors
/// A description of the mistake, also for the zero address.
pub(in crate::wallet) fn parse(text: &str) -> Result<Address, &'static str> {
    match base58::<32>(text) {
        Some(bytes) if bytes != [0; 32] => Ok(Address::from_canonical(text.to_owned())),
        Some(_) => Err("must not be the zero address"),
        None => Err("must be the base58 form of 32 bytes"),
    }
}

/// Address of a key.
pub(super) fn from_bytes(bytes: &[u8; 32]) -> Address {
    Address::from_canonical(bs58::encode(bytes).into_string())
}

/// Key of an address; `None` for another namespace's. An EVM address never decodes, since base58 has no `0`.
pub(super) fn to_bytes(address: &Address) -> Option<[u8; 32]> {
    base58(address.as_str())
}

/// Decodes base58 of exactly `N` bytes.
pub(super) fn base58<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (bs58::decode(text).onto(&mut bytes) == Ok(N)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use crate::{domain::Network, wallet::parse_address};

    #[test]
    fn a_solana_address_is_32_bytes_of_base58() {
        let solana = Network::parse("", "SOLANA").unwrap();
        let system_token = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
        assert_eq!(parse_address("address", system_token, &solana).unwrap().as_str(), system_token);
        for text in
            ["11111111111111111111111111111111", "0OIl", "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5", ""]
        {
            assert!(parse_address("address", text, &solana).is_err(), "{text}");
        }
    }
}
