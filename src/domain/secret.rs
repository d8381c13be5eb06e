//! A value that must not be seen: it hides itself wherever it might be printed.

/// Wraps a secret; `Debug` shows only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Hides a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value in the clear. Each use is a place to look at.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value in the clear, moved out.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_hides_itself_in_debug_output() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[hidden]");
    }
}
