//! Issuing and renewing, in the reconciler: two Secrets are kept as they have to be. What somebody else issues is only
//! looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use thiserror::Error;
use tracing::info;

use super::authority::{Authority, CertificateError, KeyAndCertificate};
use super::inspect::{self, Flaw, Validity};
use super::{BUNDLE, CERTIFICATE, Certificates, PRIVATE_KEY, Source};
use crate::kubernetes::is_status;

/// How many authorities are trusted at a time: the current one, and those whose certificates a guard may still show.
const TRUSTED: usize = 3;
/// How long the API servers must know a bundle before a guard shows a certificate that only this bundle covers. Their
/// watches lag by less than a second; one that broke is made anew within seconds.
const OVERLAP: Duration = Duration::from_secs(20);
/// How soon it is looked at what was just written, where no watch tells of it before.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a write is tried where somebody else writes too.
const TRIES: usize = 5;

/// Why the certificates could not be kept.
#[derive(Debug, Error)]
pub enum RenewalError {
    /// A Secret could not be read or written.
    #[error("Secret {name}: {}", crate::kubernetes::describe(.source))]
    Secret {
        /// Which.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// Somebody writes the Secret all the time.
    #[error("Secret {0}: it was changed {TRIES} times meanwhile")]
    Busy(String),
    /// A certificate could not be made or read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// What somebody else has to put right.
    #[error(
        "Secret {name}: {flaw}. Until this is mended the API server may refuse what people do with what git declares. {advice}"
    )]
    Unusable {
        /// Which.
        name: String,
        /// What is wrong.
        flaw: Flaw,
        /// What to do.
        advice: String,
    },
}

impl RenewalError {
    /// One word for an Event.
    pub fn reason(&self) -> &'static str {
        match self {
            RenewalError::Unusable { flaw, .. } => flaw.reason(),
            _ => "CertificateNotRenewed",
        }
    }
}

/// An authority that can be used, and everything that is to be trusted while it is.
pub struct Trusted {
    authority: KeyAndCertificate,
    /// The certificates that the API server must trust, as PEM, before one of the authority's is shown.
    pub bundle: String,
    /// Of the authority.
    pub validity: Validity,
}

/// How the guard's certificate is.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// From when until when; `None` where it is still to be issued.
    pub validity: Option<Validity>,
    /// After what time something is to be done.
    pub next: Duration,
}

/// Makes the authority where it is missing or spoiled, replaces it where that is due. `live` is what the API server
/// trusts now: guards still show certificates of it, also where our own record of it is lost.
///
/// # Errors
/// Where a Secret cannot be read or written. Nothing is lost: the next call goes on.
pub async fn ensure_authority(
    secrets: &Api<Secret>,
    certificates: &Certificates,
    live: &str,
    now: Timestamp,
) -> Result<Trusted, RenewalError> {
    let name = &certificates.authority_secret;
    for _ in 0..TRIES {
        let stored = get(secrets, name).await?;
        let part = |key| stored.as_ref().and_then(|secret| text(secret, key)).unwrap_or_default();
        let (certificate, key, before) = (part(CERTIFICATE), part(PRIVATE_KEY), part(BUNDLE));
        let why = match inspect::authority(&certificate, &key, now) {
            Ok(validity) if now < validity.due() => {
                let bundle = bundle(&certificate, &before, now);
                return Ok(Trusted { authority: KeyAndCertificate { certificate, key }, bundle, validity });
            }
            Ok(_) => "two thirds of its life are over".to_owned(),
            Err(_) if stored.is_none() => "there is none".to_owned(),
            Err(flaw) => flaw.to_string(),
        };
        let authority = Authority::create(now)?;
        // First the one that has signed what guards show, so that it is not pushed out by later ones.
        let leaf = get(secrets, &certificates.guard_secret).await?;
        let mut before = inspect::still_valid(&format!("{before}\n{live}"), now);
        before.sort_by_key(|pem| look(leaf.as_ref(), pem, &[], now).is_err());
        let bundle = bundle(&authority.certificate, &before.join("\n"), now);
        let data = [(CERTIFICATE, authority.certificate), (PRIVATE_KEY, authority.key), (BUNDLE, bundle)];
        // Ours or that of somebody who was faster: it is read again.
        if put(secrets, name, "Opaque", data, stored).await? {
            info!(secret = name, why, "made a certificate authority");
        }
    }
    Err(RenewalError::Busy(name.clone()))
}

/// The authority first, and behind it the valid ones of those before.
fn bundle(authority: &str, before: &str, now: Timestamp) -> String {
    let mut bundle = vec![authority.trim().to_owned()];
    for pem in inspect::still_valid(before, now) {
        if bundle.len() < TRUSTED && !bundle.contains(&pem) {
            bundle.push(pem);
        }
    }
    bundle.join("\n") + "\n"
}

/// Makes the guard's certificate where it is missing or spoiled, renews it where that is due. The API servers know the bundle
/// of `trusted` since `since`, by their clock; `None` where they do not know it.
///
/// # Errors
/// Where a Secret cannot be read or written. Nothing is lost: the next call goes on.
pub async fn ensure_certificate(
    secrets: &Api<Secret>,
    certificates: &Certificates,
    trusted: &Trusted,
    since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Kept, RenewalError> {
    let name = &certificates.guard_secret;
    let stored = get(secrets, name).await?;
    let look = |bundle: &str| look(stored.as_ref(), bundle, &certificates.names, now);
    let looked = look(&trusted.bundle);
    let stands = Stands {
        is_of_current: look(&trusted.authority.certificate).is_ok(),
        has_predecessor: trusted.bundle.trim() != trusted.authority.certificate.trim(),
        known_for: since.map(|since| inspect::until(now, since)),
    };
    match step(&looked, stands, now) {
        Step::Keep(validity) => Ok(Kept { validity: Some(validity), next: inspect::until(validity.due(), now) }),
        Step::Wait(next) => Ok(Kept { validity: looked.ok(), next }),
        Step::Issue(why) => {
            let leaf = Authority::load(&trusted.authority)?.issue(&certificates.names, now)?;
            let data = [(CERTIFICATE, leaf.certificate), (PRIVATE_KEY, leaf.key)];
            if put(secrets, name, "kubernetes.io/tls", data, stored).await? {
                info!(secret = name, why, "issued the guard's certificate");
            }
            // It is looked at again, ours or that of somebody who was faster.
            Ok(Kept { validity: looked.ok(), next: AGAIN })
        }
    }
}

/// What is known of the certificate's surroundings.
#[derive(Clone, Copy)]
struct Stands {
    /// The authority that signs now has signed it.
    is_of_current: bool,
    /// Guards may show a certificate of an authority before.
    has_predecessor: bool,
    /// How long the API servers have known the bundle.
    known_for: Option<Duration>,
}

/// What is to be done about the guard's certificate.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep(Validity),
    Wait(Duration),
    Issue(String),
}

/// A new one is issued at once where guards have none that the API server takes; else when the API servers have known its
/// authority for long enough.
fn step(looked: &Result<Validity, Flaw>, stands: Stands, now: Timestamp) -> Step {
    let why = match looked {
        Ok(validity) if stands.is_of_current && now < validity.due() => return Step::Keep(*validity),
        Ok(_) if stands.is_of_current => "two thirds of its life are over".to_owned(),
        Ok(_) => "there is a new authority".to_owned(),
        Err(flaw) if flaw.is_of_storage() && stands.has_predecessor => flaw.to_string(),
        Err(flaw) => return Step::Issue(flaw.to_string()),
    };
    match OVERLAP.checked_sub(stands.known_for.unwrap_or_default()) {
        Some(rest) if !rest.is_zero() => Step::Wait(rest),
        _ => Step::Issue(why),
    }
}

/// Looks at a certificate that somebody else keeps: the administrator, or cert-manager.
///
/// # Errors
/// What is wrong with it, and what to do.
pub async fn check(
    secrets: &Api<Secret>,
    certificates: &Certificates,
    bundle: &str,
    now: Timestamp,
) -> Result<Kept, RenewalError> {
    let name = &certificates.guard_secret;
    let stored = get(secrets, name).await?;
    match look(stored.as_ref(), bundle, &certificates.names, now) {
        Ok(validity) => Ok(Kept { validity: Some(validity), next: inspect::until(validity.until, now) }),
        Err(flaw) => {
            let names = certificates.names.join(", ");
            let advice = match certificates.source {
                Source::CertManager => format!(
                    "cert-manager keeps it: see `kubectl describe certificate` in this namespace, and certs/cert-manager. It has to be valid for {names}."
                ),
                _ => format!(
                    "Put a certificate for {names} and its key into it (tls.crt, tls.key), and set `certificates.provided.caBundle` to the authority that has signed it. Guards take it up without a restart."
                ),
            };
            Err(RenewalError::Unusable { name: name.clone(), flaw, advice })
        }
    }
}

/// What a Secret holds under `ca.crt`.
///
/// # Errors
/// Where it cannot be read.
pub async fn bundle_of(secrets: &Api<Secret>, name: &str) -> Result<Option<String>, RenewalError> {
    Ok(get(secrets, name).await?.and_then(|secret| text(&secret, BUNDLE)))
}

fn look(stored: Option<&Secret>, bundle: &str, names: &[String], now: Timestamp) -> Result<Validity, Flaw> {
    let secret = stored.ok_or(Flaw::Missing("Secret"))?;
    let part = |key| secret.data.as_ref().and_then(|data| data.get(key)).ok_or(Flaw::Missing(key));
    inspect::server(&part(CERTIFICATE)?.0, &part(PRIVATE_KEY)?.0, bundle, names, now)
}

async fn get(secrets: &Api<Secret>, name: &str) -> Result<Option<Secret>, RenewalError> {
    secrets.get_opt(name).await.map_err(|error| failed(name, error))
}

fn failed(name: &str, source: kube::Error) -> RenewalError {
    RenewalError::Secret { name: name.to_owned(), source: Box::new(source) }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    String::from_utf8(secret.data.as_ref()?.get(key)?.0.clone()).ok()
}

/// Writes a Secret over what was read; false where somebody else was faster.
async fn put<const N: usize>(
    secrets: &Api<Secret>,
    name: &str,
    kind: &str,
    data: [(&str, String); N],
    stored: Option<Secret>,
) -> Result<bool, RenewalError> {
    let data: BTreeMap<_, _> = data.into_iter().map(|(k, v)| (k.to_owned(), ByteString(v.into_bytes()))).collect();
    let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
    let result = match stored {
        None => {
            let secret = Secret { metadata, data: Some(data), type_: Some(kind.to_owned()), ..Secret::default() };
            secrets.create(&PostParams::default(), &secret).await
        }
        Some(stored) => {
            let secret = Secret { data: Some(data), ..stored };
            secrets.replace(name, &PostParams::default(), &secret).await
        }
    };
    match result {
        Ok(_) => Ok(true),
        // It was written, or deleted, meanwhile.
        Err(error) if is_status(&error, 409) || is_status(&error, 404) => Ok(false),
        Err(error) => Err(failed(name, error)),
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const LIFE: i64 = 900;

    fn good() -> Result<Validity, Flaw> {
        Ok(Validity { from: at(0), until: at(LIFE) })
    }

    fn stands(is_of_current: bool, has_predecessor: bool, known_for: Option<u64>) -> Stands {
        Stands { is_of_current, has_predecessor, known_for: known_for.map(Duration::from_secs) }
    }

    #[test]
    fn a_new_authority_signs_only_when_it_has_been_trusted_for_a_while() {
        let waits = |stands| matches!(step(&good(), stands, at(10)), Step::Wait(_));
        assert!(waits(stands(false, true, None)));
        assert!(waits(stands(false, true, Some(5))));
        assert_eq!(
            step(&good(), stands(false, true, Some(20)), at(10)),
            Step::Issue("there is a new authority".to_owned())
        );
        assert_eq!(step(&good(), stands(true, true, Some(0)), at(10)), Step::Keep(good().unwrap()));
    }

    #[test]
    fn it_is_renewed_at_two_thirds_of_its_life() {
        assert_eq!(step(&good(), stands(true, false, Some(60)), at(599)), Step::Keep(good().unwrap()));
        assert!(matches!(step(&good(), stands(true, false, Some(60)), at(600)), Step::Issue(_)));
    }

    #[test]
    fn what_the_api_server_would_not_take_is_replaced_at_once_and_a_lost_secret_when_guards_can_be_followed() {
        for flaw in
            [Flaw::Expired(at(1)), Flaw::NotYet(at(9)), Flaw::Untrusted(String::new()), Flaw::Name(String::new())]
        {
            assert!(matches!(step(&Err(flaw), stands(false, true, None), at(10)), Step::Issue(_)));
        }
        let lost = Err(Flaw::Missing("Secret"));
        assert!(
            matches!(step(&lost, stands(false, false, None), at(10)), Step::Issue(_)),
            "a first installation waits for nothing"
        );
        assert!(
            matches!(step(&lost, stands(false, true, Some(3)), at(10)), Step::Wait(_)),
            "guards show what they loaded"
        );
        assert!(matches!(step(&lost, stands(false, true, Some(20)), at(10)), Step::Issue(_)));
    }

    #[test]
    fn a_bundle_keeps_the_authorities_before_and_each_once() {
        let now = at(1_800_000_000);
        let made: Vec<String> = (0..4)
            .map(|n| Authority::create(now - SignedDuration::from_hours(n)).unwrap().certificate.trim().to_owned())
            .collect();
        let before = format!("{}\n{}\n{}\n{}", made[0], made[1], made[2], made[3]);
        assert_eq!(bundle(&made[0], &before, now), format!("{}\n{}\n{}\n", made[0], made[1], made[2]));
        assert_eq!(bundle(&made[0], "garbage", now), format!("{}\n", made[0]));
    }
}
