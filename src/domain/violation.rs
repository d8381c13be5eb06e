//! What is wrong with a value that came in: which field, of what kind, in words.

/// The kinds of bad input that callers can tell apart by machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// An address that is malformed, of the wrong network, or wrongly checksummed.
    Address,
    /// A network that is malformed, unknown or not supported.
    Network,
    /// A signature that is not one in any accepted encoding.
    SignatureEncoding,
    /// A message that cannot be the signed one.
    Message,
    /// Any other field.
    Request,
}

/// One field that was refused. The description is for humans and never repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field's path as the caller wrote it, such as `signing_address`.
    pub field: String,
    /// The kind of problem.
    pub problem: Problem,
    /// What is wrong, and what would be right.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: &str, problem: Problem, description: impl Into<String>) -> Self {
        Self { field: field.to_owned(), problem, description: description.into() }
    }

    /// A violation of a field that has no kind of its own.
    pub fn request(field: &str, description: impl Into<String>) -> Self {
        Self::new(field, Problem::Request, description)
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}
