//! The command line: one file per command.
//!
//! What a command was asked for goes to standard output, what happens meanwhile to standard error.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where the program speaks")]

mod bench;
mod client;
mod demo;
mod keys;
mod migrate;
mod remote;
mod serve;
mod wallet;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// What every command answers; an error's text is for the person at the terminal.
type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Turns a wallet signature into a session, exactly once.
#[derive(Parser)]
#[command(name = "countersign", version, propagate_version = true)]
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
    /// Bring the store's schema up to date.
    Migrate(migrate::Migrate),
    /// Make and look at clients; talks to the store, not to a server.
    #[command(subcommand)]
    Client(client::Client),
    /// Make root keys.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// A throw-away wallet, for trying things by hand.
    #[command(subcommand)]
    Wallet(wallet::Wallet),
}

/// Runs the command of this process's arguments: exit code 0, 1 for a failure, 2 for wrong usage.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    log_to_standard_error(cli.command.log_level());
    match dispatch(cli.command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("countersign: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Serve(serve) => serve.run().await,
        Command::Demo(demo) => demo.run().await,
        Command::Bench(bench) => bench.run().await,
        Command::Migrate(migrate) => migrate.run().await,
        Command::Client(client) => client.run().await,
        Command::Keys(keys) => keys.run(),
        Command::Wallet(wallet) => wallet.run(),
    }
}

impl Command {
    /// What is logged unless COUNTERSIGN_LOG says otherwise: the demo's own words are enough.
    const fn log_level(&self) -> &'static str {
        match self {
            Self::Demo(_) | Self::Bench(_) => "error",
            Self::Serve(_) | Self::Migrate(_) | Self::Client(_) | Self::Keys(_) | Self::Wallet(_) => "info",
        }
    }
}

fn log_to_standard_error(level: &str) {
    let filter = EnvFilter::try_from_env("COUNTERSIGN_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
