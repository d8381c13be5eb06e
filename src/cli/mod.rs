//! The command line: one file per command.
//!
//! What a command was asked for goes to standard output, what happens meanwhile to standard error.
#![expect(clippy::print_stderr, reason = "this is where the program speaks")]

/// Prints a line to standard output, or answers with the error: what is shown once must not be lost unseen.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::cli::print(format_args!($($text)*))?
    };
}

mod bench;
mod client;
mod completions;
mod demo;
mod gc;
mod grpc_client;
mod healthcheck;
mod keys;
mod man;
mod migrate;
mod serve;
mod settings;
mod wallet;

use std::{
    error::Error,
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    app::{AppError, CHECKS},
    config::{LogSettings, Problems, Reader, ServeSettings, flags::FlagValues},
    flows, log,
};

/// What every command answers; an error's text is for the person at the terminal.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Turns a wallet signature into a session, exactly once.
#[derive(Parser)]
#[command(name = "countersign", version, propagate_version = true, after_long_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    Serve(serve::Serve),
    /// Start a server on the embedded store, sign in with a throw-away wallet, and show each step.
    Demo(demo::Demo),
    /// Measure sign-ins and refreshes per second.
    Bench(bench::Bench),
    /// Show the settings in force, and where each value came from; secrets stay hidden.
    Settings(settings::Settings),
    /// Bring the store's schema up to date.
    Migrate(migrate::Migrate),
    /// Remove what has ended longer ago than the retention; a server does so by itself.
    Gc(gc::Gc),
    /// Make, change and end clients; talks to the store, not to a server.
    #[command(subcommand)]
    Client(client::Client),
    /// Ask the service on this machine whether it is ready: exit code 0, or 1.
    Healthcheck(healthcheck::Healthcheck),
    /// See, rotate and revoke the keys that sign access tokens; make and retire root keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// A throw-away wallet, for trying things by hand.
    #[command(subcommand)]
    Wallet(wallet::Wallet),
    /// Print what a shell needs to complete this command line.
    Completions(completions::Completions),
    /// Print or write the manual.
    Man(man::Man),
}

/// A line to standard output. Whoever reads no further, as `head` does, has read enough.
fn print(line: fmt::Arguments<'_>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{line}").and_then(|()| output.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(io::Error::new(error.kind(), format!("standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Settings as if they had been given as flags, for servers that a command starts for itself.
fn settings_of(flags: &[(&str, &str)]) -> Result<ServeSettings, Problems> {
    let by_key = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let given = FlagValues { by_key, config: None };
    let mut reader = Reader::new(&given, std::iter::empty());
    let settings = reader.serve(&CHECKS);
    reader.finish(settings)
}

/// As clap ends where the command line is wrong: another try would fail in the same way.
const EXIT_SETTINGS: u8 = 2;
/// Calls were still running when `shutdown-timeout` was over.
const EXIT_UNFINISHED: u8 = 3;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage or settings, 3 calls were still running at \
    the end of `shutdown-timeout`, 130 ended by a second signal.";

/// Runs the command of this process's arguments.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let LogSettings { filter, json } = cli.command.log();
    log::start(&filter, json);
    match dispatch(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("countersign: {}", with_causes(error.as_ref()));
            exit_code(error.as_ref())
        }
    }
}

/// What happened and why, for the person at the terminal: they see no log of ours.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = match error.downcast_ref() {
        // A caller of the API is told that it was logged; here it is told.
        Some(flows::Error::Internal(_)) => "an internal error".to_owned(),
        _ => error.to_string(),
    };
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Some errors repeat their cause themselves.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

fn exit_code(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ExitCode {
    if error.is::<Problems>() {
        return ExitCode::from(EXIT_SETTINGS);
    }
    match error.downcast_ref::<AppError>() {
        Some(AppError::Unfinished(_)) => ExitCode::from(EXIT_UNFINISHED),
        _ => ExitCode::FAILURE,
    }
}

async fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Serve(serve) => serve.run().await,
        Command::Demo(demo) => demo.run().await,
        Command::Bench(bench) => bench.run().await,
        Command::Settings(settings) => settings.run(),
        Command::Migrate(migrate) => migrate.run().await,
        Command::Gc(gc) => gc.run().await,
        Command::Client(client) => client.run().await,
        Command::Healthcheck(healthcheck) => healthcheck.run().await,
        Command::Keys(keys) => keys.run().await,
        Command::Wallet(wallet) => wallet.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

impl Command {
    /// How to log. The demo's and the load loop's own words are enough for them.
    fn log(&self) -> LogSettings {
        match self {
            Self::Serve(serve) => serve.flags.0.log(),
            Self::Settings(settings) => settings.flags.0.log(),
            Self::Migrate(migrate) => migrate.flags.0.log(),
            Self::Gc(gc) => gc.flags.0.log(),
            Self::Client(client) => client.flags().0.log(),
            Self::Demo(_) | Self::Bench(_) => LogSettings { filter: "error".to_owned(), json: Some(false) },
            Self::Keys(keys) => keys.log(),
            Self::Healthcheck(_) | Self::Wallet(_) | Self::Completions(_) | Self::Man(_) => {
                FlagValues::default().log()
            }
        }
    }
}

#[cfg(test)]
mod tests;
