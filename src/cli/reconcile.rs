//! `gitward reconcile`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{asked_to_stop, serve};
use crate::certs::{Certificates, Source};
use crate::lead::LeaseConfig;
use crate::render::Programs;
use crate::sync::{self, ReconcileConfig};

/// Follow the GitSyncs: pull, apply, prune, heal.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, default_value = "[::]:8080")]
    observe_listen: SocketAddr,
    /// gitward's own namespace.
    #[arg(long, env = "GITWARD_NAMESPACE", default_value = "gitward-system")]
    namespace: String,
    /// Where repositories are kept between two runs; may be lost at any time.
    #[arg(long, env = "GITWARD_CACHE_DIR", default_value = "/var/cache/gitward")]
    cache_dir: PathBuf,
    /// The program that renders charts.
    #[arg(long, env = "GITWARD_HELM", default_value = "/usr/local/bin/helm")]
    helm: PathBuf,
    /// The program that renders kustomizations.
    #[arg(long, env = "GITWARD_KUSTOMIZE", default_value = "/usr/local/bin/kustomize")]
    kustomize: PathBuf,
    /// Who issues the guard's certificate.
    #[arg(long, value_enum, default_value_t = Issuer::SelfManaged)]
    certificates: Issuer,
    /// The Secret with the guard's certificate.
    #[arg(long, default_value = "gitward-guard-tls")]
    tls_secret: String,
    /// The Secret that keeps the authority of that certificate, where the reconciler issues it.
    #[arg(long, default_value = "gitward-guard-ca")]
    ca_secret: String,
    /// The ConfigMap with the webhook configuration as the chart made it.
    #[arg(long, default_value = "gitward-webhook")]
    webhook_copy: String,
    /// A host name or address by which the API server calls the guard; may be given several times.
    #[arg(long, required = true)]
    guard_name: Vec<String>,
    /// The Lease, in gitward's own namespace, of the one reconciler that writes.
    #[arg(long, default_value = "gitward-reconciler")]
    lease: String,
    /// Seconds for which the others wait after they have seen its last renewal.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(3..=3600))]
    lease_seconds: u64,
    /// The name under which this process holds the Lease, which no other may have.
    #[arg(long, env = "GITWARD_POD_NAME")]
    identity: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Issuer {
    /// The reconciler, from an authority of its own.
    SelfManaged,
    /// cert-manager, whose cainjector also writes caBundle.
    CertManager,
    /// The administrator. The authority is the key ca.crt of the webhook's copy, or of the Secret.
    Provided,
}

pub(super) fn run(args: Args) -> ExitCode {
    let lease = LeaseConfig {
        namespace: args.namespace.clone(),
        name: args.lease,
        identity: args.identity.unwrap_or_else(|| format!("gitward-{:016x}", fastrand::u64(..))),
        duration: Duration::from_secs(args.lease_seconds),
    };
    let config = ReconcileConfig {
        observe_listen: args.observe_listen,
        namespace: args.namespace,
        cache: args.cache_dir,
        programs: Programs { helm: args.helm, kustomize: args.kustomize },
        certificates: Certificates {
            source: match args.certificates {
                Issuer::SelfManaged => Source::SelfManaged,
                Issuer::CertManager => Source::CertManager,
                Issuer::Provided => Source::Provided,
            },
            authority_secret: args.ca_secret,
            guard_secret: args.tls_secret,
            names: args.guard_name,
        },
        webhook_copy: args.webhook_copy,
        lease,
    };
    serve(async || sync::run(config, asked_to_stop()).await)
}
