//! EIP-4361 texts ("Sign-In with Ethereum"), and their form for Solana: read strictly, written back.
//!
//! The grammar is the EIP's section "ABNF Message Format". For Solana it is the `sign-in-with-solana`
//! of Phantom and the wallet standard, which CAIP-122 describes; every field that EIP-4361 requires is
//! required there, too. Where a grammar allows several texts for one meaning, the notes on the fields
//! say which of them are refused.

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

/// What a text says, field by field (EIP-4361, "Message Fields"). The version is always 1.
///
/// [`parse`] makes one from a text, and `to_string` gives that very text back. Whoever puts one together
/// from parts takes care that they belong together: an address of the chain's namespace, a nonce of at
/// least 8 characters, and on Solana neither a scheme nor an empty statement, for which it has no place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiwxMessage {
    /// The scheme before the domain, where the text has one.
    pub scheme: Option<Scheme>,
    /// Who asks for the signature.
    pub domain: Domain,
    /// Who signs. The text carries the canonical form: with the checksum of EIP-55, or base58.
    pub address: Address,
    /// What the person agrees to. An empty statement is not the same text as none.
    pub statement: Option<Statement>,
    /// What the sign-in is about.
    pub uri: Uri,
    /// The chain that the session is bound to.
    pub chain_id: ChainId,
    /// At least 8 characters.
    pub nonce: Nonce,
    /// When the text was made.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expiration_time: Option<Timestamp>,
    /// When it begins.
    pub not_before: Option<Timestamp>,
    /// The relying party's own name for the request. It may be empty.
    pub request_id: Option<RequestId>,
    /// What else the person consents to. `Resources:` with no line below is an empty list.
    pub resources: Option<Vec<Uri>>,
}

/// Whether a person or a wallet may take a text for EIP-4361 or one of its forms, so that it must not
/// pass for anything else.
pub fn looks_like_sign_in(text: &str) -> bool {
    text.contains(SIGN_IN_PHRASE)
}

impl SiwxMessage {
    /// Whose form the text has.
    pub fn namespace(&self) -> Namespace {
        self.chain_id.network().namespace()
    }

    /// The statement's line and the blank one after it. Without a statement, at most the blank line stays.
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
