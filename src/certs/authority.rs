//! A small certificate authority with one purpose: that the API server knows the guard when it sees it.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long an authority is valid. It is replaced at two thirds of it.
const AUTHORITY_LIFE: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);
/// How long the guard's certificate is valid. It is replaced at two thirds of it.
const CERTIFICATE_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Clocks differ: a certificate is valid from a little before its making.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Why a certificate could not be made or read.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// Making or signing failed.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// What is stored is no certificate.
    #[error("what is stored is no certificate in PEM: {0}")]
    Read(String),
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

/// Why a certificate has to be replaced; `None` where it is good. `issuer` is the certificate that must have signed
/// it, `names` what it must be valid for.
pub(super) fn flaw(pem: &str, issuer: Option<&str>, names: &[String], now: Timestamp) -> Option<String> {
    let check = || -> Result<Option<String>, String> {
        let der = der(pem)?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|e| e.to_string())?;
        let (from, until) =
            (certificate.validity().not_before.timestamp(), certificate.validity().not_after.timestamp());
        if now.as_second() < from || now.as_second() > from + (until - from) / 3 * 2 {
            return Ok(Some("it is past two thirds of its life, or not valid yet".to_owned()));
        }
        if let Some(name) = names.iter().find(|name| !is_for(&certificate, name)) {
            return Ok(Some(format!("it is not valid for {name}")));
        }
        let Some(issuer) = issuer else { return Ok(None) };
        let issuer_der = self::der(issuer)?;
        let (_, issuer) = X509Certificate::from_der(&issuer_der).map_err(|e| e.to_string())?;
        Ok((certificate.issuer() != issuer.subject()).then(|| "another authority signed it".to_owned()))
    };
    check().unwrap_or_else(Some)
}

fn is_for(certificate: &X509Certificate<'_>, name: &str) -> bool {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return false };
    alternatives.value.general_names.iter().any(|general| match general {
        GeneralName::DNSName(dns) => *dns == name,
        GeneralName::IPAddress(bytes) => match name.parse() {
            Ok(std::net::IpAddr::V4(ip)) => *bytes == ip.octets(),
            Ok(std::net::IpAddr::V6(ip)) => *bytes == ip.octets(),
            Err(_) => false,
        },
        _ => false,
    })
}

fn der(pem: &str) -> Result<Vec<u8>, String> {
    use rustls::pki_types::pem::PemObject;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| e.to_string())?;
    Ok(der.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["gitward-guard.gitward-system.svc".to_owned(), "127.0.0.1".to_owned()]
    }

    #[test]
    fn a_fresh_certificate_is_good_until_two_thirds_of_its_life() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let ca = Authority::create(now).unwrap();
        let leaf = Authority::load(&ca).unwrap().issue(&names(), now).unwrap();
        assert_eq!(flaw(&leaf.certificate, Some(&ca.certificate), &names(), now), None);
        let later = now + CERTIFICATE_LIFE * 3 / 4;
        assert!(flaw(&leaf.certificate, Some(&ca.certificate), &names(), later).is_some());
        assert_eq!(flaw(&ca.certificate, None, &[], later), None);
    }

    #[test]
    fn a_certificate_for_other_names_or_of_another_authority_is_replaced() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (ca, other) = (Authority::create(now).unwrap(), Authority::create(now + CLOCK_SKEW).unwrap());
        let leaf = Authority::load(&ca).unwrap().issue(&names()[..1], now).unwrap();
        assert_eq!(
            flaw(&leaf.certificate, Some(&ca.certificate), &names(), now).as_deref(),
            Some("it is not valid for 127.0.0.1")
        );
        assert!(flaw(&leaf.certificate, Some(&other.certificate), &[], now).is_some());
        assert!(flaw("no certificate", None, &[], now).is_some());
    }
}
