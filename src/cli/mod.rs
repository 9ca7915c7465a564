//! The commands, one file each. They read arguments, call the library and print; nothing is decided here.

mod access;
mod certs;
mod check;
mod completions;
mod crds;
mod diff;
mod disable;
mod enable;
mod guard;
mod man;
mod reconcile;
mod running;
mod verify;

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

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
    Diff(diff::Args),
    Access(access::Args),
    Disable(disable::Args),
    Enable(enable::Args),
    Crds(crds::Args),
    Certs(certs::Args),
    Verify(verify::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    match parse().command {
        Command::Guard(args) => guard::run(args),
        Command::Reconcile(args) => reconcile::run(args),
        Command::Check(args) => check::run(args),
        Command::Diff(args) => diff::run(&args),
        Command::Access(args) => access::run(&args),
        Command::Disable(args) => disable::run(&args),
        Command::Enable(args) => enable::run(&args),
        Command::Crds(args) => crds::run(&args),
        Command::Certs(args) => certs::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Reads the arguments. As a plugin of kubectl, the program's name in its help is the one that is typed.
fn parse() -> Cli {
    let mut command = Cli::command();
    let program = std::env::args_os().next().unwrap_or_default();
    if Path::new(&program).file_stem() == Some(OsStr::new("kubectl-gitward")) {
        command = command.bin_name("kubectl gitward");
    }
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Runs a server in the runtime until it ends or the system asks it to stop.
fn serve<E: std::error::Error + 'static>(server: impl AsyncFnOnce() -> Result<(), E>) -> ExitCode {
    crate::telemetry::init();
    in_runtime(async || server().await.map(|()| ExitCode::SUCCESS))
}

/// Runs a command that asks the API server, as the user of the kubeconfig.
fn once<E: std::error::Error + 'static>(command: impl AsyncFnOnce(kube::Client) -> Result<ExitCode, E>) -> ExitCode {
    in_runtime(async || -> Result<ExitCode, Box<dyn std::error::Error>> {
        Ok(command(crate::kubernetes::connect().await?).await?)
    })
}

fn in_runtime<E: Into<Box<dyn std::error::Error>>>(work: impl AsyncFnOnce() -> Result<ExitCode, E>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    runtime.block_on(async { work().await.unwrap_or_else(|error| fail(&*error.into())) })
}

fn print(text: &[u8]) -> ExitCode {
    match std::io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
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
