//! `countersign serve`: run the service until told to stop.

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Outcome, client::credentials_text};
use crate::{
    app::{App, CHECKS},
    config::ServeFlags,
    domain::Policy,
    flows::client::create::create_client,
    store::Location,
};

/// As a shell reports a process that SIGINT ended.
const EXIT_SECOND_SIGNAL: i32 = 130;

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) flags: ServeFlags,
}

impl Serve {
    pub(super) async fn run(self) -> Outcome {
        let mut end = std::pin::pin!(end_of_service()?);
        let settings = self.flags.settings(&CHECKS)?;
        let app = tokio::select! {
            app = App::start(&settings) => app?,
            () = &mut end => {
                tracing::info!("stopped before it had started");
                return Ok(());
            }
        };
        if app.store.location() == Location::Memory {
            print_a_client(&app).await?;
        }
        app.run_until(end).await?;
        tracing::info!("stopped");
        Ok(())
    }
}

/// No second process reaches a store in memory, so it comes with a client.
async fn print_a_client(app: &App) -> Outcome {
    let policy = Policy { name: "In memory".to_owned(), ..Policy::default() };
    let (client, secret) = create_client(app.store.as_ref(), policy, "").await?;
    say!("{}", credentials_text(client.id, &secret));
    Ok(())
}

/// SIGTERM or SIGINT; listened for from now on. A second one ends the process at once.
fn end_of_service() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut signalled = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(async move {
        signalled().await;
        tracing::info!("stopping: calls that run are finished; a second signal ends at once");
        tokio::spawn(async move {
            signalled().await;
            tracing::warn!("ended at once by a second signal");
            std::process::exit(EXIT_SECOND_SIGNAL);
        });
    })
}
