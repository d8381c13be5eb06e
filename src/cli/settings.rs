//! `countersign settings`: what is in force, and where each value came from.

use clap::Args;

use super::Outcome;
use crate::{
    app::CHECKS,
    config::{Reader, ServeFlags, table::SETTINGS},
};

#[derive(Args)]
pub(super) struct Settings {
    #[command(flatten)]
    pub(super) flags: ServeFlags,
}

impl Settings {
    pub(super) fn run(self) -> Outcome {
        let mut reader = Reader::new(&self.flags.0, std::env::vars_os());
        for setting in &SETTINGS {
            let (text, origin) = reader.in_force(setting);
            let shown = match text {
                Some(_) if setting.is_secret() => "(hidden)".to_owned(),
                Some(text) => text,
                None => "(see the reference)".to_owned(),
            };
            say!("{:24} {shown:32} {origin}", setting.key);
        }
        self.flags.settings(&CHECKS).map(|_| ()).map_err(Into::into)
    }
}
