//! `gitward guard`

use std::net::SocketAddr;
use std::process::ExitCode;

use super::{asked_to_stop, serve};
use crate::guard::{self, GuardConfig};

/// Serve the validating admission webhook.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the API server calls.
    #[arg(long, default_value = "0.0.0.0:8443")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, default_value = "0.0.0.0:8080")]
    observe_listen: SocketAddr,
    /// gitward's own namespace.
    #[arg(long, env = "GITWARD_NAMESPACE", default_value = "gitward-system")]
    namespace: String,
    /// The Secret with the certificate, in that namespace.
    #[arg(long, default_value = "gitward-guard-tls")]
    tls_secret: String,
    /// The service account that may write what git declares, in that namespace.
    #[arg(long, default_value = "gitward-reconciler")]
    reconciler_account: String,
    /// The service account of the guard, in that namespace.
    #[arg(long, default_value = "gitward-guard")]
    guard_account: String,
}

pub(super) fn run(args: Args) -> ExitCode {
    let config = GuardConfig {
        listen: args.listen,
        observe_listen: args.observe_listen,
        namespace: args.namespace,
        tls_secret: args.tls_secret,
        reconciler_account: args.reconciler_account,
        guard_account: args.guard_account,
    };
    serve(async |client| guard::run(client, config, asked_to_stop()).await)
}
