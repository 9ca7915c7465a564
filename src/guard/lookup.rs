//! Live objects, where a verdict depends on one. Always read from the API server: a cache would be wrong just when
//! somebody tries to be faster than it.

use std::collections::HashMap;
use std::time::Duration;

use gitward_core::verdict::{Found, TypeName, Wanted};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::discovery::oneshot::pinned_kind;
use tokio::sync::RwLock;
use tokio::time::timeout;

use crate::kubernetes::{describe, is_status};

/// How long one look-up may take: with it and the judging around it, the guard answers before the API server stops
/// waiting (`timeoutSeconds` of the webhook).
const PATIENCE: Duration = Duration::from_secs(2);

/// Reads objects for verdicts.
pub(super) struct Lookup {
    client: Client,
    /// The resources of the kinds that owner references named so far: some ten in any cluster.
    resources: RwLock<HashMap<GroupVersionKind, ApiResource>>,
}

impl Lookup {
    pub(super) fn new(client: Client) -> Lookup {
        Lookup { client, resources: RwLock::default() }
    }

    /// The live object. Never an error: what went wrong is an answer too, and refuses the request.
    pub(super) async fn find(&self, wanted: &Wanted) -> Found {
        match timeout(PATIENCE, self.get(wanted)).await {
            Ok(Ok(Some(object))) => match serde_json::to_value(object) {
                Ok(value) if is_same(&value, wanted) => Found::Object(Box::new(value)),
                Ok(_) => Found::Failed("it was deleted and made again meanwhile; try again".to_owned()),
                Err(error) => Found::Failed(error.to_string()),
            },
            Ok(Ok(None)) => Found::Absent,
            Ok(Err(error)) if is_status(&error, 403) => Found::Failed(format!(
                "{}. An administrator grants it with the chart's value guard.extraLookups",
                describe(&error)
            )),
            Ok(Err(error)) => Found::Failed(describe(&error)),
            Err(_) => Found::Failed(format!("the API server did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn get(&self, wanted: &Wanted) -> Result<Option<DynamicObject>, kube::Error> {
        let resource = match &wanted.by {
            TypeName::Resource(plural) => {
                let gvk = GroupVersionKind::gvk(&wanted.group, &wanted.version, "");
                ApiResource::from_gvk_with_plural(&gvk, plural)
            }
            TypeName::Kind(kind) => self.resource(GroupVersionKind::gvk(&wanted.group, &wanted.version, kind)).await?,
        };
        let api: Api<DynamicObject> = match wanted.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        api.get_opt(&wanted.name).await
    }

    async fn resource(&self, gvk: GroupVersionKind) -> Result<ApiResource, kube::Error> {
        if let Some(known) = self.resources.read().await.get(&gvk) {
            return Ok(known.clone());
        }
        let (resource, _) = pinned_kind(&self.client, &gvk).await?;
        self.resources.write().await.insert(gvk, resource.clone());
        Ok(resource)
    }
}

fn is_same(object: &serde_json::Value, wanted: &Wanted) -> bool {
    wanted.uid.is_empty() || object.pointer("/metadata/uid").and_then(|uid| uid.as_str()) == Some(&wanted.uid)
}
