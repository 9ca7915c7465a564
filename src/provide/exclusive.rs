//! Labels the namespaces that the GuardPolicy makes exclusive. A webhook entry is selected by the label of a namespace,
//! never by its name.

use std::collections::BTreeSet;
use std::pin::pin;

use futures::{FutureExt, StreamExt, stream};
use gitward_core::names;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{Store, store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::api::GuardPolicy;
use crate::kubernetes::{MANAGER, describe, is_status};

/// Labels and unlabels as the policy says, for as long as it is polled.
pub(super) async fn keep_labels(client: Client) {
    let (namespaces, writer) = store();
    let all = Api::<Namespace>::all(client.clone());
    let metadata = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let of_namespaces = reflector(writer, watcher(metadata, watcher::Config::default()).default_backoff());
    let (policies, writer) = store();
    let only = watcher::Config::default().fields("metadata.name=default");
    let of_policies = reflector(writer, watcher(Api::<GuardPolicy>::all(client), only).default_backoff());
    let mut events = pin!(stream::select(of_namespaces.map(|e| e.map(drop)), of_policies.map(|e| e.map(drop))));
    while let Some(event) = events.next().await {
        if let Err(error) = event {
            warn!(%error, "namespaces or the GuardPolicy cannot be watched; trying again");
        }
        // A label must not go only because the policy is not yet known.
        let known = namespaces.wait_until_ready().now_or_never().is_some()
            && policies.wait_until_ready().now_or_never().is_some();
        if known {
            label(&all, &namespaces, &policies).await;
        }
    }
}

async fn label(api: &Api<Namespace>, namespaces: &Store<PartialObjectMeta<Namespace>>, policies: &Store<GuardPolicy>) {
    let wanted: BTreeSet<String> =
        policies.state().iter().flat_map(|policy| policy.spec.exclusive.namespaces.clone()).collect();
    for namespace in namespaces.state() {
        let name = namespace.name_any();
        let exclusive = wanted.contains(&name);
        if namespace.labels().contains_key(names::EXCLUSIVE) == exclusive {
            continue;
        }
        let value = if exclusive { json!("true") } else { Value::Null };
        let patch = Patch::Merge(json!({"metadata": {"labels": {names::EXCLUSIVE: value}}}));
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        match api.patch_metadata(&name, &params, &patch).await {
            Ok(_) => info!(namespace = name, exclusive, "labelled as the GuardPolicy says"),
            Err(error) if is_status(&error, 404) => {}
            Err(error) => warn!(namespace = name, error = describe(&error), "the namespace could not be labelled"),
        }
    }
}
