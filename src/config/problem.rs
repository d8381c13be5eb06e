//! What is wrong with the settings: everything at once, each with its name and where it was said.

use std::fmt;

use super::origin::Origin;

/// One setting that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    key: String,
    origin: Origin,
    description: String,
}

impl Problem {
    /// A problem; the description never repeats a secret.
    pub fn new(key: &str, origin: &Origin, description: impl Into<String>) -> Self {
        Self { key: key.to_owned(), origin: origin.clone(), description: description.into() }
    }
}

/// Every problem of a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more; what was noted before is said once.
    pub fn push(&mut self, problem: Problem) {
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// Whether something is wrong with this setting, or with the file that holds it.
    pub fn concern(&self, key: &str) -> bool {
        self.0.iter().any(|problem| problem.key.strip_suffix("-file").unwrap_or(&problem.key) == key)
    }

    /// The value, if there were none.
    ///
    /// # Errors
    /// All of them, if there were any.
    pub fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("a setting is wrong:")?,
            count => write!(f, "{count} settings are wrong:")?,
        }
        for Problem { key, origin, description } in &self.0 {
            write!(f, "\n  {key} ({origin}): {description}")?;
        }
        Ok(())
    }
}
