//! `gitward completions`

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

/// Print the completions for a shell, such as `source <(gitward completions bash)`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "gitward", &mut script);
    super::print(&script)
}
