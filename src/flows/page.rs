//! Pagination of lists.

use std::str::FromStr;

use crate::flows::{Error, Result};

const DEFAULT_PAGE: u32 = 50;
/// Largest page: a response of some 100 KB, of which `max-calls` / 3 may wait for peers that do not read.
const MAX_PAGE: u32 = 250;

/// How many entries a page has, of what a request asked for.
pub(crate) fn page_size(asked: i32) -> Result<u32> {
    match u32::try_from(asked) {
        Ok(0) => Ok(DEFAULT_PAGE),
        Ok(size) => Ok(size.min(MAX_PAGE)),
        Err(_) => Err(Error::invalid("page_size", "must not be negative")),
    }
}

/// The last entry of the page before; `None` for the first page.
pub(crate) fn page_token<T: FromStr>(text: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let token = text.parse().map_err(|_| Error::invalid("page_token", "must be a `next_page_token`"))?;
    Ok(Some(token))
}

/// A page, and the token of the next one, of what was found: one more than the page shows that there is one.
pub(crate) fn page<T>(mut found: Vec<T>, size: u32, token: impl Fn(&T) -> String) -> (Vec<T>, String) {
    let shown = usize::try_from(size).unwrap_or(usize::MAX);
    let more = found.len() > shown;
    found.truncate(shown);
    let next = found.last().filter(|_| more).map(token);
    (found, next.unwrap_or_default())
}
