//! Live objects, where a verdict depends on some. Always read from the API server: a cache would be wrong just when
//! somebody tries to be faster than it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::AsyncBufReadExt;
use futures::future::join_all;
use gitward_core::text::bounded;
use gitward_core::verdict::{By, Found, Known, Listed, ObjectName, Owner, TypeName, Wanted};
use kube::Client;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Request};
use kube::core::Resource;
use kube::core::params::GetParams;
use kube::discovery::{self, Scope};
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, RwLock, Semaphore};
use tokio::time::timeout;

use super::metrics::Metrics;
use super::object_path::{InvalidName, check_namespace, check_type, segment};
use crate::kubernetes::{describe, is_status};

/// How long one look-up may take: with it and the judging around it, the guard answers before the API server stops
/// waiting (`timeoutSeconds` of the webhook).
const PATIENCE: Duration = Duration::from_secs(2);
/// How many look-ups one round may have.
const SIDE_BY_SIDE: usize = 64;
/// Largest object that is looked up. etcd takes 1.5 MiB, and escaping makes it longer.
const OBJECT_BYTES: usize = 4 << 20;
/// Largest list that is looked up, over all of its pages.
const LIST_BYTES: usize = 8 << 20;
/// What the answers to all look-ups may hold together, until the verdicts that depend on them are there.
const ALL_BYTES: usize = 64 << 20;
/// How many objects a page of a list has.
const PAGE: u32 = 200;
/// How many pages a list may have.
const PAGES: usize = 10;
/// Longest words of the API server in a refusal, in bytes.
const SHOWN: usize = 512;

/// Where live objects are looked up.
pub(super) enum Lookup {
    /// In the cluster.
    Cluster(Box<Cluster>),
    /// In a file, where a guard runs without a cluster.
    File(Listed),
}

/// Reads objects of a cluster for verdicts.
pub(super) struct Cluster {
    client: Client,
    metrics: Metrics,
    /// The resources of the groups and kinds that references named so far: some ten in any cluster.
    resources: RwLock<HashMap<(String, String), (ApiResource, bool)>>,
    /// What is left of [`ALL_BYTES`].
    room: Arc<Semaphore>,
}

/// The memory of looked-up objects. It counts until the value is dropped.
#[derive(Default)]
pub(super) struct Held(#[expect(dead_code, reason = "it is held")] Vec<OwnedSemaphorePermit>);

/// Why a look-up has no answer.
#[derive(Debug, Error)]
enum Failure {
    #[error("{}", describe(.0))]
    Api(#[from] kube::Error),
    #[error("{0}")]
    Answer(#[from] serde_json::Error),
    #[error("{0}")]
    Name(#[from] InvalidName),
    #[error("{0}")]
    Read(#[from] std::io::Error),
    #[error("the answer of the API server is longer than {} MiB", .0 >> 20)]
    TooLarge(usize),
    #[error("the list has more than {PAGES} pages of {PAGE} objects")]
    TooMany,
    /// The kind is not served at this moment. That is not the same as that there is no such object.
    #[error("the API server does not serve {0}")]
    NotServed(String),
}

/// The answer to one look-up, as it arrives.
struct Answer {
    objects: Vec<Box<RawValue>>,
    bytes: usize,
    held: Vec<OwnedSemaphorePermit>,
}

impl Lookup {
    pub(super) fn cluster(client: Client, metrics: Metrics) -> Lookup {
        let room = Arc::new(Semaphore::new(ALL_BYTES));
        Lookup::Cluster(Box::new(Cluster { client, metrics, resources: RwLock::default(), room }))
    }

    /// Looks everything up, side by side. Never an error: what went wrong is an answer too, and refuses the request.
    pub(super) async fn find(&self, wanted: Vec<Wanted>, owner: &Owner, known: &mut Known) -> Held {
        let cluster = match self {
            Lookup::Cluster(cluster) => cluster,
            Lookup::File(listed) => {
                wanted.into_iter().for_each(|wanted| {
                    let found = listed.find(&wanted);
                    known.add(wanted, found);
                });
                return Held::default();
            }
        };
        let found = join_all(wanted.iter().take(SIDE_BY_SIDE).map(|wanted| cluster.find(wanted, owner))).await;
        let mut held = Vec::new();
        let mut found = found.into_iter();
        for wanted in wanted {
            let (found, of_it) = found.next().unwrap_or_else(|| (Found::Failed(too_many()), Vec::new()));
            held.extend(of_it);
            known.add(wanted, found);
        }
        Held(held)
    }
}

fn too_many() -> String {
    format!("more than {SIDE_BY_SIDE} objects would have to be looked up at once")
}

impl Cluster {
    async fn find(&self, wanted: &Wanted, owner: &Owner) -> (Found, Vec<OwnedSemaphorePermit>) {
        let begun = Instant::now();
        let (found, held) = match timeout(PATIENCE, self.get(wanted, owner)).await {
            Ok(Ok(answer)) if answer.objects.is_empty() => (Found::Absent, Vec::new()),
            Ok(Ok(answer)) => (Found::Objects(answer.objects), answer.held),
            Ok(Err(failure)) => (failed(&failure), Vec::new()),
            Err(_) => {
                let seconds = PATIENCE.as_secs();
                (Found::Failed(format!("the API server did not answer within {seconds} s")), Vec::new())
            }
        };
        self.metrics.looked_up(&found, begun.elapsed());
        (found, held)
    }

    async fn get(&self, wanted: &Wanted, owner: &Owner) -> Result<Answer, Failure> {
        let mut answer = Answer { objects: Vec::new(), bytes: 0, held: Vec::new() };
        match wanted {
            Wanted::One(one) => self.get_one(one, &mut answer).await?,
            Wanted::Pinned(of, namespace) => self.list(of, namespace, owner, &mut answer).await?,
            // The reconciler labels what holds pinned objects before the first of them is there.
            Wanted::InNamespace(_) | Wanted::OfKind(..) => {}
        }
        Ok(answer)
    }

    async fn get_one(&self, one: &ObjectName, answer: &mut Answer) -> Result<(), Failure> {
        let name = segment(one)?;
        let (resource, namespaced) = self.resource(&one.of).await?;
        let namespace = Some(one.namespace.as_str()).filter(|namespace| namespaced && !namespace.is_empty());
        let request = Request::new(DynamicObject::url_path(&resource, namespace));
        let request = request.get(&name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        let text = self.read(request, OBJECT_BYTES, answer).await?;
        answer.objects.push(serde_json::from_slice(&text)?);
        Ok(())
    }

    async fn list(&self, of: &TypeName, namespace: &str, owner: &Owner, answer: &mut Answer) -> Result<(), Failure> {
        check_type(of)?;
        check_namespace(namespace)?;
        let (resource, _) = self.resource(of).await?;
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        let path = DynamicObject::url_path(&resource, namespace);
        // From the API server's own cache: what stands beside may be a moment old, and no etcd is asked. That cache may answer
        // with all at once, whatever the page is; the bytes are bounded all the same.
        let params = ListParams { label_selector: owner.label().map(str::to_owned), ..ListParams::default() };
        let mut page = params.clone().limit(PAGE).match_any();
        for _ in 0..PAGES {
            let request = Request::new(&path).list(&page).map_err(kube::Error::BuildRequest)?;
            let text = self.read(request, LIST_BYTES, answer).await?;
            let read: Page = serde_json::from_slice(&text)?;
            answer.objects.extend(read.items);
            match read.metadata.next.filter(|token| !token.is_empty()) {
                Some(token) => page = params.clone().limit(PAGE).continue_token(&token),
                None => return Ok(()),
            }
        }
        Err(Failure::TooMany)
    }

    /// Reads an answer, of which no more is kept than `most` bytes of all pages together.
    async fn read(
        &self,
        request: axum::http::Request<Vec<u8>>,
        most: usize,
        answer: &mut Answer,
    ) -> Result<Vec<u8>, Failure> {
        let mut stream = pin!(self.client.request_stream(request).await?);
        let mut text = Vec::new();
        loop {
            let chunk = stream.fill_buf().await?;
            let length = chunk.len();
            if length == 0 {
                return Ok(text);
            }
            answer.bytes += length;
            self.metrics.lookup_bytes(length);
            if answer.bytes > most {
                return Err(Failure::TooLarge(most));
            }
            if let Ok(bytes) = u32::try_from(length)
                && let Ok(permit) = self.room.clone().acquire_many_owned(bytes).await
            {
                answer.held.push(permit);
            }
            text.extend_from_slice(chunk);
            stream.consume_unpin(length);
        }
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

/// A page of a list.
#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    items: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

fn failed(failure: &Failure) -> Found {
    match failure {
        Failure::Api(error) if is_status(error, 404) => Found::Absent,
        Failure::Api(error) if is_status(error, 403) => Found::Failed(format!(
            "{}. An administrator grants it with the chart's value guard.extraLookups",
            bounded(&describe(error), SHOWN)
        )),
        other => Found::Failed(bounded(&other.to_string(), SHOWN).into_owned()),
    }
}
