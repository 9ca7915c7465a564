//! Keeps what the guard stands on: its certificates, the webhook configuration by which the API server calls it, and the
//! admission policies that protect gitward itself.
//!
//! All but the certificates is Helm's. It is put back from the copies that the chart keeps beside it, as manager `helm`,
//! so that the next `helm upgrade` finds its own fields; `caBundle` is written here, where cert-manager does not, and owned by nobody.
//! Imports [`crate::certs`].

mod certificates;
mod disabled;
mod policies;
mod webhook;

use std::time::Duration;

use futures::{Stream, StreamExt};
use gitward_core::plan::ObjectKey;
use gitward_core::surroundings::Named;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Client;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use thiserror::Error;
use tracing::warn;

pub use disabled::{Disabled, DisabledError, disable, enable};

use certificates::{Keeper, Trust};

use crate::certs::{Certificates, Expiry, RenewalError};
use crate::kubernetes::{MANAGER, describe};

/// The field manager under which Helm applies.
const HELM: &str = "helm";
/// The ClusterRole of the chart that owns what is put back. `helm uninstall` deletes the configuration first, and the
/// reconciler puts it back: it goes for good with this role, by the garbage collector, and nobody is locked out.
const OWNER: &str = "gitward-guard";
/// The keys of the copies in their ConfigMap.
const WEBHOOK: &str = "webhook.yaml";
const PROTECTION: &str = "protection.yaml";
/// The key of the authorities that the administrator gave.
const AUTHORITIES: &str = "ca.crt";
/// What the chart's objects have in common.
const PART_OF: &str = "app.kubernetes.io/part-of=gitward";
/// Everything is looked at this often, whether or not anything happens, and certificates when their time has come.
const LOOK: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(2);

/// What to keep.
#[derive(Clone, Debug)]
pub struct Protect {
    /// gitward's own namespace.
    pub namespace: String,
    /// The ConfigMap with the copies.
    pub copy: String,
    /// The certificates.
    pub certificates: Certificates,
    /// Tells until when they are valid.
    pub expiry: Expiry,
}

/// Why something is not as it has to be.
#[derive(Debug, Error)]
pub(crate) enum ProtectError {
    #[error("ConfigMap {0} has no {1}: `helm upgrade` makes it again")]
    NoCopy(String, &'static str),
    #[error("the ClusterRole {OWNER} is missing: gitward is being uninstalled, or `helm upgrade` makes it again")]
    NoOwner,
    #[error("{1} of ConfigMap {0} cannot be used: {2}")]
    BadCopy(String, &'static str, String),
    #[error("what protects the cluster: {}", describe(.0))]
    Api(#[from] Box<kube::Error>),
    #[error(transparent)]
    Renewal(#[from] RenewalError),
}

impl From<kube::Error> for ProtectError {
    fn from(error: kube::Error) -> ProtectError {
        ProtectError::Api(Box::new(error))
    }
}

/// Whether an object is one that is kept from the chart's copies. A GitSync that declares the chart declares the copies, and
/// leaves these to them: two owners would put them back against each other. The chart's bear its label.
pub fn keeps(key: &ObjectKey, object: &Value) -> bool {
    let (kind, name) = (key.kind.as_str(), key.name.as_str());
    key.group == "admissionregistration.k8s.io"
        && object["metadata"]["labels"]["app.kubernetes.io/part-of"] == MANAGER
        && match kind {
            "ValidatingWebhookConfiguration" => name == MANAGER,
            "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding" => name.starts_with("gitward-"),
            _ => false,
        }
}

/// The objects that are put back, as kind and name.
pub(crate) async fn own(client: &Client, namespace: &str, copy: &str) -> Result<Named, ProtectError> {
    let copies = Copies::read(client, namespace, copy).await?;
    let text = |object: &Value, pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let objects = std::iter::once(copies.webhook()?).chain(copies.protection()?);
    Ok(objects.map(|object| (text(&object, "/kind"), text(&object, "/metadata/name"))).collect())
}

/// Keeps everything for as long as it is polled: at the start, whenever one of the objects changes, when a certificate is
/// due, and every hour.
pub async fn keep(client: Client, protect: Protect) {
    let mut changes = changes(&client, &protect).boxed();
    let mut certificates = Keeper::new(&client, &protect);
    loop {
        let wait = match ensure(&client, &protect, &mut certificates).await {
            Ok(next) => next.min(LOOK),
            Err(error) => {
                warn!(%error, "the guard's webhook or certificates are not as they should be; trying again");
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = changes.next() => {}
        }
    }
}

/// A tick for every change of one of the objects.
fn changes(client: &Client, protect: &Protect) -> impl Stream<Item = ()> + use<> {
    let named = |name: &str| watcher::Config::default().fields(&format!("metadata.name={name}"));
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &protect.namespace);
    let copies: Api<ConfigMap> = Api::namespaced(client.clone(), &protect.namespace);
    let webhooks: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let policies: Api<PartialObjectMeta<ValidatingAdmissionPolicy>> = Api::all(client.clone());
    let bindings: Api<PartialObjectMeta<ValidatingAdmissionPolicyBinding>> = Api::all(client.clone());
    let ours = watcher::Config::default().labels(PART_OF);
    let authority = watcher(secrets.clone(), named(&protect.certificates.authority_secret)).default_backoff();
    let guard = watcher(secrets, named(&protect.certificates.guard_secret)).default_backoff();
    let copy = watcher(copies, named(&protect.copy)).default_backoff();
    let webhook = watcher(webhooks, named(MANAGER)).default_backoff();
    futures::stream::select_all([
        authority.filter_map(changed).boxed(),
        guard.filter_map(changed).boxed(),
        copy.filter_map(changed).boxed(),
        webhook.filter_map(changed).boxed(),
        watcher(policies, ours.clone()).default_backoff().filter_map(changed).boxed(),
        watcher(bindings, ours).default_backoff().filter_map(changed).boxed(),
    ])
}

async fn changed<K>(event: Result<watcher::Event<K>, watcher::Error>) -> Option<()> {
    // After a gap nobody tells what is gone.
    matches!(event, Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_) | watcher::Event::InitDone)).then_some(())
}

async fn ensure(client: &Client, protect: &Protect, certificates: &mut Keeper) -> Result<Duration, ProtectError> {
    let copies = Copies::read(client, &protect.namespace, &protect.copy).await;
    let given = copies.as_ref().ok().and_then(|copies| copies.data.get(AUTHORITIES)).map(String::as_str);
    // What fails keeps nothing else from being put back.
    let trust = certificates.trust(given, &webhook::live_bundle(client).await?).await;
    let bundle = trust.as_ref().ok().and_then(Trust::bundle);
    let (webhook, policies) = match &copies {
        Ok(copies) => (keep_webhook(client, copies, bundle).await, keep_policies(client, copies).await),
        Err(_) => (Ok(None), Ok(())),
    };
    let since = webhook.as_ref().ok().copied().flatten();
    let next = certificates.keep(&trust?, since).await;
    copies?;
    webhook?;
    policies?;
    next
}

async fn keep_webhook(
    client: &Client,
    copies: &Copies,
    bundle: Option<&str>,
) -> Result<Option<Timestamp>, ProtectError> {
    webhook::keep(client, &copies.webhook()?, &copies.owners, bundle).await
}

async fn keep_policies(client: &Client, copies: &Copies) -> Result<(), ProtectError> {
    policies::keep(client, copies.protection()?, &copies.owners).await
}

/// What the chart made, as it keeps it for being put back.
struct Copies {
    name: String,
    data: std::collections::BTreeMap<String, String>,
    /// The `ownerReferences` of everything that is put back.
    owners: Value,
}

impl Copies {
    async fn read(client: &Client, namespace: &str, name: &str) -> Result<Copies, ProtectError> {
        let copies: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let data = copies.get_opt(name).await?.and_then(|copy| copy.data).unwrap_or_default();
        // With the first write: between two of them Helm may take our rights away, and nobody would ever remove it.
        let roles: Api<ClusterRole> = Api::all(client.clone());
        let uid = roles.get_metadata_opt(OWNER).await?.and_then(|role| role.metadata.uid);
        let uid = uid.ok_or(ProtectError::NoOwner)?;
        let owners =
            json!([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": OWNER, "uid": uid}]);
        Ok(Copies { name: name.to_owned(), data, owners })
    }

    fn text(&self, key: &'static str) -> Result<&str, ProtectError> {
        let text = self.data.get(key).map(String::as_str);
        text.ok_or_else(|| ProtectError::NoCopy(self.name.clone(), key))
    }

    fn webhook(&self) -> Result<Value, ProtectError> {
        let bad = |error: String| ProtectError::BadCopy(self.name.clone(), WEBHOOK, error);
        let copy: Value = serde_saphyr::from_str(self.text(WEBHOOK)?).map_err(|error| bad(error.to_string()))?;
        if copy.pointer("/metadata/name").is_none_or(|name| !name.is_string()) {
            return Err(bad("it has no name".to_owned()));
        }
        Ok(copy)
    }

    fn protection(&self) -> Result<Vec<Value>, ProtectError> {
        let bad = |error: String| ProtectError::BadCopy(self.name.clone(), PROTECTION, error);
        serde_saphyr::from_multiple(self.text(PROTECTION)?).map_err(|error| bad(error.to_string()))
    }
}
