//! Sign-in texts (EIP-4361, CAIP-122): a strict parser and a writer that reproduces every parsed text.
//!
//! The grammar is the EIP's section "ABNF Message Format"; on Solana it is `sign-in-with-solana` of Phantom and the
//! wallet standard, with every field that EIP-4361 requires. Where a grammar allows several texts for one meaning, the
//! notes on the fields say which of them are rejected.

mod chain_id;
mod dialect;
mod grammar;
mod lines;
mod parse;
#[cfg(test)]
mod tests;
mod timestamp;

use std::fmt::{self, Display, Formatter};

use crate::domain::{Address, Namespace, Nonce, template::SIGN_IN_PHRASE};

pub use chain_id::ChainId;
use dialect::Dialect;
pub use grammar::{Domain, RequestId, Scheme, Statement, Uri};
pub use parse::parse;
pub use timestamp::Timestamp;

/// Fields of a sign-in text (EIP-4361, "Message Fields"). The version is always 1.
///
/// [`parse`] reads a text, and `to_string` reproduces it exactly. Code that builds a message must use an address of the
/// chain's namespace and a nonce of at least 8 characters; on Solana neither a scheme nor an empty statement, which the
/// text cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiwxMessage {
    /// Scheme before the domain, if any.
    pub scheme: Option<Scheme>,
    /// Origin that requests the signature.
    pub domain: Domain,
    /// Signer, in canonical form: with the checksum of EIP-55, or base58.
    pub address: Address,
    /// Statement that the user agrees to. An empty statement and none are different texts.
    pub statement: Option<Statement>,
    /// Subject of the sign-in.
    pub uri: Uri,
    /// Chain that the session is bound to.
    pub chain_id: ChainId,
    /// Nonce of at least 8 characters.
    pub nonce: Nonce,
    /// Time of creation.
    pub issued_at: Timestamp,
    /// End of validity.
    pub expiration_time: Option<Timestamp>,
    /// Start of validity.
    pub not_before: Option<Timestamp>,
    /// Relying party's identifier of the request, which may be empty.
    pub request_id: Option<RequestId>,
    /// Resources that the user consents to. `Resources:` without a line below is an empty list.
    pub resources: Option<Vec<Uri>>,
}

/// Returns whether a user or a wallet may take a text for a sign-in text. Such a text must never pass as anything else.
pub fn looks_like_sign_in(text: &str) -> bool {
    text.contains(SIGN_IN_PHRASE)
}

impl SiwxMessage {
    /// Namespace whose form the text has.
    pub fn namespace(&self) -> Namespace {
        self.chain_id.network().namespace()
    }

    /// Writes the statement's line and the blank one after it. Without a statement, at most the blank line stays.
    fn write_statement(&self, f: &mut Formatter<'_>, dialect: &Dialect) -> fmt::Result {
        match &self.statement {
            Some(statement) => write!(f, "{statement}\n\n"),
            None if dialect.keeps_blank_line => writeln!(f),
            None => Ok(()),
        }
    }

    fn write_resources(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(resources) = &self.resources else { return Ok(()) };
        f.write_str("\nResources:")?;
        resources.iter().try_for_each(|uri| write!(f, "\n- {uri}"))
    }
}

impl Display for SiwxMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let dialect = Dialect::of(self.namespace());
        if let Some(scheme) = &self.scheme {
            write!(f, "{scheme}://")?;
        }
        writeln!(f, "{}{}", self.domain, dialect.header)?;
        writeln!(f, "{}\n", self.address)?;
        self.write_statement(f, dialect)?;
        writeln!(f, "URI: {}\nVersion: 1\nChain ID: {}", self.uri, self.chain_id)?;
        write!(f, "Nonce: {}\nIssued At: {}", self.nonce.as_str(), self.issued_at)?;
        write_optional(f, "Expiration Time", self.expiration_time.as_ref())?;
        write_optional(f, "Not Before", self.not_before.as_ref())?;
        write_optional(f, "Request ID", self.request_id.as_ref())?;
        self.write_resources(f)
    }
}

fn write_optional(f: &mut Formatter<'_>, name: &str, value: Option<&impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, "\n{name}: {value}"))
}
