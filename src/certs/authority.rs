//! A small certificate authority with one purpose: that the API server knows the guard when it sees it.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
use thiserror::Error;

/// How long an authority is valid. It is replaced at two thirds of it.
pub(super) const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// How long the guard's certificate is valid. It is replaced at two thirds of it.
pub(super) const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Clocks differ: a certificate is valid from a little before its making.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Why a certificate could not be made or read.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// Making or signing failed.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// Nobody can be called by this name.
    #[error("{0:?} is no host name and no address")]
    Name(String),
    /// The time is out of the range of certificates.
    #[error("the clock shows a time that no certificate can hold: {0}")]
    Clock(Timestamp),
}

/// A private key and the certificate that goes with it, both as PEM.
#[derive(Clone)]
pub struct KeyAndCertificate {
    /// One certificate.
    pub certificate: String,
    /// PKCS #8.
    pub key: String,
}

/// Signs the guard's certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// Where the random source or the clock fails.
    pub fn create(now: Timestamp) -> Result<KeyAndCertificate, CertificateError> {
        let mut params = params("gitward guard CA", now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(KeyAndCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Reads a stored authority.
    ///
    /// # Errors
    /// Where key or certificate cannot be read.
    pub fn load(stored: &KeyAndCertificate) -> Result<Authority, CertificateError> {
        let key = KeyPair::from_pem(&stored.key)?;
        Ok(Authority { issuer: Issuer::from_ca_cert_pem(&stored.certificate, key)? })
    }

    /// Signs a new server certificate for these host names and IP addresses.
    ///
    /// # Errors
    /// Where a name is none, or the random source or the clock fails.
    pub fn issue(&self, names: &[String], now: Timestamp) -> Result<KeyAndCertificate, CertificateError> {
        if let Some(name) = names.iter().find(|name| ServerName::try_from(name.as_str()).is_err()) {
            return Err(CertificateError::Name(name.clone()));
        }
        let mut params = params("gitward guard", now, CERTIFICATE_LIFE)?;
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(KeyAndCertificate { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(name: &str, now: Timestamp, life: SignedDuration) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    // The time makes the authorities distinguishable while two of them are trusted.
    subject.push(DnType::CommonName, format!("{name} {}", now.as_second()));
    params.distinguished_name = subject;
    params.not_before = from_jiff(now - CLOCK_SKEW)?;
    params.not_after = from_jiff(now + life)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn from_jiff(at: Timestamp) -> Result<time::OffsetDateTime, CertificateError> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|_| CertificateError::Clock(at))
}
