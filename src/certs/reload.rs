//! Reloading, in the guard: the certificate follows its Secret without a restart and without a dropped connection.

use std::pin::pin;
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::sync::watch;
use tracing::{info, warn};

use super::{CERTIFICATE, PRIVATE_KEY};

/// Why a certificate could not be loaded.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// A key of the Secret is missing.
    #[error("the Secret has no {0}")]
    Missing(&'static str),
    /// What is in it is no PEM.
    #[error("{0} of the Secret cannot be read: {1}")]
    Pem(&'static str, rustls::pki_types::pem::Error),
    /// Key and certificate do not fit.
    #[error("certificate and key cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}

/// Follows the Secret `name` for as long as it is polled, and sends a configuration for each good state of it. A bad
/// one is logged, and the one before stays.
pub async fn serve_from_secret(secrets: Api<Secret>, name: String, config: watch::Sender<Option<RustlsConfig>>) {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = pin!(watcher(secrets, only).default_backoff().applied_objects());
    loop {
        match events.try_next().await {
            Ok(Some(secret)) => match load(&secret) {
                Ok(loaded) => {
                    let loaded = Arc::new(loaded);
                    config.send_if_modified(|current| match current {
                        Some(current) => {
                            current.reload_from_config(loaded);
                            false
                        }
                        None => {
                            *current = Some(RustlsConfig::from_config(loaded));
                            true
                        }
                    });
                    info!(secret = name, "loaded the guard's certificate");
                }
                Err(error) => warn!(secret = name, %error, "kept the certificate as it was"),
            },
            Ok(None) => return,
            Err(error) => warn!(secret = name, %error, "the Secret cannot be watched; trying again"),
        }
    }
}

fn load(secret: &Secret) -> Result<ServerConfig, ReloadError> {
    let part = |key: &'static str| {
        secret.data.as_ref().and_then(|data| data.get(key)).ok_or(ReloadError::Missing(key)).map(|bytes| &bytes.0)
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(part(CERTIFICATE)?)
        .collect::<Result<_, _>>()
        .map_err(|error| ReloadError::Pem(CERTIFICATE, error))?;
    let key =
        PrivateKeyDer::from_pem_slice(part(PRIVATE_KEY)?).map_err(|error| ReloadError::Pem(PRIVATE_KEY, error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
