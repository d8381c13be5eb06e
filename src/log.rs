//! The log of this process: where it goes, its form, and a filter that can be changed while it runs.

use std::{io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

/// What a filter is, for whoever gave none.
pub const MUST: &str = "must be off, error, warn, info, debug or trace, or directives such as \
                        `warn,countersign=debug`";

/// The filter in force.
pub struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    configured: String,
}

static FILTER: OnceLock<Filter> = OnceLock::new();

/// Logs to standard error from now on: as JSON if asked to, or if nobody said and it is no terminal.
pub fn start(configured: &str, json: Option<bool>) {
    let is_terminal = std::io::stderr().is_terminal();
    // What is wrong with the setting is told with all other settings.
    let (filter, handle) = reload::Layer::new(parse(configured).unwrap_or_else(|_| EnvFilter::new("info")));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false);
    let lines =
        if json.unwrap_or(!is_terminal) { lines.json().with_span_list(false).boxed() } else { lines.boxed() };
    let installed = tracing_subscriber::registry().with(filter).with(lines).try_init();
    if installed.is_ok() {
        FILTER.get_or_init(|| Filter { handle, configured: configured.to_owned() });
    }
}

/// The filter of this process; `None` if somebody else logs.
pub fn filter() -> Option<&'static Filter> {
    FILTER.get()
}

impl Filter {
    /// What is in force.
    pub fn in_force(&self) -> String {
        self.handle.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Puts another filter in force, until the process ends.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays in force.
    pub fn change(&self, text: &str) -> Result<(), String> {
        let filter = parse(text)?;
        let old = self.in_force();
        self.handle.reload(filter).map_err(|error| error.to_string())?;
        tracing::warn!(from = old, to = text, "the log's filter was changed");
        Ok(())
    }

    /// Puts the filter of the settings in force again.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub fn restore(&self) -> Result<(), String> {
        self.change(&self.configured)
    }
}

/// Whether a text is a filter: a level, or directives with commas between.
pub fn is_filter(text: &str) -> bool {
    parse(text).is_ok()
}

fn parse(text: &str) -> Result<EnvFilter, String> {
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    // To the library a mistyped level is the name of a part of the program: it would silence the rest.
    if !directives.iter().all(|directive| directive.contains(['=', '[']) || is_level(directive)) {
        return Err(MUST.to_owned());
    }
    EnvFilter::try_new(directives.join(",")).map_err(|_| MUST.to_owned())
}

fn is_level(text: &str) -> bool {
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|level| level.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_no_filter() {
        for filter in ["info", "WARN", "off", "warn,countersign=debug", "info, h2=off"] {
            assert!(is_filter(filter), "{filter}");
        }
        for wrong in ["", "inof", "countersign", "info,", "countersign=inof", "a=b=c"] {
            assert!(!is_filter(wrong), "{wrong}");
        }
    }
}
