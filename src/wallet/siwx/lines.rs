//! A text taken line by line: each field where the grammar has it, and none left over.

use super::dialect::Dialect;

/// Why a text is refused. It names the part, and never repeats what stands there.
pub(super) type Refusal = String;

/// The lines that nothing has read yet.
pub(super) struct Lines<'a>(&'a [&'a str]);

impl<'a> Lines<'a> {
    pub(super) const fn new(lines: &'a [&'a str]) -> Self {
        Self(lines)
    }

    /// The next line; beyond the end, an empty one.
    pub(super) fn next(&mut self) -> &'a str {
        let Some((line, rest)) = self.0.split_first() else { return "" };
        self.0 = rest;
        line
    }

    /// The statement's line and the blank one after it. Without a statement, at most the blank line stays.
    pub(super) fn statement(&mut self, dialect: &Dialect) -> Result<Option<&'a str>, Refusal> {
        let (statement, lines) = match (dialect.keeps_blank_line, self.0) {
            (true, ["", "", ..]) => (Some(""), 2),
            (true, ["", ..]) => (None, 1),
            (false, ["", ..]) => {
                return Err("must have one blank line before `URI` where there is no statement".into());
            }
            (_, [statement, "", ..]) => (Some(*statement), 2),
            (false, _) => (None, 0),
            (true, _) => {
                return Err("must have a blank line before `URI`, and two where there is no statement".into());
            }
        };
        self.0 = &self.0[lines..];
        Ok(statement)
    }

    /// The field that must come next; `form` says how its value is read, and what it must be.
    pub(super) fn field<T>(&mut self, name: &str, form: &Form<T>) -> Result<T, Refusal> {
        self.optional_field(name, form)?.ok_or_else(|| {
            format!("must have `{name}`, a colon and a space on the line where EIP-4361 has it")
        })
    }

    /// The field that may come next.
    pub(super) fn optional_field<T>(&mut self, name: &str, form: &Form<T>) -> Result<Option<T>, Refusal> {
        let Some((line, rest)) = self.0.split_first() else { return Ok(None) };
        let Some(value) = line.strip_prefix(name).and_then(|line| line.strip_prefix(": ")) else {
            return Ok(None);
        };
        self.0 = rest;
        form.read(name, value).map(Some)
    }

    /// `Resources:` and everything below it.
    pub(super) fn resources<T>(&mut self, form: &Form<T>) -> Result<Option<Vec<T>>, Refusal> {
        let Some((&"Resources:", items)) = self.0.split_first() else { return Ok(None) };
        self.0 = &[];
        let values = items.iter().map(|item| form.read("Resources", item));
        values.collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn end(&self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err("must have no line but EIP-4361's fields, each once and in its order, and none at the end".into())
    }
}

/// How a value is read, and in words what it must be.
pub(super) struct Form<'a, T> {
    pub(super) read: &'a dyn Fn(&str) -> Option<T>,
    pub(super) must_be: &'a str,
}

impl<T> Form<'_, T> {
    /// # Errors
    /// A refusal that names the field.
    pub(super) fn read(&self, name: &str, value: &str) -> Result<T, Refusal> {
        (self.read)(value).ok_or_else(|| format!("`{name}` must be {}", self.must_be))
    }
}
