//! Keeps what the guard stands on: its certificates, and the webhook configuration that the API server calls it by.
//!
//! The configuration is Helm's. It is put back from the copy that the chart keeps beside it, as manager `helm`, so
//! that the next `helm upgrade` finds its own fields; only `caBundle` is gitward's.
//! Imports [`crate::certs`].

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use thiserror::Error;
use tracing::{info, warn};

use crate::certs::{self, Renewal, RenewalError};
use crate::kubernetes::{MANAGER, describe};

/// The field manager under which Helm applies.
const HELM: &str = "helm";
/// The ClusterRole of the chart that owns the webhook configuration. `helm uninstall` deletes the configuration first,
/// and the reconciler puts it back: it goes for good with this role, by the garbage collector, and nobody is locked out.
const OWNER: &str = "gitward-guard";
/// The key of the copy's ConfigMap.
const COPY: &str = "webhook.yaml";
/// Certificates are looked at this often, whether or not anything happens.
const LOOK: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(2);

/// What to keep.
#[derive(Clone, Debug)]
pub struct Protect {
    /// gitward's own namespace.
    pub namespace: String,
    /// The ConfigMap with the copy of the webhook configuration.
    pub copy: String,
    /// The certificates.
    pub renewal: Renewal,
}

#[derive(Debug, Error)]
enum ProtectError {
    #[error("ConfigMap {0} has no {COPY}: `helm upgrade` makes it again")]
    NoCopy(String),
    #[error("the ClusterRole {OWNER} is missing: gitward is being uninstalled, or `helm upgrade` makes it again")]
    NoOwner,
    #[error("{COPY} of ConfigMap {0} is no webhook configuration: {1}")]
    BadCopy(String, String),
    #[error("the webhook configuration: {}", describe(.0))]
    Api(#[from] Box<kube::Error>),
    #[error(transparent)]
    Renewal(#[from] RenewalError),
}

impl From<kube::Error> for ProtectError {
    fn from(error: kube::Error) -> ProtectError {
        ProtectError::Api(Box::new(error))
    }
}

/// Keeps everything for as long as it is polled: at the start, whenever one of the objects changes, and every hour.
pub async fn keep(client: Client, protect: Protect) {
    let mut changes = changes(&client, &protect).boxed();
    loop {
        let wait = match ensure(&client, &protect).await {
            Ok(()) => LOOK,
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
    let authority = watcher(secrets.clone(), named(&protect.renewal.authority_secret)).default_backoff();
    let guard = watcher(secrets, named(&protect.renewal.guard_secret)).default_backoff();
    let copy = watcher(copies, named(&protect.copy)).default_backoff();
    let webhook = watcher(webhooks, named(MANAGER)).default_backoff();
    futures::stream::select_all([
        authority.filter_map(changed).boxed(),
        guard.filter_map(changed).boxed(),
        copy.filter_map(changed).boxed(),
        webhook.filter_map(changed).boxed(),
    ])
}

async fn changed<K>(event: Result<watcher::Event<K>, watcher::Error>) -> Option<()> {
    matches!(event, Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_))).then_some(())
}

async fn ensure(client: &Client, protect: &Protect) -> Result<(), ProtectError> {
    let secrets = Api::namespaced(client.clone(), &protect.namespace);
    let trusted = certs::ensure_authority(&secrets, &protect.renewal, Timestamp::now()).await?;
    keep_webhook(client, protect, &trusted.bundle).await?;
    Ok(certs::ensure_certificate(&secrets, &protect.renewal, &trusted, Timestamp::now()).await?)
}

async fn keep_webhook(client: &Client, protect: &Protect, bundle: &str) -> Result<(), ProtectError> {
    let copies: Api<ConfigMap> = Api::namespaced(client.clone(), &protect.namespace);
    let copy = copies.get_opt(&protect.copy).await?.and_then(|copy| copy.data?.remove(COPY));
    let text = copy.ok_or_else(|| ProtectError::NoCopy(protect.copy.clone()))?;
    let bad = |error: String| ProtectError::BadCopy(protect.copy.clone(), error);
    let mut copy: Value = serde_saphyr::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let name = copy.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
    let name = name.ok_or_else(|| bad("it has no name".to_owned()))?;
    let name = name.as_str();
    // With the first write: between two of them Helm may take our rights away, and nobody would ever remove it.
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let owner = roles.get_metadata_opt(OWNER).await?.and_then(|role| role.metadata.uid);
    let owner = owner.ok_or(ProtectError::NoOwner)?;
    let owners =
        json!([{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": OWNER, "uid": owner}]);
    copy["metadata"]["ownerReferences"] = owners.clone();

    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let before = api.get_opt(name).await?;
    let put_back = api.patch(name, &PatchParams::apply(HELM).force(), &Patch::Apply(&copy)).await?;
    if before.is_none() || before.as_ref().and_then(|b| b.metadata.generation) != put_back.metadata.generation {
        info!(webhook = name, was_missing = before.is_none(), "put the webhook configuration back");
    }
    remove_additions(&api, name, &copy, put_back).await?;
    let patch = own_patch(&copy, name, bundle, &owners);
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await?;
    Ok(())
}

/// What others added: a webhook, or a match condition by which the guard would not be called any more. An apply
/// leaves those, since no declared field is touched.
async fn remove_additions(
    api: &Api<ValidatingWebhookConfiguration>,
    name: &str,
    copy: &Value,
    live: ValidatingWebhookConfiguration,
) -> Result<(), ProtectError> {
    let mut cleaned = live.clone();
    let webhooks = cleaned.webhooks.get_or_insert_default();
    webhooks.retain_mut(|webhook| {
        let Some(declared) = webhooks_of(copy).find(|declared| declared["name"] == webhook.name.as_str()) else {
            return false;
        };
        let named: BTreeSet<&str> =
            declared["matchConditions"].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
        if let Some(conditions) = &mut webhook.match_conditions {
            conditions.retain(|condition| named.contains(condition.name.as_str()));
        }
        true
    });
    if cleaned != live {
        warn!(webhook = name, "took additions out of the webhook configuration");
        let params = PostParams { field_manager: Some(HELM.to_owned()), ..PostParams::default() };
        api.replace(name, &params, &cleaned).await?;
    }
    Ok(())
}

fn webhooks_of(copy: &Value) -> impl Iterator<Item = &Value> {
    copy.get("webhooks").and_then(Value::as_array).into_iter().flatten()
}

/// The fields that are gitward's: `caBundle` of every webhook of the copy, and the owner.
fn own_patch(copy: &Value, name: &str, bundle: &str, owners: &Value) -> Value {
    let bundle = k8s_openapi::ByteString(bundle.as_bytes().to_vec());
    let webhooks: Vec<Value> =
        webhooks_of(copy).map(|w| json!({"name": w["name"], "clientConfig": {"caBundle": bundle}})).collect();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name, "ownerReferences": owners},
        "webhooks": webhooks,
    })
}
