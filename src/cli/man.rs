//! `countersign man`: the manual, one page for each command.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};

use super::{Cli, Outcome};

#[derive(Args)]
pub(super) struct Man {
    /// Write every page into this folder; without it the first page is printed.
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self) -> Outcome {
        let Some(folder) = self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(Cli::command().disable_help_subcommand(true)).render(&mut page)?;
            say!("{}", String::from_utf8_lossy(&page).trim_end());
            return Ok(());
        };
        let written = fs::create_dir_all(&folder)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &folder))
            .map_err(|error| format!("dir: {}: {error}", folder.display()));
        Ok(written?)
    }
}
