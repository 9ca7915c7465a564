//! What a stored certificate is worth: whether the API server will take it from the guard, and when it is to be renewed.
//! Pure: the time is given.

use std::time::Duration;

use jiff::Timestamp;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub from: Timestamp,
    /// The last.
    pub until: Timestamp,
}

/// Why the API server would not take a certificate.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing is stored.
    #[error("there is no {0}")]
    Missing(&'static str),
    /// What is stored cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(&'static str, String),
    /// Key and certificate are of two pairs.
    #[error("the key does not belong to the certificate: {0}")]
    Mismatch(String),
    /// It is over.
    #[error("it has expired at {0}")]
    Expired(Timestamp),
    /// Somebody's clock was wrong when it was made.
    #[error("it is not valid before {0}")]
    NotYet(Timestamp),
    /// No authority of the bundle can have signed anything that is valid now.
    #[error(
        "every authority that the API server shall trust has expired, or is not valid yet; the last is valid until {0}"
    )]
    AuthorityExpired(Timestamp),
    /// There is no bundle.
    #[error("no authority is known that the API server shall trust")]
    NoAuthority,
    /// Another authority signed it, or it is not for servers.
    #[error("no authority that the API server shall trust has signed it as a server's: {0}")]
    Untrusted(String),
    /// The API server calls the guard by another name.
    #[error("it is not valid for {0}, by which the API server calls the guard")]
    Name(String),
}

impl Flaw {
    /// One word for an Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Flaw::Missing(_) => "CertificateMissing",
            Flaw::Unreadable(..) => "CertificateUnreadable",
            Flaw::Mismatch(_) => "CertificateKeyMismatch",
            Flaw::Expired(_) => "CertificateExpired",
            Flaw::NotYet(_) => "CertificateNotYetValid",
            Flaw::AuthorityExpired(_) => "AuthorityExpired",
            Flaw::NoAuthority => "AuthorityMissing",
            Flaw::Untrusted(_) => "CertificateUntrusted",
            Flaw::Name(_) => "CertificateForAnotherName",
        }
    }

    /// Whether guards that run may still show a good one: a guard keeps what it has loaded when its Secret is spoiled.
    pub(super) fn is_of_storage(&self) -> bool {
        matches!(self, Flaw::Missing(_) | Flaw::Unreadable(..) | Flaw::Mismatch(_))
    }
}

impl Validity {
    /// When it is to be renewed: at two thirds of its life.
    pub fn due(self) -> Timestamp {
        let third = (self.until.as_second() - self.from.as_second()) / 3;
        Timestamp::from_second(self.from.as_second() + 2 * third).unwrap_or(self.until)
    }

    fn check(self, now: Timestamp) -> Result<Validity, Flaw> {
        if now < self.from {
            return Err(Flaw::NotYet(self.from));
        }
        if now > self.until { Err(Flaw::Expired(self.until)) } else { Ok(self) }
    }
}

/// How long until a moment; nothing where it is past.
pub fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Looks at a server's chain and key as the API server does at `now`: it trusts `bundle`, and calls the guard by each of
/// `names`.
///
/// # Errors
/// What it would not take.
pub fn server(chain: &[u8], key: &[u8], bundle: &str, names: &[String], now: Timestamp) -> Result<Validity, Flaw> {
    let chain = certificates("tls.crt", chain)?;
    let (leaf, intermediates) =
        chain.split_first().ok_or_else(|| Flaw::Unreadable("tls.crt", "no certificate in PEM".to_owned()))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| Flaw::Unreadable("tls.key", error.to_string()))?;
    CertifiedKey::from_der(chain.clone(), key, &default_provider()).map_err(|e| Flaw::Mismatch(e.to_string()))?;
    let validity = validity("tls.crt", leaf)?.check(now)?;
    let authorities = valid_authorities(bundle, now)?;
    let anchors: Vec<_> = authorities.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
    let untrusted = |error: webpki::Error| Flaw::Untrusted(error.to_string());
    let certificate = EndEntityCert::try_from(leaf).map_err(untrusted)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap_or(0)));
    let usage = KeyUsage::server_auth();
    certificate
        .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, intermediates, at, usage, None, None)
        .map_err(untrusted)?;
    for name in names {
        let wrong = || Flaw::Name(name.clone());
        let server = ServerName::try_from(name.as_str()).map_err(|_| wrong())?;
        certificate.verify_is_valid_for_subject_name(&server).map_err(|_| wrong())?;
    }
    Ok(validity)
}

/// Looks at an authority that is to sign with its key at `now`.
pub(super) fn authority(certificate: &str, key: &str, now: Timestamp) -> Result<Validity, Flaw> {
    let unreadable = |error: String| Flaw::Unreadable("tls.crt", error);
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|e| unreadable(e.to_string()))?;
    let key = rcgen::KeyPair::from_pem(key).map_err(|error| Flaw::Unreadable("tls.key", error.to_string()))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| unreadable(error.to_string()))?;
    if parsed.public_key().raw != rcgen::PublicKeyData::subject_public_key_info(&key) {
        return Err(Flaw::Mismatch("the authority's certificate has another public key".to_owned()));
    }
    if !parsed.is_ca() {
        return Err(unreadable("it is no authority's".to_owned()));
    }
    validity("tls.crt", &der)?.check(now)
}

/// The certificates of a bundle that are valid at `now`, each as PEM; what is no certificate is passed over.
pub(super) fn still_valid(bundle: &str, now: Timestamp) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = bundle.split_inclusive(END).filter_map(|text| text.find("-----BEGIN").map(|at| text[at..].to_owned()));
    let is_valid = |pem: &String| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes());
        der.is_ok_and(|der| validity("ca.crt", &der).and_then(|validity| validity.check(now)).is_ok())
    };
    blocks.filter(is_valid).collect()
}

fn valid_authorities(bundle: &str, now: Timestamp) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let all = certificates("ca.crt", bundle.as_bytes())?;
    let lives = all.iter().map(|der| validity("ca.crt", der)).collect::<Result<Vec<_>, _>>()?;
    let last = lives.iter().map(|life| life.until).max().ok_or(Flaw::NoAuthority)?;
    let valid: Vec<_> =
        all.into_iter().zip(lives).filter(|(_, life)| life.check(now).is_ok()).map(|(der, _)| der).collect();
    if valid.is_empty() { Err(Flaw::AuthorityExpired(last)) } else { Ok(valid) }
}

/// The latest moment at which an authority of a bundle is valid.
pub fn bundle_until(bundle: &str) -> Option<Timestamp> {
    let all = certificates("ca.crt", bundle.as_bytes()).ok()?;
    all.iter().filter_map(|der| validity("ca.crt", der).ok()).map(|life| life.until).max()
}

fn certificates(of: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| Flaw::Unreadable(of, e.to_string()))
}

/// From when until when a certificate is valid.
pub(super) fn validity(of: &'static str, der: &CertificateDer<'_>) -> Result<Validity, Flaw> {
    let unreadable = |error: String| Flaw::Unreadable(of, error);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
    let at = |time| at(time).map_err(|error| unreadable(error.to_string()));
    Ok(Validity { from: at(parsed.validity().not_before)?, until: at(parsed.validity().not_after)? })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::super::authority::{AUTHORITY_LIFE, Authority, CERTIFICATE_LIFE, KeyAndCertificate};
    use super::*;

    const NAMES: [&str; 2] = ["gitward-guard.gitward-system.svc", "127.0.0.1"];

    fn names() -> Vec<String> {
        NAMES.map(str::to_owned).to_vec()
    }

    fn start() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn made(at: Timestamp) -> (KeyAndCertificate, KeyAndCertificate) {
        let ca = Authority::create(at).unwrap();
        let leaf = Authority::load(&ca).unwrap().issue(&names(), at).unwrap();
        (ca, leaf)
    }

    fn look(leaf: &KeyAndCertificate, bundle: &str, now: Timestamp) -> Result<Validity, Flaw> {
        server(leaf.certificate.as_bytes(), leaf.key.as_bytes(), bundle, &names(), now)
    }

    #[test]
    fn a_certificate_is_good_until_its_end_and_due_at_two_thirds_of_its_life() {
        let (ca, leaf) = made(start());
        let life = look(&leaf, &ca.certificate, start()).unwrap();
        assert_eq!(life.until, start() + CERTIFICATE_LIFE);
        assert!(life.due() > start() + CERTIFICATE_LIFE / 2 && life.due() < start() + CERTIFICATE_LIFE * 2 / 3);
        assert!(look(&leaf, &ca.certificate, start() + CERTIFICATE_LIFE * 3 / 4).is_ok());
        let late = start() + CERTIFICATE_LIFE + SignedDuration::from_secs(1);
        assert_eq!(look(&leaf, &ca.certificate, late), Err(Flaw::Expired(start() + CERTIFICATE_LIFE)));
        assert_eq!(authority(&ca.certificate, &ca.key, start()).unwrap().until, start() + AUTHORITY_LIFE);
    }

    #[test]
    fn what_a_clock_that_was_ahead_has_made_is_told() {
        let ahead = start() + SignedDuration::from_hours(24 * 400);
        let (ca, leaf) = made(ahead);
        assert!(matches!(look(&leaf, &ca.certificate, start()), Err(Flaw::NotYet(_))));
        assert!(matches!(authority(&ca.certificate, &ca.key, start()), Err(Flaw::NotYet(_))));
        // A good leaf under an authority of the future.
        let now = Authority::load(&ca).unwrap().issue(&names(), start()).unwrap();
        assert!(matches!(look(&now, &ca.certificate, start()), Err(Flaw::AuthorityExpired(_))));
    }

    #[test]
    fn an_expired_authority_is_told_though_the_certificate_is_not() {
        let (ca, _) = made(start());
        let late = start() + AUTHORITY_LIFE + SignedDuration::from_secs(1);
        let leaf = Authority::load(&ca).unwrap().issue(&names(), late).unwrap();
        assert_eq!(look(&leaf, &ca.certificate, late), Err(Flaw::AuthorityExpired(start() + AUTHORITY_LIFE)));
        assert_eq!(authority(&ca.certificate, &ca.key, late), Err(Flaw::Expired(start() + AUTHORITY_LIFE)));
        assert!(still_valid(&ca.certificate, late).is_empty());
    }

    #[test]
    fn other_names_other_authorities_and_other_keys_are_told() {
        let ((ca, leaf), (other, other_leaf)) = (made(start()), made(start()));
        assert!(matches!(look(&leaf, &other.certificate, start()), Err(Flaw::Untrusted(_))));
        assert!(look(&leaf, &format!("{}\n{}", other.certificate, ca.certificate), start()).is_ok());
        assert_eq!(look(&leaf, "", start()), Err(Flaw::NoAuthority));
        let swapped = KeyAndCertificate { key: other_leaf.key, ..leaf.clone() };
        assert!(matches!(look(&swapped, &ca.certificate, start()), Err(Flaw::Mismatch(_))));
        assert!(matches!(authority(&ca.certificate, &other.key, start()), Err(Flaw::Mismatch(_))));
        assert!(matches!(authority(&leaf.certificate, &leaf.key, start()), Err(Flaw::Unreadable(..))));
        let one = Authority::load(&ca).unwrap().issue(&names()[..1], start()).unwrap();
        assert_eq!(look(&one, &ca.certificate, start()), Err(Flaw::Name(NAMES[1].to_owned())));
        let spoiled = KeyAndCertificate { certificate: "no certificate".to_owned(), key: leaf.key };
        assert!(matches!(look(&spoiled, &ca.certificate, start()), Err(Flaw::Unreadable("tls.crt", _))));
    }

    #[test]
    fn a_bundle_gives_back_what_is_valid_whatever_else_is_in_it() {
        let (ca, _) = made(start());
        let bundle = format!(
            "# a comment\n{}garbage\n-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            ca.certificate
        );
        assert_eq!(still_valid(&bundle, start()), [ca.certificate.trim()]);
    }
}
