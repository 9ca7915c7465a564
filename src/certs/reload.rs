//! Reloading, in the guard: the certificate follows its Secret, or its files, without a restart and without a dropped
//! connection.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use super::inspect::validity;
use super::{CERTIFICATE, Expiry, PRIVATE_KEY};

/// Where the guard's certificate is kept.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// In a Secret.
    Secret(Box<Api<Secret>>, String),
    /// In two PEM files: the chain, and the key.
    Files(PathBuf, PathBuf),
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Why a certificate could not be loaded.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// A key of the Secret is missing.
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// What is in it is no PEM.
    #[error("{0} cannot be read: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// Key and certificate do not fit.
    #[error("certificate and key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The authorities of client certificates cannot be used.
    #[error("the client authorities cannot be used: {0}")]
    ClientAuthority(#[from] rustls::server::VerifierBuilderError),
}

/// The configuration of a TLS server, as it is at the moment.
pub type Current = watch::Sender<Option<RustlsConfig>>;

/// Follows the certificate for as long as it is polled, and sends a configuration for each good state of it. A bad
/// one is logged, and the one before stays. Where `client_ca` has PEM certificates, clients must show one that these
/// have signed. `expiry` tells until when what is shown is valid.
///
/// # Errors
/// Where files cannot be loaded at first: nobody else will put them there.
pub async fn serve_certificate(
    source: CertificateSource,
    client_ca: Option<Vec<u8>>,
    current: Current,
    expiry: Expiry,
) -> Result<(), ReloadError> {
    let shown = Shown { client_ca, current, expiry };
    match source {
        CertificateSource::Secret(secrets, name) => follow_secret(*secrets, name, shown).await,
        CertificateSource::Files(chain, key) => follow_files(&chain, &key, shown).await?,
    }
    Ok(())
}

/// What callers are shown.
struct Shown {
    client_ca: Option<Vec<u8>>,
    current: Current,
    expiry: Expiry,
}

impl Shown {
    /// From the next connection on this is shown.
    fn set(&self, chain: &[u8], key: &[u8]) -> Result<(), ReloadError> {
        let loaded = Arc::new(load(chain, key, self.client_ca.as_deref())?);
        self.current.send_if_modified(|current| match current {
            Some(current) => {
                current.reload_from_config(loaded);
                false
            }
            None => {
                *current = Some(RustlsConfig::from_config(loaded));
                true
            }
        });
        let leaf = certificates(CERTIFICATE, chain)?.into_iter().next();
        let until = leaf.and_then(|leaf| Some(validity(CERTIFICATE, &leaf).ok()?.until));
        self.expiry.guard(until);
        info!(until = until.map(|until| until.to_string()), "loaded the guard's certificate");
        Ok(())
    }
}

async fn follow_files(chain: &Path, key: &Path, shown: Shown) -> Result<(), ReloadError> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| ReloadError::File { path: path.to_owned(), error });
    let mut seen = (read(chain)?, read(key)?);
    shown.set(&seen.0, &seen.1)?;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let (Ok(chain), Ok(key)) = (read(chain), read(key)) else { continue };
        if (&chain, &key) == (&seen.0, &seen.1) {
            continue;
        }
        // The two files are not written at one moment: a pair that does not fit is looked at again.
        match shown.set(&chain, &key) {
            Ok(()) => seen = (chain, key),
            Err(error) => warn!(%error, "kept the certificate as it was"),
        }
    }
}

async fn follow_secret(secrets: Api<Secret>, name: String, shown: Shown) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher(secrets, only).default_backoff().applied_objects());
    loop {
        match events.try_next().await {
            Ok(Some(secret)) => {
                if let Err(error) = show(&secret, &shown) {
                    warn!(secret = name, %error, "kept the certificate as it was");
                }
            }
            Ok(None) => return,
            Err(error) => warn!(secret = name, %error, "the Secret cannot be watched; trying again"),
        }
    }
}

fn show(secret: &Secret, shown: &Shown) -> Result<(), ReloadError> {
    let part = |key: &'static str| {
        secret.data.as_ref().and_then(|data| data.get(key)).ok_or(ReloadError::Missing(key)).map(|bytes| &*bytes.0)
    };
    shown.set(part(CERTIFICATE)?, part(PRIVATE_KEY)?)
}

fn load(chain: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerConfig, ReloadError> {
    let chain = certificates(CERTIFICATE, chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| ReloadError::Pem(PRIVATE_KEY, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates("the file of client authorities", pem)? {
                roots.add(authority)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(of: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ReloadError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| ReloadError::Pem(of, error))
}
