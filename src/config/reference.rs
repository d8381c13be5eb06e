//! The settings as a page of the documentation, made from the table.

use std::fmt::Write as _;

use super::table::{Fallback, Kind, SETTINGS, Setting};

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
    page
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
