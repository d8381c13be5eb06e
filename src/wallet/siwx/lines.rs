//! Line-by-line reader: each field in the place that the grammar gives it, and no line left over.

use super::dialect::Dialect;

/// Reason for rejecting a text. It names the part and never repeats the input.
pub(super) type Refusal = String;

/// Lines that have not been read yet.
pub(super) struct Lines<'a>(&'a [&'a str]);

impl<'a> Lines<'a> {
    pub(super) const fn new(lines: &'a [&'a str]) -> Self {
        Self(lines)
    }

    /// Takes the next line; beyond the end, an empty one.
    pub(super) fn next(&mut self) -> &'a str {
        let Some((line, rest)) = self.0.split_first() else { return "" };
        self.0 = rest;
        line
    }

    /// Takes the statement's line and the blank one after it. Without a statement, at most the blank line stays.
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

    /// Takes a required field.
    pub(super) fn field<T>(&mut self, name: &str, form: &Form<T>) -> Result<T, Refusal> {
        self.optional_field(name, form)?.ok_or_else(|| {
            format!("must have `{name}`, a colon and a space on the line where EIP-4361 has it")
        })
    }

    /// Takes an optional field.
    pub(super) fn optional_field<T>(&mut self, name: &str, form: &Form<T>) -> Result<Option<T>, Refusal> {
        let Some((line, rest)) = self.0.split_first() else { return Ok(None) };
        let Some(value) = line.strip_prefix(name).and_then(|line| line.strip_prefix(": ")) else {
            return Ok(None);
        };
        self.0 = rest;
        form.read(name, value).map(Some)
    }

    /// Takes `Resources:` and every line below it.
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

/// Parser of a value, and its required form in words.
pub(super) struct Form<'a, T> {
    pub(super) read: &'a dyn Fn(&str) -> Option<T>,
    pub(super) must_be: &'a str,
}

impl<T> Form<'_, T> {
    /// # Errors
    /// A reason that names the field.
    pub(super) fn read(&self, name: &str, value: &str) -> Result<T, Refusal> {
        (self.read)(value).ok_or_else(|| format!("`{name}` must be {}", self.must_be))
    }
}
