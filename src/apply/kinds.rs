//! Which kinds the cluster serves, asked once each.

use std::collections::HashMap;
use std::sync::Arc;

use gitward_core::plan::ObjectKey;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::discovery::{Scope, oneshot::pinned_kind};
use tokio::sync::RwLock;

use super::ApplyError;
use crate::kubernetes::is_status;

/// A kind that the cluster serves.
#[derive(Clone, Debug)]
pub struct Kind {
    /// How it is asked for.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// The API of the objects in `namespace`; of all of them where it is empty.
    pub fn api(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.resource)
        } else {
            Api::all_with(client.clone(), &self.resource)
        }
    }
}

/// The kinds that were asked for so far. A kind that is not served is asked for again.
pub struct Kinds {
    client: Client,
    known: RwLock<HashMap<GroupVersionKind, Arc<Kind>>>,
}

impl Kinds {
    /// Knows nothing yet.
    pub fn new(client: Client) -> Kinds {
        Kinds { client, known: RwLock::default() }
    }

    /// The kind.
    ///
    /// # Errors
    /// Where it is not served, or the API server does not answer.
    pub async fn get(&self, api_version: &str, kind: &str) -> Result<Arc<Kind>, ApplyError> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = GroupVersionKind::gvk(group, version, kind);
        if let Some(known) = self.known.read().await.get(&gvk) {
            return Ok(known.clone());
        }
        let unknown = || ApplyError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let (resource, capabilities) = pinned_kind(&self.client, &gvk).await.map_err(|error| match error {
            kube::Error::Discovery(_) => unknown(),
            error if is_status(&error, 404) => unknown(),
            error => error.into(),
        })?;
        let found = Arc::new(Kind { resource, namespaced: capabilities.scope == Scope::Namespaced });
        self.known.write().await.insert(gvk, found.clone());
        Ok(found)
    }

    /// The kind of an object that was applied in `api_version` before, in whichever version it is served now; `None` where it is not
    /// served any more. Asked anew: what was known may be long ago.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn served(&self, api_version: &str, key: &ObjectKey) -> Result<Option<Arc<Kind>>, ApplyError> {
        self.forget(api_version, &key.kind).await;
        match self.get(api_version, &key.kind).await {
            Err(ApplyError::UnknownKind { .. }) => {}
            found => return found.map(Some),
        }
        let group = match kube::discovery::group(&self.client, &key.group).await {
            Ok(group) => group,
            Err(kube::Error::Discovery(_)) => return Ok(None),
            Err(error) if is_status(&error, 404) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = group.recommended_kind(&key.kind).map(|(resource, capabilities)| {
            Arc::new(Kind { resource, namespaced: capabilities.scope == Scope::Namespaced })
        });
        Ok(found)
    }

    /// Asks again the next time: the kind may not be served any more, or otherwise.
    pub async fn forget(&self, api_version: &str, kind: &str) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.known.write().await.remove(&GroupVersionKind::gvk(group, version, kind));
    }
}
