//! `gitward man`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

/// Write the manual pages, one for each command, into a folder.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder, such as /usr/local/share/man/man1. It must exist.
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match clap_mangen::generate_to(super::Cli::command(), &args.folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}
