//! `countersign completions`: what a shell completes after `countersign`.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::{Cli, Outcome};

#[derive(Args)]
pub(super) struct Completions {
    /// For which shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Outcome {
        say!("{}", script(self.shell).trim_end());
        Ok(())
    }
}

/// The script that the shell reads.
pub(super) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "countersign", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
