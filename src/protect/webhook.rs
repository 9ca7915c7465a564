//! The webhook configuration: put back as the chart made it, with the authorities of the guard's certificate, where those
//! are ours to tell. While an installer has disabled the guard, it has no webhooks.

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::disabled::{Disabled, empty};
use super::{HELM, ProtectError};
use crate::kubernetes::{MANAGER, has_all};

/// The generation of the configuration that was seen to be as it has to be. By `managedFields` it also says when.
const OBSERVED: &str = "gitward.dev/observed-generation";

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
    let is_whole = |live: &ValidatingWebhookConfiguration| {
        has_all(live, HELM, &copy)
            && bundle.is_none_or(|_| has_all(live, MANAGER, &observed(live, owners)) && applied_at(live).is_some())
            && mended(&copy, bundle, live) == *live
            && freed(live, bundle.is_some()).is_none()
    };
    if let Some(live) = before.as_ref().filter(|live| is_whole(live)) {
        return Ok(applied_at(live));
    }
    if let Some(live) = &before {
        drop_undeclared(&api, &copy, live).await?;
    }
    let put_back = api.patch(name, &PatchParams::apply(HELM).force(), &Patch::Apply(&copy)).await?;
    if before.is_none() || before.as_ref().and_then(|b| b.metadata.generation) != put_back.metadata.generation {
        info!(webhook = name, was_missing = before.is_none(), "put the webhook configuration back");
    }
    let live = mend(&api, &copy, bundle, put_back).await?;
    let version = free(&api, &live, bundle.is_some()).await?;
    if bundle.is_none() {
        return Ok(None);
    }
    observe(&api, &observed(&live, owners), version).await
}

/// Says that the webhooks are as they have to be. Returns when that was, by the API server's clock.
async fn observe(
    api: &Api<ValidatingWebhookConfiguration>,
    observed: &Value,
    version: Option<String>,
) -> Result<Option<Timestamp>, ProtectError> {
    let apply = async |observed: &Value| {
        let name = observed["metadata"]["name"].as_str().unwrap_or(MANAGER);
        api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(observed)).await
    };
    let mut exact = observed.clone();
    // Whoever took the webhooks as this manager meanwhile, as an older reconciler does, would lose them by this.
    exact["metadata"]["resourceVersion"] = json!(version);
    if let Some(at) = applied_at(&apply(&exact).await?) {
        return Ok(Some(at));
    }
    // An apply that changes nothing sets no time, where somebody has emptied managedFields.
    let mut other = observed.clone();
    other["metadata"]["annotations"][OBSERVED] = json!("");
    apply(&other).await?;
    Ok(applied_at(&apply(observed).await?))
}

/// When we last said that the configuration is as it has to be, by the API server's clock.
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

/// Takes out the webhooks that are not declared any more, before Helm's apply would: it leaves of them what others own.
async fn drop_undeclared(
    api: &Api<ValidatingWebhookConfiguration>,
    copy: &Value,
    live: &ValidatingWebhookConfiguration,
) -> Result<(), ProtectError> {
    let mut kept = live.clone();
    let is_declared = |name: &str| webhooks_of(copy).any(|declared| declared["name"] == name);
    kept.webhooks.iter_mut().for_each(|webhooks| webhooks.retain(|webhook| is_declared(&webhook.name)));
    if kept != *live {
        api.replace(&live.name_any(), &as_manager(), &kept).await?;
    }
    Ok(())
}

/// Takes out what others added, and writes the bundle.
async fn mend(
    api: &Api<ValidatingWebhookConfiguration>,
    copy: &Value,
    bundle: Option<&str>,
    live: ValidatingWebhookConfiguration,
) -> Result<ValidatingWebhookConfiguration, ProtectError> {
    let mended = mended(copy, bundle, &live);
    if mended == live {
        return Ok(live);
    }
    if mended.webhooks != with_bundle(&live, bundle).webhooks {
        warn!(webhook = live.name_any(), "took additions out of the webhook configuration");
    }
    Ok(api.replace(&live.name_any(), &as_manager(), &mended).await?)
}

fn as_manager() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// Leaves the webhooks to Helm alone. Of a webhook that Helm takes out, what somebody else owns would stay, be it `caBundle`: such
/// a stub no API server takes, and `helm upgrade` would fail by it. Returns the version of the configuration then.
async fn free(
    api: &Api<ValidatingWebhookConfiguration>,
    live: &ValidatingWebhookConfiguration,
    is_ours: bool,
) -> Result<Option<String>, ProtectError> {
    let version = live.metadata.resource_version.clone();
    let Some(freed) = freed(live, is_ours) else { return Ok(version) };
    let patch = json!({"metadata": {"resourceVersion": version, "managedFields": freed}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch_metadata(&live.name_any(), &params, &Patch::Merge(&patch)).await?;
    Ok(patched.metadata.resource_version)
}

/// `managedFields` without others' claims on webhooks; `None` where there are none. Whoever applies the chart keeps what they own,
/// and so does cainjector, which would take it again, unless the bundle `is_ours`.
fn freed(live: &ValidatingWebhookConfiguration, is_ours: bool) -> Option<Vec<ManagedFieldsEntry>> {
    let entries = live.metadata.managed_fields.as_ref()?;
    let mut freed = entries.clone();
    freed.retain_mut(|entry| {
        let by_update = entry.operation.as_deref() == Some("Update") || entry.manager.as_deref() == Some(MANAGER);
        let Some(fields) = entry.fields_v1.as_mut().and_then(|fields| fields.0.as_object_mut()) else { return true };
        let Some(webhooks) = fields.get("f:webhooks") else { return true };
        if by_update || (is_ours && !has_rules(webhooks)) {
            fields.remove("f:webhooks");
        }
        !fields.is_empty()
    });
    (freed != *entries).then_some(freed)
}

fn has_rules(webhooks: &Value) -> bool {
    webhooks.as_object().into_iter().flatten().any(|(_, webhook)| webhook.get("f:rules").is_some())
}

/// A configuration with the bundle, and without what others added: a webhook, a match condition, or a label of a selector by which the
/// guard would not be called any more. An apply leaves those, since no declared field is touched.
fn mended(copy: &Value, bundle: Option<&str>, live: &ValidatingWebhookConfiguration) -> ValidatingWebhookConfiguration {
    let mut mended = with_bundle(live, bundle);
    if let Some(webhooks) = &mut mended.webhooks {
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
    mended
}

fn with_bundle(live: &ValidatingWebhookConfiguration, bundle: Option<&str>) -> ValidatingWebhookConfiguration {
    let mut live = live.clone();
    if let Some(bundle) = bundle {
        for webhook in live.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle = Some(ByteString(bundle.as_bytes().to_vec()));
        }
    }
    live
}

fn webhooks_of(copy: &Value) -> impl Iterator<Item = &Value> {
    copy.get("webhooks").and_then(Value::as_array).into_iter().flatten()
}

/// What we own: who owns the configuration, and that we saw its webhooks as they are now.
fn observed(live: &ValidatingWebhookConfiguration, owners: &Value) -> Value {
    let generation = live.metadata.generation.unwrap_or_default().to_string();
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": live.name_any(), "ownerReferences": owners, "annotations": {OBSERVED: generation}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    #[test]
    fn webhooks_are_left_to_helm_and_to_those_who_apply() {
        let hooks = json!({"f:webhooks": {"k:{\"name\":\"pinned\"}": {"f:clientConfig": {"f:caBundle": {}}}}});
        let both = json!({"f:metadata": {"f:labels": {}}, "f:webhooks": {}});
        let metadata = json!({"f:metadata": {"f:labels": {}}});
        let live = |entries: &[Value]| -> ValidatingWebhookConfiguration {
            serde_json::from_value(json!({"metadata": {"managedFields": entries}})).unwrap()
        };
        let declared = json!({"f:webhooks": {"k:{\"name\":\"pinned\"}": {"f:rules": {}}}});
        let stay = [
            entry("helm", "Apply", declared.clone()),
            entry("kubectl", "Apply", declared),
            entry("gitward-disable", "Update", metadata.clone()),
        ];
        let injected = entry("cert-manager-cainjector", "Apply", hooks.clone());
        assert_eq!(freed(&live(&stay), true), None);
        assert_eq!(freed(&live(&[&stay[..], std::slice::from_ref(&injected)].concat()), false), None);
        let more = [
            entry("gitward", "Update", hooks.clone()),
            entry("gitward", "Apply", both.clone()),
            injected,
            entry("kubectl-edit", "Update", both),
        ];
        let left = [entry("gitward", "Apply", metadata.clone()), entry("kubectl-edit", "Update", metadata)];
        let expected = live(&[&stay[..], &left[..]].concat()).metadata.managed_fields;
        assert_eq!(freed(&live(&[&stay[..], &more[..]].concat()), true), expected);
    }
}
