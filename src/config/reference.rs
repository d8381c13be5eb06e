//! The settings as a page of the documentation, made from the table.

use std::fmt::Write as _;

use super::table::{Fallback, Kind, SETTINGS, Setting};

/// Limits, most of which are no settings of their own.
const LIMITS: &str = "
## Limits

What is beyond a limit is rejected as RESOURCE_EXHAUSTED (`OVERLOADED`) unless the table says otherwise.

| limit | what it bounds |
|---|---|
| `max-connections`, for each port | connections; an idle one makes room for a new one, else the new one is closed |
| 100 calls on a connection | calls that a peer has open; it waits with further ones |
| 64 KiB a call, 128 KiB a connection | bytes that a peer may send ahead |
| 64 KiB of metadata in all, 16 KiB of it looked at | metadata of a call; 431 and INVALID_ARGUMENT |
| 64 KiB, a Check 256 KiB | a message; INVALID_ARGUMENT, and for a Check a denied response with 503 |
| `max-calls` | calls that have arrived and not begun; connections are not read while there are more |
| two thirds of `max-calls` | running calls of the API, and as many open WatchRevocations streams |
| `max-calls` | the same with health checks and ext_authz |
| a sixth of `max-calls` | requests that have not arrived whole; the oldest makes room |
| a third of `max-calls` | responses that are not taken; the oldest is reset |
| a 24th of `max-calls` | reflection streams |
| 8 on a connection | Health/Watch streams |
| `database-connections`, less two | uses of the store at once; a session has a quarter of them at most |
| the same, from one on doubled each second | uses of the store at once after an outage of it |
| 1,024, of a session 32 | calls that wait for the store, for 2 seconds at most |
| 64 at an endpoint | calls to the nodes of a chain; a client has half of what is free |
| 20 a second | log lines of calls without valid credentials; further ones are counted |
| 20 a second, of a node of a chain one | log lines of calls that the store failed or that failed inside; further ones are counted |
";

/// `docs/settings.md`. A test holds the file to this.
pub fn page() -> String {
    let mut page = "# Settings\n\nMade from `src/config/table.rs`; do not edit.\n\n\
        A flag outweighs the environment, which outweighs the file that `--config FILE` or `COUNTERSIGN_CONFIG` \
        names (TOML, by the names below). Everything is checked before anything starts, and every mistake is \
        told at once. `countersign settings` prints what is in force and where each value came from.\n"
        .to_owned();
    for setting in &SETTINGS {
        let _ = write!(page, "\n## {}\n\n{}\n\n{}", setting.key, setting.help, ways(setting));
    }
    page + LIMITS
}

fn ways(setting: &Setting) -> String {
    let (key, variable) = (setting.key, setting.variable());
    let (Fallback::Value(default) | Fallback::Described(default)) = setting.default;
    let by_file = format!("`--{key}-file`, `{variable}_FILE`, `{key}-file` name a file that holds it");
    let ways = match setting.kind {
        Kind::Plain | Kind::Switch => format!("`--{key}`, `{variable}`, `{key}`"),
        Kind::SecretList => {
            format!("`--{key}` (may be repeated), `{variable}`, `{key}` (a text or a list); {by_file}")
        }
        Kind::Secret => format!("`--{key}`, `{variable}`, `{key}`; {by_file}"),
        Kind::SecretOffTheCommandLine => {
            format!("`{variable}`, `{key}`; {by_file}; never itself a flag, which others could read")
        }
    };
    let default = if default.contains([' ', '`']) { default.to_owned() } else { format!("`{default}`") };
    format!("- {ways}\n- default: {default}\n")
}
