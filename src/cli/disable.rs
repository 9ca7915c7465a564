//! `gitward disable`

use std::process::ExitCode;

use super::once;
use crate::protect::disable;

/// Switch the guard off, in an emergency: nothing is refused until `gitward enable`. Drift is healed on; installers of
/// gitward may do this.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Why. It is kept in the webhook configuration, with who and when.
    #[arg(long)]
    reason: String,
}

pub(super) fn run(args: &Args) -> ExitCode {
    once(async |client| {
        disable(client, &args.reason).await?;
        println!("The guard is disabled: nothing is refused until `gitward enable`. Drift is healed on.");
        Ok::<_, crate::protect::DisabledError>(ExitCode::SUCCESS)
    })
}
