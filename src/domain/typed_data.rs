//! The EIP-712 domain of a client: for what its users sign typed data.

use super::{Network, Violation, policy::is_line};

/// Whole numbers below it are exact in JavaScript, by which wallets read JSON.
pub(super) const EXACT_BELOW: u64 = 1 << 53;

/// `EIP712Domain {name, version, chainId, verifyingContract}`, always with all four.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedDataDomain {
    name: String,
    version: String,
    chain_id: u64,
    verifying_contract: [u8; 20],
}

impl TypedDataDomain {
    /// Reads the four fields. The contract is 40 hex digits in any case, with or without `0x`; the zero
    /// address is what applications without a contract write.
    ///
    /// # Errors
    /// Every violation of `typed_data_domain` at once.
    pub fn parse(
        name: &str,
        version: &str,
        chain_id: u64,
        verifying_contract: &str,
    ) -> Result<Self, Vec<Violation>> {
        let mut wrong = Vec::new();
        let mut refuse = |field: &str, why: &str| {
            wrong.push(Violation::request(&format!("typed_data_domain.{field}"), why));
        };
        for (field, text) in [("name", name), ("version", version)] {
            if !is_line(text, 1..=100) {
                refuse(field, "must be 1 to 100 characters without control characters");
            }
        }
        if !(1..EXACT_BELOW).contains(&chain_id) {
            refuse("chain_id", "must be a chain id of EIP-155, above 0 and below 2^53");
        }
        let contract = contract(verifying_contract);
        if contract.is_none() {
            refuse(
                "verifying_contract",
                "must be 40 hex digits, with or without 0x; all zero for no contract",
            );
        }
        match contract {
            Some(verifying_contract) if wrong.is_empty() => {
                Ok(Self { name: name.to_owned(), version: version.to_owned(), chain_id, verifying_contract })
            }
            _ => Err(wrong),
        }
    }

    /// `name`
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `version`
    pub fn version(&self) -> &str {
        &self.version
    }

    /// `chainId`, above 0 and below 2^53
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The network of `chainId`.
    pub fn network(&self) -> Network {
        Network::from_canonical(format!("eip155:{}", self.chain_id))
    }

    /// `verifyingContract`
    pub const fn verifying_contract(&self) -> &[u8; 20] {
        &self.verifying_contract
    }
}

fn contract(text: &str) -> Option<[u8; 20]> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let mut bytes = [0; 20];
    hex::decode_to_slice(digits, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZERO: &str = "0x0000000000000000000000000000000000000000";

    #[test]
    fn the_longest_and_the_least_are_valid() {
        let domain = TypedDataDomain::parse(&"ü".repeat(100), "1", EXACT_BELOW - 1, ZERO).unwrap();
        assert_eq!(domain.name().chars().count(), 100);
        assert_eq!(domain.verifying_contract(), &[0; 20]);
        let other = TypedDataDomain::parse("n", "v", 1, &"Ab".repeat(20)).unwrap();
        assert_eq!((other.chain_id(), other.verifying_contract()), (1, &[0xab; 20]));
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let wrong = TypedDataDomain::parse("", &"v".repeat(101), 0, "0x12").unwrap_err();
        let fields: Vec<&str> = wrong.iter().map(|violation| violation.field.as_str()).collect();
        let expected = ["name", "version", "chain_id", "verifying_contract"];
        assert_eq!(fields, expected.map(|field| format!("typed_data_domain.{field}")));
    }

    #[test]
    fn each_field_is_refused_by_itself() {
        for (name, version, chain_id, contract) in [
            ("a\nb", "1", 1, ZERO),
            ("a", "\u{7f}", 1, ZERO),
            ("a", "1", EXACT_BELOW, ZERO),
            ("a", "1", 1, ""),
            ("a", "1", 1, "0x0x00000000000000000000000000000000000000"),
            ("a", "1", 1, "0x000000000000000000000000000000000000000g"),
        ] {
            let wrong = TypedDataDomain::parse(name, version, chain_id, contract).unwrap_err();
            assert_eq!(wrong.len(), 1, "{wrong:?}");
        }
    }
}
