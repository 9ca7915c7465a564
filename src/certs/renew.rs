//! Issuing and renewing, in the reconciler: two Secrets are kept as they have to be.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use thiserror::Error;
use tracing::info;

use super::authority::{Authority, CertificateError, KeyAndCertificate, flaw};
use super::{CERTIFICATE, PRIVATE_KEY};
use crate::kubernetes::is_status;

/// Every certificate that the API server shall trust: the authority's, and those before it while they are valid.
const BUNDLE: &str = "ca.crt";

/// How many authorities are trusted at a time: the current one and its predecessor.
const TRUSTED: usize = 2;

/// What to keep, and where.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The Secret of the authority, which only the reconciler reads.
    pub authority_secret: String,
    /// The Secret of the guard's certificate.
    pub guard_secret: String,
    /// The host names and addresses by which the API server calls the guard.
    pub names: Vec<String>,
}

/// Why the certificates could not be kept.
#[derive(Debug, Error)]
pub enum RenewalError {
    /// A Secret could not be read or written.
    #[error("Secret {name}: {source}")]
    Secret {
        /// Which.
        name: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// A certificate could not be made or read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// An authority that can be used, and everything that is to be trusted while it is.
pub struct Trusted {
    authority: KeyAndCertificate,
    /// The certificates that the API server must trust, as PEM, before one of the authority's is shown.
    pub bundle: String,
}

/// Makes the guard's certificate where it is missing or spoiled, renews it where that is due. The API server must trust
/// the authority already.
///
/// # Errors
/// Where a Secret cannot be read or written. Nothing is lost: the next call goes on.
pub async fn ensure_certificate(
    secrets: &Api<Secret>,
    renewal: &Renewal,
    trusted: &Trusted,
    now: Timestamp,
) -> Result<(), RenewalError> {
    let authority = &trusted.authority;
    let stored = get(secrets, &renewal.guard_secret).await?;
    let pem = stored.as_ref().and_then(|secret| text(secret, CERTIFICATE));
    let flaw = match pem {
        None => Some("there is none".to_owned()),
        Some(pem) => flaw(&pem, Some(&authority.certificate), &renewal.names, now),
    };
    if let Some(flaw) = flaw {
        let leaf = Authority::load(authority)?.issue(&renewal.names, now)?;
        let data = [(CERTIFICATE, leaf.certificate), (PRIVATE_KEY, leaf.key)];
        put(secrets, &renewal.guard_secret, "kubernetes.io/tls", data, stored).await?;
        info!(secret = renewal.guard_secret, why = flaw, "issued the guard's certificate");
    }
    Ok(())
}

/// Makes the authority where it is missing or spoiled, replaces it where that is due.
///
/// # Errors
/// Where a Secret cannot be read or written. Nothing is lost: the next call goes on.
pub async fn ensure_authority(
    secrets: &Api<Secret>,
    renewal: &Renewal,
    now: Timestamp,
) -> Result<Trusted, RenewalError> {
    let stored = get(secrets, &renewal.authority_secret).await?;
    let old_bundle = stored.as_ref().and_then(|secret| text(secret, BUNDLE)).unwrap_or_default();
    if let Some(secret) = &stored
        && let Some((certificate, key)) = text(secret, CERTIFICATE).zip(text(secret, PRIVATE_KEY))
        && flaw(&certificate, None, &[], now).is_none()
        && old_bundle.contains(certificate.trim())
    {
        return Ok(Trusted { authority: KeyAndCertificate { certificate, key }, bundle: old_bundle });
    }
    let authority = Authority::create(now)?;
    let predecessors = old_bundle.split_inclusive("-----END CERTIFICATE-----").map(str::trim);
    let predecessors = predecessors.filter(|pem| pem.starts_with("-----BEGIN CERTIFICATE-----"));
    let mut bundle = authority.certificate.trim().to_owned();
    predecessors.take(TRUSTED - 1).for_each(|pem| bundle.push_str(&format!("\n{pem}")));
    bundle.push('\n');
    let data =
        [(CERTIFICATE, authority.certificate.clone()), (PRIVATE_KEY, authority.key.clone()), (BUNDLE, bundle.clone())];
    put(secrets, &renewal.authority_secret, "Opaque", data, stored).await?;
    info!(secret = renewal.authority_secret, "made a certificate authority");
    Ok(Trusted { authority, bundle })
}

async fn get(secrets: &Api<Secret>, name: &str) -> Result<Option<Secret>, RenewalError> {
    secrets.get_opt(name).await.map_err(|source| RenewalError::Secret { name: name.to_owned(), source })
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

async fn put<const N: usize>(
    secrets: &Api<Secret>,
    name: &str,
    kind: &str,
    data: [(&str, String); N],
    stored: Option<Secret>,
) -> Result<(), RenewalError> {
    let data: BTreeMap<_, _> = data.into_iter().map(|(k, v)| (k.to_owned(), ByteString(v.into_bytes()))).collect();
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let result = match stored {
        None => {
            let secret = Secret { metadata, data: Some(data), type_: Some(kind.to_owned()), ..Secret::default() };
            secrets.create(&PostParams::default(), &secret).await.map(|_| ())
        }
        Some(stored) => {
            let secret = Secret { data: Some(data), ..stored };
            secrets.replace(name, &PostParams::default(), &secret).await.map(|_| ())
        }
    };
    match result {
        // Somebody else was faster; what they wrote is looked at by the next call.
        Err(error) if is_status(&error, 409) => Ok(()),
        other => other.map_err(|source| RenewalError::Secret { name: name.to_owned(), source }),
    }
}
