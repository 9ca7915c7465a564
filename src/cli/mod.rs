//! The commands, one file each. They read arguments, call the library and print; nothing is decided here.

mod check;
mod crds;
mod guard;
mod reconcile;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Keeps Kubernetes clusters exactly as git declares them, and lets nobody but git change them.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Guard(guard::Args),
    Reconcile(reconcile::Args),
    Check(check::Args),
    Crds(crds::Args),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Guard(args) => guard::run(args),
        Command::Reconcile(args) => reconcile::run(args),
        Command::Check(args) => check::run(&args),
        Command::Crds(args) => crds::run(&args),
    }
}

/// Runs a server in the runtime until it ends or the system asks it to stop.
fn serve<E: std::error::Error>(server: impl AsyncFnOnce() -> Result<(), E>) -> ExitCode {
    crate::telemetry::init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async { server().await.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS) })
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("gitward: {}", crate::kubernetes::chain(error));
    ExitCode::from(2)
}

/// Done when the system asks the process to stop: SIGTERM, or Ctrl-C.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut stream) => drop(stream.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
