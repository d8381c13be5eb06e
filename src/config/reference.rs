//! The settings as a page of the documentation, made from the table.

use std::fmt::Write as _;

use super::table::{Fallback, Kind, SETTINGS, Setting};

/// Limits, most of which are no settings of their own.
const LIMITS: &str = "
## Limits

Calls beyond a limit are rejected with RESOURCE_EXHAUSTED (`OVERLOADED`) unless the table says otherwise. The memory is
what a limit costs when it is reached with the default settings.

| limit | what it bounds | memory |
|---|---|---|
| `max-connections`, for each port | connections; an idle one makes room for a new one, else the new one is closed | gRPC: 163 MiB with all Health/Watch streams; HTTP and operations: 33 MiB each with the largest request heads |
| 100 on a connection | calls that a peer has open; it waits with further ones | |
| 64 KiB a call, 128 KiB a connection | bytes that a peer may send ahead | included below |
| 16 KiB | metadata of a call; INVALID_ARGUMENT, and beyond 64 KiB 431 | included below |
| 64 KiB, a Check 256 KiB | a message; INVALID_ARGUMENT, and for a Check a denied response with 503 | included below |
| `max-calls` on each port | calls that have arrived and not begun; connections are not read while there are more | included below |
| twice `max-calls` on each port | requests of which less than 4 KiB have arrived; their calls have not begun. The address that has most loses one: the oldest of its connection that has most | 26 MiB |
| a 12th of `max-calls` on each port | larger requests that have not arrived whole; likewise | 39 MiB of Checks |
| a third of `max-calls` on each port | responses that the peer does not read; likewise | 22 MiB of full pages |
| an eighth of `max-connections` | connections with valid credentials whose responses of up to 1,000 bytes may stay unread until the connection's idle timeout | 33 MiB |
| two thirds of `max-calls` | running calls of the API | at most 64 MiB of messages |
| the same; a client has half of what is free | open WatchRevocations streams | 16 MiB |
| `max-calls`, less the running calls of the API | health checks and Checks of ext_authz | |
| a 24th of `max-calls` | reflection streams | |
| 8 for each of `max-connections`; beyond that, a connection has 8 at most | Health/Watch streams | above |
| PostgreSQL: `database-connections`, less two; SQLite: 5 | uses of the store at once; a session has a quarter of them at most | |
| one eighth of these, doubled each second | uses of the store at once after an outage | |
| two thirds of `max-calls` | calls that wait for the store, for 2 seconds at most | in the calls |
| half of what is free | of these, calls of one client, and calls without valid credentials together; of the latter, one address has half of that | |
| 32 | of these, calls of one session, and look-ups beyond the limits of addresses | |
| a sixth of `max-calls` in addition | revocations that wait for the store; a client has half of what is free, a session half of that | in the calls |
| a 24th of `max-calls` | refreshes of one session that wait for each other, for 2 seconds at most | in the calls |
| a 12th of `max-calls` | calls with a token of an unknown signing key, or a session token without a MAC, that wait for the store's answer | in the calls |
| 64 at an endpoint | calls to the nodes of a chain; a client has half of what is free, a session eight | |
| 131,072, of a client 16,384 | addresses whose calls are counted for rate limits; a further one takes the place of another one of its client | 48 MiB |
| 100,000 | sessions whose calls are counted for rate limits; a further one takes the place of the quietest | 32 MiB |
| 32,768 | access tokens whose signature has been verified | 30 MiB |
| 20 per second | log lines of calls without valid credentials; further ones are counted | |
| 20 per second; 1 per second per RPC endpoint | log lines of calls that the store failed or that failed inside; further ones are counted | |

Idle, the process takes some 40 MiB. With all limits of connections and calls reached at the same time it took 343 MiB
(`tests/abuse/all_limits.rs`, without TLS). That test does not fill the rate limits and verified tokens (110 MiB), the
requests of which less than 4 KiB have arrived (26 MiB, an estimate), and the responses of up to 1,000 bytes (65 MiB, from
2.6 KiB for each). The deployment's own data comes on top: clients with their policies, and the revocations of the last
day.
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
