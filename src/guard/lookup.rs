//! Live objects, where a verdict depends on some. Always read from the API server: a cache would be wrong just when
//! somebody tries to be faster than it.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use gitward_core::verdict::{By, Found, Known, Listed, ObjectName, Owner, TypeName, Wanted};
use kube::Client;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Request};
use kube::core::Resource;
use kube::core::params::GetParams;
use kube::discovery::{self, Scope};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::RwLock;
use tokio::time::timeout;

use crate::kubernetes::{describe, is_status};

/// How long one look-up may take: with it and the judging around it, the guard answers before the API server stops
/// waiting (`timeoutSeconds` of the webhook).
const PATIENCE: Duration = Duration::from_secs(2);

/// Where live objects are looked up.
pub(super) enum Lookup {
    /// In the cluster.
    Cluster(Cluster),
    /// In a file, where a guard runs without a cluster.
    File(Listed),
}

/// Reads objects of a cluster for verdicts.
pub(super) struct Cluster {
    client: Client,
    /// The resources of the groups and kinds that references named so far: some ten in any cluster.
    resources: RwLock<HashMap<(String, String), (ApiResource, bool)>>,
}

/// Why a look-up has no answer.
enum Failure {
    Api(kube::Error),
    Answer(serde_json::Error),
    /// The kind is not served at this moment. That is not the same as that there is no such object.
    NotServed(String),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Failure {
        Failure::Api(error)
    }
}

impl Lookup {
    pub(super) fn cluster(client: Client) -> Lookup {
        Lookup::Cluster(Cluster { client, resources: RwLock::default() })
    }

    /// Looks everything up, side by side. Never an error: what went wrong is an answer too, and refuses the request.
    pub(super) async fn find(&self, wanted: Vec<Wanted>, owner: &Owner, known: &mut Known) {
        match self {
            Lookup::File(listed) => wanted.into_iter().for_each(|wanted| {
                let found = listed.find(&wanted);
                known.add(wanted, found);
            }),
            Lookup::Cluster(cluster) => {
                let found = join_all(wanted.iter().map(|wanted| cluster.find(wanted, owner))).await;
                wanted.into_iter().zip(found).for_each(|(wanted, found)| known.add(wanted, found));
            }
        }
    }
}

impl Cluster {
    async fn find(&self, wanted: &Wanted, owner: &Owner) -> Found {
        match timeout(PATIENCE, self.get(wanted, owner)).await {
            Ok(Ok(objects)) if objects.is_empty() => Found::Absent,
            Ok(Ok(objects)) => Found::Objects(objects),
            Ok(Err(Failure::Api(error))) if is_status(&error, 404) => Found::Absent,
            Ok(Err(Failure::Api(error))) if is_status(&error, 403) => Found::Failed(format!(
                "{}. An administrator grants it with the chart's value guard.extraLookups",
                describe(&error)
            )),
            Ok(Err(Failure::Api(error))) => Found::Failed(describe(&error)),
            Ok(Err(Failure::NotServed(kind))) => Found::Failed(format!("the API server does not serve {kind}")),
            Ok(Err(Failure::Answer(error))) => Found::Failed(error.to_string()),
            Err(_) => Found::Failed(format!("the API server did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn get(&self, wanted: &Wanted, owner: &Owner) -> Result<Vec<Box<RawValue>>, Failure> {
        match wanted {
            Wanted::One(one) => self.get_one(one).await,
            Wanted::Pinned(of, namespace) => self.list(of, namespace, owner).await,
            // The reconciler labels what holds pinned objects before the first of them is there.
            Wanted::InNamespace(_) | Wanted::OfKind(..) => Ok(Vec::new()),
        }
    }

    async fn get_one(&self, one: &ObjectName) -> Result<Vec<Box<RawValue>>, Failure> {
        let (resource, namespaced) = self.resource(&one.of).await?;
        let namespace = Some(one.namespace.as_str()).filter(|namespace| namespaced && !namespace.is_empty());
        let request = Request::new(DynamicObject::url_path(&resource, namespace));
        let request = request.get(&one.name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        let text = self.client.request_text(request).await?;
        RawValue::from_string(text).map(|object| vec![object]).map_err(Failure::Answer)
    }

    async fn list(&self, of: &TypeName, namespace: &str, owner: &Owner) -> Result<Vec<Box<RawValue>>, Failure> {
        #[derive(Deserialize)]
        struct Items {
            items: Vec<Box<RawValue>>,
        }
        let (resource, _) = self.resource(of).await?;
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        // From the API server's own cache: what stands beside may be a moment old, and no etcd is asked.
        let params = ListParams { label_selector: owner.label().map(str::to_owned), ..ListParams::default() };
        let params = params.match_any();
        let request = Request::new(DynamicObject::url_path(&resource, namespace));
        let request = request.list(&params).map_err(kube::Error::BuildRequest)?;
        let text = self.client.request_text(request).await?;
        serde_json::from_str(&text).map(|items: Items| items.items).map_err(Failure::Answer)
    }

    /// The resource of a type. What is named by its kind is found in whatever version is served, as controllers do.
    async fn resource(&self, of: &TypeName) -> Result<(ApiResource, bool), Failure> {
        let kind = match &of.by {
            By::Resource(plural) => {
                let gvk = GroupVersionKind::gvk(&of.group, &of.version, "");
                return Ok((ApiResource::from_gvk_with_plural(&gvk, plural), true));
            }
            By::Kind(kind) => kind,
        };
        let named = (of.group.clone(), kind.clone());
        if let Some(known) = self.resources.read().await.get(&named) {
            return Ok(known.clone());
        }
        let not_served = || Failure::NotServed(format!("{kind} of group {:?}", of.group));
        let group = match discovery::group(&self.client, &of.group).await {
            Err(kube::Error::Discovery(_)) => return Err(not_served()),
            other => other?,
        };
        let served = group.resources_by_stability().into_iter().find(|(resource, _)| resource.kind == *kind);
        let (resource, capabilities) = served.ok_or_else(not_served)?;
        let found = (resource, capabilities.scope == Scope::Namespaced);
        self.resources.write().await.insert(named, found.clone());
        Ok(found)
    }
}
