//! The certificates between the API server and the guard: the reconciler issues and renews them, the guard reloads
//! them, and neither restarts. They live in two Secrets, so that the guard never sees the authority's key.
//!
//! Imports nothing of gitward's but [`crate::kubernetes`].

mod authority;
mod clock;
mod expiry;
mod inspect;
mod reload;
mod renew;

pub use authority::{Authority, CertificateError, KeyAndCertificate};
pub use clock::now;
pub use expiry::Expiry;
pub use inspect::{Flaw, Validity, bundle_until, until};
pub use reload::{CertificateSource, Current, ReloadError, serve_certificate};
pub use renew::{Kept, RenewalError, Trusted, bundle_of, check, ensure_authority, ensure_certificate};

/// The key of a Secret that holds a certificate chain (type `kubernetes.io/tls`).
pub const CERTIFICATE: &str = "tls.crt";
/// The key of a Secret that holds a private key (type `kubernetes.io/tls`).
pub const PRIVATE_KEY: &str = "tls.key";
/// The key of a Secret that holds the authorities to trust, as cert-manager names it.
pub const BUNDLE: &str = "ca.crt";

/// Who issues the guard's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The reconciler, from an authority of its own.
    SelfManaged,
    /// cert-manager; its cainjector tells the API server what to trust.
    CertManager,
    /// The administrator.
    Provided,
}

/// What is to be kept, or looked at where somebody else keeps it.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// Who issues.
    pub source: Source,
    /// The Secret of the reconciler's own authority, which only the reconciler reads.
    pub authority_secret: String,
    /// The Secret of the guard's certificate.
    pub guard_secret: String,
    /// The host names and addresses by which the API server calls the guard.
    pub names: Vec<String>,
}
