//! The webhook configuration: put back as the chart made it, with the authorities of the guard's certificate, where those
//! are ours to tell. While an installer has disabled the guard, it has no webhooks.

use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::disabled::{Disabled, empty};
use super::{HELM, ProtectError};
use crate::kubernetes::{MANAGER, has_all};

/// Puts the configuration back, or keeps it empty where the guard is disabled. Without a `bundle`, `caBundle` is somebody
/// else's and stays as it is. Returns since when the API servers know the bundle.
pub(super) async fn keep(
    client: &Client,
    copy: &Value,
    owners: &Value,
    bundle: Option<&str>,
) -> Result<Option<Timestamp>, ProtectError> {
    let name = copy.pointer("/metadata/name").and_then(Value::as_str).unwrap_or(MANAGER);
    let mut copy = copy.clone();
    copy["metadata"]["ownerReferences"] = owners.clone();
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let before = api.get_opt(name).await?;
    if let Some((live, disabled)) = before.as_ref().and_then(|live| Some((live, Disabled::of(live)?))) {
        warn!(reason = disabled.reason, by = disabled.by, "the guard is disabled: nothing is refused");
        empty(&api, live).await?;
        // Nobody is called.
        return Ok(Some(Timestamp::UNIX_EPOCH));
    }
    let patch = bundle.map(|bundle| own_patch(&copy, name, bundle, owners));
    let is_whole = |live: &ValidatingWebhookConfiguration| {
        has_all(live, HELM, &copy)
            && patch.as_ref().is_none_or(|patch| has_all(live, MANAGER, patch))
            && without_additions(&copy, live) == *live
    };
    if let Some(live) = before.as_ref().filter(|live| is_whole(live)) {
        return Ok(applied_at(live));
    }
    let put_back = api.patch(name, &PatchParams::apply(HELM).force(), &Patch::Apply(&copy)).await?;
    if before.is_none() || before.as_ref().and_then(|b| b.metadata.generation) != put_back.metadata.generation {
        info!(webhook = name, was_missing = before.is_none(), "put the webhook configuration back");
    }
    remove_additions(&api, name, &copy, put_back).await?;
    let Some(patch) = patch else { return Ok(None) };
    Ok(applied_at(&api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await?))
}

/// When our part of the configuration last changed, by the API server's clock.
fn applied_at(live: &ValidatingWebhookConfiguration) -> Option<Timestamp> {
    let entries = live.metadata.managed_fields.iter().flatten();
    let mut ours = entries.filter(|e| e.manager.as_deref() == Some(MANAGER) && e.operation.as_deref() == Some("Apply"));
    ours.find_map(|entry| entry.time.as_ref().map(|time| time.0))
}

/// What the API server trusts now, as PEM.
pub(super) async fn live_bundle(client: &Client) -> Result<String, ProtectError> {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    let live = api.get_opt(MANAGER).await?;
    let first = live.and_then(|live| live.webhooks?.into_iter().next()?.client_config.ca_bundle);
    Ok(first.and_then(|bundle| String::from_utf8(bundle.0).ok()).unwrap_or_default())
}

/// Takes out what others added.
async fn remove_additions(
    api: &Api<ValidatingWebhookConfiguration>,
    name: &str,
    copy: &Value,
    live: ValidatingWebhookConfiguration,
) -> Result<(), ProtectError> {
    let cleaned = without_additions(copy, &live);
    if cleaned != live {
        warn!(webhook = name, "took additions out of the webhook configuration");
        let params = PostParams { field_manager: Some(HELM.to_owned()), ..PostParams::default() };
        api.replace(name, &params, &cleaned).await?;
    }
    Ok(())
}

/// A configuration without what others added: a webhook, a match condition, or a label of a selector by which the guard would not be
/// called any more. An apply leaves those, since no declared field is touched.
fn without_additions(copy: &Value, live: &ValidatingWebhookConfiguration) -> ValidatingWebhookConfiguration {
    let mut cleaned = live.clone();
    if let Some(webhooks) = &mut cleaned.webhooks {
        webhooks.retain_mut(|webhook| {
            let Some(declared) = webhooks_of(copy).find(|declared| declared["name"] == webhook.name.as_str()) else {
                return false;
            };
            if let Ok(declared) = serde_json::from_value::<ValidatingWebhook>(declared.clone()) {
                let bundle = webhook.client_config.ca_bundle.take();
                *webhook = declared;
                webhook.client_config.ca_bundle = bundle;
            }
            true
        });
    }
    cleaned
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
