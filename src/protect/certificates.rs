//! Whose certificate the guard shows, what the API server is told to trust, and what becomes of a failure: a log line, and
//! an Event at the Secret.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::Client;
use kube::api::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tracing::warn;

use super::{Protect, ProtectError};
use crate::certs::{self, Certificates, Expiry, Flaw, Kept, RenewalError, Source, Trusted};
use crate::kubernetes::MANAGER;

/// How soon a certificate is looked at again that somebody else has to put right, where no event tells of it before.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// How often the same failure is told.
const TELL_AGAIN: Duration = Duration::from_secs(600);

/// Keeps the certificates of one source, or looks after them.
pub(super) struct Keeper {
    client: Client,
    secrets: Api<Secret>,
    certificates: Certificates,
    expiry: Expiry,
    recorder: Recorder,
    secret: ObjectReference,
    told: Option<(String, Instant)>,
}

/// What the API server is to trust.
pub(super) struct Trust {
    /// Our authority, where we issue.
    own: Option<Trusted>,
    /// Of somebody else.
    others: String,
    /// Whether we tell the API server.
    is_ours_to_tell: bool,
    /// At which time.
    now: Timestamp,
}

impl Trust {
    /// What the webhook configuration is to hold as `caBundle`; `None` where that is left alone.
    pub(super) fn bundle(&self) -> Option<&str> {
        let bundle = self.own.as_ref().map_or(self.others.as_str(), |own| own.bundle.as_str());
        self.is_ours_to_tell.then_some(bundle)
    }
}

impl Keeper {
    pub(super) fn new(client: &Client, protect: &Protect) -> Keeper {
        let secret = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(protect.certificates.guard_secret.clone()),
            namespace: Some(protect.namespace.clone()),
            ..ObjectReference::default()
        };
        Keeper {
            secrets: Api::namespaced(client.clone(), &protect.namespace),
            certificates: protect.certificates.clone(),
            expiry: protect.expiry.clone(),
            recorder: Recorder::new(client.clone(), Reporter { controller: MANAGER.into(), instance: None }),
            client: client.clone(),
            secret,
            told: None,
        }
    }

    /// What is to be trusted: `given` by the administrator, or what is in the Secret; `live` is what is trusted now.
    pub(super) async fn trust(&mut self, given: Option<&str>, live: &str) -> Result<Trust, ProtectError> {
        let now = certs::now(&self.client).await?;
        let trust = |own, others: String, is_ours_to_tell| Trust { own, others, is_ours_to_tell, now };
        match self.certificates.source {
            Source::SelfManaged => {
                let made = certs::ensure_authority(&self.secrets, &self.certificates, live, now).await;
                let own = self.tell_failure(made).await?;
                self.expiry.authority(Some(own.validity.until));
                Ok(trust(Some(own), String::new(), true))
            }
            Source::CertManager => {
                self.expiry.authority(certs::bundle_until(live));
                Ok(trust(None, live.to_owned(), false))
            }
            Source::Provided => {
                let bundle = match given {
                    Some(given) => Some(given.to_owned()),
                    None => certs::bundle_of(&self.secrets, &self.certificates.guard_secret).await?,
                };
                let is_known = bundle.is_some();
                let bundle = bundle.unwrap_or_default();
                self.expiry.authority(certs::bundle_until(&bundle));
                Ok(trust(None, bundle, is_known))
            }
        }
    }

    /// Issues where that is due, or looks at what somebody else keeps. Returns after what time something is to be done.
    pub(super) async fn keep(&mut self, trust: &Trust, since: Option<Timestamp>) -> Result<Duration, ProtectError> {
        let (secrets, certificates, now) = (&self.secrets, &self.certificates, trust.now);
        let kept = match &trust.own {
            Some(own) => certs::ensure_certificate(secrets, certificates, own, since, now).await,
            None => certs::check(secrets, certificates, &trust.others, now).await,
        };
        self.expiry.guard(match &kept {
            Ok(kept) => kept.validity.map(|validity| validity.until),
            Err(RenewalError::Unusable { flaw: Flaw::Expired(at), .. }) => Some(*at),
            Err(_) => None,
        });
        match self.tell_failure(kept).await {
            Ok(kept) => {
                self.told = None;
                Ok(self.next(&kept, trust))
            }
            // It was told, and asking more often mends nothing.
            Err(RenewalError::Unusable { .. }) => Ok(LOOK_AGAIN),
            Err(error) => Err(error.into()),
        }
    }

    fn next(&self, kept: &Kept, trust: &Trust) -> Duration {
        let authority = trust.own.as_ref().map(|own| certs::until(own.validity.due(), trust.now));
        authority.map_or(kept.next, |authority| authority.min(kept.next))
    }

    async fn tell_failure<T>(&mut self, result: Result<T, RenewalError>) -> Result<T, RenewalError> {
        let Err(error) = &result else { return result };
        let text = error.to_string();
        if self.told.as_ref().is_some_and(|(told, at)| *told == text && at.elapsed() < TELL_AGAIN) {
            return result;
        }
        warn!(secret = self.certificates.guard_secret, error = text, "the guard's certificate is not as it should be");
        let event = Event {
            type_: EventType::Warning,
            // Events of one reason are counted together, under the text of the first.
            reason: error.reason().to_owned(),
            note: Some(text.clone()),
            action: "Check".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &self.secret).await {
            warn!(%error, "an Event cannot be written");
        }
        self.told = Some((text, Instant::now()));
        result
    }
}
