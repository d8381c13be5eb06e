//! EIP-712 typed data of the two structs in use: `AuthMessage {address, noonce}` signs in,
//! `LinkWallet {address, account, noonce}` links a wallet.

use serde_json::{Value, json};

use crate::domain::{Address, NumericNonce, TypedDataDomain};

use super::{address, keccak::keccak256};

/// `encodeType` of the domain, all four fields.
const DOMAIN_TYPE: &[u8] =
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";

/// `encodeType` of a sign-in. Wallets show an `address` as such and sign its 20 bytes, so its case does not matter. A
/// number without a stated width is `uint256` in Solidity.
const MESSAGE_TYPE: &[u8] = b"AuthMessage(address address,uint256 noonce)";

/// `encodeType` of a link. The types differ, so that a signature over one struct is never valid for the other.
const LINK_TYPE: &[u8] = b"LinkWallet(address address,string account,uint256 noonce)";

/// Typed data for a wallet to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthMessage {
    domain: TypedDataDomain,
    signer: [u8; 20],
    noonce: NumericNonce,
    /// Wallet to whose account the signer is linked; `None` for a sign-in.
    account: Option<String>,
}

impl AuthMessage {
    /// Sign-in message for `address`; `None` unless it is an EVM address, since other wallets sign no typed data.
    pub fn new(domain: TypedDataDomain, address: &Address, noonce: NumericNonce) -> Option<Self> {
        Some(Self { domain, signer: address::to_bytes(address)?, noonce, account: None })
    }

    /// Turns the sign-in into a message that links the signer to the account of another wallet.
    #[must_use]
    pub fn linking_to(self, account: &Address) -> Self {
        Self { account: Some(account.as_str().to_owned()), ..self }
    }

    /// JSON for `eth_signTypedData_v4`. Libraries that reject `EIP712Domain` among the types, such as ethers, need it
    /// removed.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    /// Parses the JSON of [`Self::to_json`]; `None` for anything else.
    pub fn from_json(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |path: &str| value.pointer(path)?.as_str();
        let number = |path: &str| value.pointer(path)?.as_u64();
        let domain = TypedDataDomain::parse(
            text("/domain/name")?,
            text("/domain/version")?,
            number("/domain/chainId")?,
            text("/domain/verifyingContract")?,
        );
        let address = Address::from_canonical(text("/message/address")?.to_owned());
        let noonce = NumericNonce::from_number(number("/message/noonce")?)?;
        let message = Self {
            account: text("/message/account").map(str::to_owned),
            ..Self::new(domain.ok()?, &address, noonce)?
        };
        (message.to_value() == value).then_some(message)
    }

    /// Signed digest (EIP-712, "Specification of the eth_signTypedData JSON RPC").
    pub fn digest(&self) -> [u8; 32] {
        keccak256(&[&self.signed_bytes()])
    }

    /// Hashed bytes: `0x1901`, the domain separator and the message hash.
    pub fn signed_bytes(&self) -> [u8; 66] {
        let mut bytes = [0; 66];
        bytes[..2].copy_from_slice(b"\x19\x01");
        bytes[2..34].copy_from_slice(&self.domain_separator());
        bytes[34..].copy_from_slice(&self.message_hash());
        bytes
    }

    fn domain_separator(&self) -> [u8; 32] {
        keccak256(&[
            &keccak256(&[DOMAIN_TYPE]),
            &keccak256(&[self.domain.name().as_bytes()]),
            &keccak256(&[self.domain.version().as_bytes()]),
            &word(&self.domain.chain_id().to_be_bytes()),
            &word(self.domain.verifying_contract()),
        ])
    }

    fn message_hash(&self) -> [u8; 32] {
        let (signer, noonce) = (word(&self.signer), word(&self.noonce.get().to_be_bytes()));
        match &self.account {
            None => keccak256(&[&keccak256(&[MESSAGE_TYPE]), &signer, &noonce]),
            Some(account) => {
                keccak256(&[&keccak256(&[LINK_TYPE]), &signer, &keccak256(&[account.as_bytes()]), &noonce])
            }
        }
    }

    fn to_value(&self) -> Value {
        let mut message =
            json!({ "address": address::checksummed(&self.signer), "noonce": self.noonce.get() });
        let (primary_type, fields) = match &self.account {
            None => ("AuthMessage", members(&[("address", "address"), ("noonce", "uint256")])),
            Some(account) => {
                message["account"] = account.as_str().into();
                let fields = [("address", "address"), ("account", "string"), ("noonce", "uint256")];
                ("LinkWallet", members(&fields))
            }
        };
        json!({
            "types": {
                "EIP712Domain": members(&[
                    ("name", "string"),
                    ("version", "string"),
                    ("chainId", "uint256"),
                    ("verifyingContract", "address"),
                ]),
                primary_type: fields,
            },
            "primaryType": primary_type,
            "domain": {
                "name": self.domain.name(),
                "version": self.domain.version(),
                "chainId": self.domain.chain_id(),
                "verifyingContract": address::checksummed(self.domain.verifying_contract()),
            },
            "message": message,
        })
    }
}

/// Members of a struct type, in order.
fn members(fields: &[(&str, &str)]) -> Value {
    fields.iter().map(|(name, kind)| json!({ "name": name, "type": kind })).collect()
}

/// `encodeData` of a number or an address: right-aligned in 32 bytes.
pub(super) fn word(value: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word[32 - value.len()..].copy_from_slice(value);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNER: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";

    fn message(name: &str, version: &str, chain_id: u64, contract: &str, noonce: u64) -> AuthMessage {
        let domain = TypedDataDomain::parse(name, version, chain_id, contract).unwrap();
        let address = Address::from_canonical(SIGNER.to_owned());
        AuthMessage::new(domain, &address, NumericNonce::from_number(noonce).unwrap()).unwrap()
    }

    #[test]
    fn json_is_read_back_as_what_it_was() {
        let message = message("Bine \"\\ü\u{2028}", "1", 137, &"0".repeat(40), (1 << 53) - 1);
        assert_eq!(AuthMessage::from_json(&message.to_json()), Some(message));
    }

    /// The digest is the one that eth-account 0.14 makes of this JSON.
    #[test]
    fn what_links_a_wallet_is_read_back_and_is_no_sign_in() {
        let account = Address::from_canonical("0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359".to_owned());
        let sign_in = message("Bine", "1", 137, &"0".repeat(40), 7);
        let link = sign_in.clone().linking_to(&account);
        assert_eq!(
            hex::encode(link.digest()),
            "dc8e5ae2682d76f1c4962c3f614355ac8a3afd9f0df94e709e70cf88ef57d1cd"
        );
        assert_ne!(link.digest(), sign_in.digest());
        assert_ne!(
            link.digest(),
            sign_in.clone().linking_to(&Address::from_canonical(String::new())).digest()
        );
        let json = link.to_json();
        assert_eq!(AuthMessage::from_json(&json), Some(link));
        for (from, to) in [
            ("\"LinkWallet\"", "\"AuthMessage\""),
            ("\"account\":\"0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359\"", "\"account\":7"),
            ("\"type\":\"string\"}", "\"type\":\"bytes\"}"),
        ] {
            let other = json.replace(from, to);
            assert_ne!(other, json, "{from} is not there");
            assert_eq!(AuthMessage::from_json(&other), None, "{other}");
        }
    }

    #[test]
    fn json_of_anything_else_is_not_read() {
        let json = message("Bine", "1", 137, &"0".repeat(40), 7).to_json();
        for (from, to) in [
            ("uint256", "uint64"),
            ("\"AuthMessage\"", "\"Permit\""),
            ("\"noonce\":7", "\"noonce\":7.5"),
            ("\"noonce\":7", "\"noonce\":\"7\""),
            ("\"noonce\":7", "\"noonce\":9007199254740992"),
            ("\"noonce\":7", "\"noonce\":7,\"more\":1"),
            ("\"chainId\":137", "\"chainId\":0"),
            (SIGNER, &SIGNER.to_lowercase()),
            (SIGNER, "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"),
        ] {
            let other = json.replace(from, to);
            assert_ne!(other, json, "{from} is not there");
            assert_eq!(AuthMessage::from_json(&other), None, "{other}");
        }
        assert_eq!(AuthMessage::from_json(""), None);
        assert!(AuthMessage::from_json(&json).is_some());
    }

    #[test]
    fn every_field_counts() {
        let zero = "0".repeat(40);
        let mut digests = vec![
            message("a", "1", 1, &zero, 1).digest(),
            message("b", "1", 1, &zero, 1).digest(),
            message("a", "2", 1, &zero, 1).digest(),
            message("a", "1", 2, &zero, 1).digest(),
            message("a", "1", 1, &"1".repeat(40), 1).digest(),
            message("a", "1", 1, &zero, 2).digest(),
        ];
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 6);
    }

    #[test]
    fn wallets_of_solana_are_asked_for_none() {
        let domain = TypedDataDomain::parse("a", "1", 1, &"0".repeat(40)).unwrap();
        let solana = Address::from_canonical("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA".to_owned());
        assert_eq!(AuthMessage::new(domain, &solana, NumericNonce::from_random([1; 8])), None);
    }
}
