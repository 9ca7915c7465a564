//! `gitward guard`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{asked_to_stop, serve};
use crate::guard::{self, GuardConfig, GuardSource};

/// Serve the validating admission webhook.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the API server calls.
    #[arg(long, default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, default_value = "[::]:8080")]
    observe_listen: SocketAddr,
    /// gitward's own namespace.
    #[arg(long, env = "GITWARD_NAMESPACE", default_value = "gitward-system")]
    namespace: String,
    /// The Secret with the certificate, in that namespace.
    #[arg(long, default_value = "gitward-guard-tls", conflicts_with = "tls_cert")]
    tls_secret: String,
    /// The service account that may write what git declares, in that namespace.
    #[arg(long, default_value = "gitward-reconciler")]
    reconciler_account: String,
    /// The service account of the guard, in that namespace.
    #[arg(long, default_value = "gitward-guard")]
    guard_account: String,
    /// PEM certificates of authorities: callers must show a certificate that one of them has signed.
    #[arg(long)]
    client_ca: Option<PathBuf>,
    /// How many connections there may be.
    #[arg(long, default_value_t = 1024)]
    connections: usize,
    /// How many of them one client address may have; the addresses of an IPv6 network (/64) are one.
    #[arg(long, default_value_t = 512)]
    connections_per_address: usize,
    /// MiB that the bodies of all requests in flight may hold together, with 64 KiB for every connection; the largest body has
    /// 20 MiB.
    #[arg(long, default_value_t = 128)]
    bodies_mib: usize,
    /// Seconds in which every request is answered; less than the webhook's timeoutSeconds.
    #[arg(long, default_value = "4.5", value_parser = seconds)]
    answer_within: Duration,
    /// Seconds for which it serves on after it was asked to stop, until nobody is sent to it any more.
    #[arg(long, default_value = "0", value_parser = seconds)]
    drain_for: Duration,
    /// Run without a cluster: the certificate chain, as PEM. Reloaded when it changes.
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Run without a cluster: the certificate's key, as PEM.
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Run without a cluster: a GuardPolicy (YAML or JSON); without it the built-in policy applies.
    #[arg(long, requires = "tls_cert")]
    policy_file: Option<PathBuf>,
    /// Run without a cluster: a List of live objects (YAML or JSON) that stands for look-ups.
    #[arg(long, requires = "tls_cert")]
    objects_file: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> ExitCode {
    let config = GuardConfig {
        listen: args.listen,
        observe_listen: args.observe_listen,
        namespace: args.namespace,
        reconciler_account: args.reconciler_account,
        guard_account: args.guard_account,
        client_ca: args.client_ca,
        connections: args.connections,
        connections_per_address: args.connections_per_address,
        bodies_mib: args.bodies_mib,
        answer_within: args.answer_within,
        drain: args.drain_for,
    };
    let source = match (args.tls_cert, args.tls_key) {
        (Some(tls_cert), Some(tls_key)) => {
            GuardSource::Files { policy: args.policy_file, objects: args.objects_file, tls_cert, tls_key }
        }
        _ => GuardSource::Cluster { tls_secret: args.tls_secret },
    };
    serve(async || guard::run(source, config, asked_to_stop()).await)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it takes a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
