//! `gitward enable`

use std::process::ExitCode;

use super::once;
use crate::protect::enable;

/// Switch the guard on again after `gitward disable`.
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args) -> ExitCode {
    once(async |client| {
        if enable(client).await? {
            println!("The guard is enabled.");
            return Ok::<_, crate::protect::DisabledError>(ExitCode::SUCCESS);
        }
        eprintln!(
            "gitward: the guard may be enabled again, but its webhooks are not back: the reconciler puts them back, and \
             seems not to run. See `kubectl get pods -n gitward-system`, or run `helm upgrade`."
        );
        Ok(ExitCode::FAILURE)
    })
}
