//! Syntax check of a store URL, without opening anything.

use std::str::FromStr as _;

use sqlx::{postgres::PgConnectOptions, sqlite::SqliteConnectOptions};

use super::{Location, OpenError, postgres, sqlite};

/// Where the store of a URL lives, whether or not it is there.
///
/// # Errors
/// What is wrong with the URL; the password is never part of the message.
pub fn locate(url: &str) -> Result<Location, OpenError> {
    let malformed = |error: sqlx::Error| OpenError::MalformedUrl(error.to_string());
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("sqlite") => {
            let options = SqliteConnectOptions::from_str(url).map_err(malformed)?;
            if sqlite::is_memory(url) {
                return Ok(Location::Memory);
            }
            Ok(Location::File(sqlite::parse_file(options.get_filename())?.to_owned()))
        }
        Some("postgres" | "postgresql") => {
            postgres::refuse_unknown_parts(url)?;
            PgConnectOptions::from_str(url).map_err(malformed)?;
            Ok(Location::Server)
        }
        _ => Err(OpenError::UnknownScheme),
    }
}
