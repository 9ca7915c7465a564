//! The certificates between the API server and the guard: the reconciler issues and renews them, the guard reloads
//! them, and neither restarts. They live in two Secrets, so that the guard never sees the authority's key.
//!
//! Imports nothing of gitward's but [`crate::kubernetes`].

mod authority;
mod reload;
mod renew;

pub use authority::{Authority, CertificateError, KeyAndCertificate};
pub use reload::{CertificateSource, Current, ReloadError, serve_certificate};
pub use renew::{Renewal, RenewalError, Trusted, ensure_authority, ensure_certificate};

/// The key of a Secret that holds a certificate chain (type `kubernetes.io/tls`).
pub const CERTIFICATE: &str = "tls.crt";
/// The key of a Secret that holds a private key (type `kubernetes.io/tls`).
pub const PRIVATE_KEY: &str = "tls.key";
