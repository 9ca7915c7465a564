//! From rendered objects to what can be applied: each with its identity, its marks, its place in the order and in the spool.

use std::collections::{BTreeMap, HashMap};

use gitward_core::names;
use gitward_core::plan::{Autoscaler, Ignore, ObjectKey, Sequence, autoscaler, left_to_others, sequence};
use gitward_core::rights::ill_formed;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::RunError;
use super::controller::Context;
use super::inputs::Of;
use crate::api::{GitSync, SyncId};
use crate::apply::{ApplyError, Declaration, Marks, mark};
use crate::observe::{Content, Fingerprint};
use crate::protect::keeps;
use crate::render::{Declared, Slice, Spool};

/// A declared object that is ready to be applied.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) key: ObjectKey,
    pub(super) api_version: String,
    pub(super) origin: String,
    pub(super) sequence: Sequence,
    pub(super) content: Content,
    pub(super) object: Slice,
}

/// An object that cannot be applied, and why.
#[derive(Debug)]
pub(super) struct Failed {
    /// Its pinned-id, or what is known of it.
    pub(super) object: String,
    pub(super) origin: String,
    pub(super) error: ApplyError,
}

/// What a commit declares.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    pub(super) ready: Vec<Ready>,
    pub(super) failed: Vec<Failed>,
    /// Objects whose identity is not even known: what they are in the inventory cannot be told, so nothing is pruned.
    pub(super) unknown: bool,
}

impl Prepared {
    /// A hash of all that is declared, wherever in git it stands: another hash, another run of the hooks.
    pub(super) fn token(&self) -> String {
        let all: String = self.ready.iter().map(|ready| format!("{} {}\n", ready.key, ready.content.meaning)).collect();
        Fingerprint::of_bytes(all.as_bytes()).to_string()
    }
}

/// Prepares everything that a commit declares.
pub(super) async fn prepare(ctx: &Context, sync: Of<'_>, declared: Vec<Declared>) -> Result<Prepared, RunError> {
    let mut spool = Spool::create(&ctx.cache)?;
    // A team could say of a kind what is not true, and name it before the API server serves it.
    let scopes = if sync.account.is_some() { HashMap::new() } else { declared_scopes(&declared) };
    let mut prepared = Prepared::default();
    let mut objects = Vec::with_capacity(declared.len());
    let mut first: BTreeMap<ObjectKey, String> = BTreeMap::new();
    for Declared { object, origin } in declared {
        let origin = origin.to_string();
        let found = place(ctx, &sync, &object, &scopes).await;
        let (key, sequence) = match found {
            // A test of a chart, and the like: never applied.
            Ok(None) => continue,
            // The chart of gitward itself.
            Ok(Some((key, _))) if sync.namespace().as_ref() == Some(&ctx.namespace) && keeps(&key, &object) => continue,
            Ok(Some(found)) => found,
            // The API server is out of reach: no object's fault.
            Err(error) if error.is_outage() => return Err(error.into()),
            Err(error) => {
                let object = format!("{} {}", text(&object, "/kind"), text(&object, "/metadata/name"));
                prepared.failed.push(Failed { object, origin, error });
                prepared.unknown = true;
                continue;
            }
        };
        if let Some(first) = first.get(&key) {
            let error = ApplyError::Twice(first.clone());
            prepared.failed.push(Failed { object: key.to_string(), origin, error });
            continue;
        }
        first.insert(key.clone(), origin.clone());
        objects.push((key, sequence, object, origin));
    }
    let (id, ignore) = (SyncId::of(&sync), ignores(&sync));
    let autoscalers = autoscalers(ctx, &id, &objects).await?;
    for (key, sequence, mut object, origin) in objects {
        let api_version = text(&object, "/apiVersion");
        let leave = left_to_others(&key, &object, &autoscalers, &ignore);
        mark(&mut object, &key, &Marks { sync: &id, origin: &origin });
        let declaration = Declaration { object, leave };
        let content = content(&declaration);
        let object = spool.add(&declaration)?;
        prepared.ready.push(Ready { key, api_version, origin, sequence, content, object });
    }
    spool.finish()?;
    Ok(prepared)
}

fn content(declaration: &Declaration) -> Content {
    let hash = |declaration: &Declaration| Fingerprint::of_bytes(&serde_json::to_vec(declaration).unwrap_or_default());
    let whole = hash(declaration);
    let mut elsewhere = declaration.clone();
    if let Some(annotations) = elsewhere.object["metadata"]["annotations"].as_object_mut() {
        annotations.remove(names::ORIGIN);
    }
    Content { whole, meaning: hash(&elsewhere) }
}

fn ignores(sync: &GitSync) -> Vec<Ignore> {
    let of = |one: &crate::api::Ignore| Ignore {
        group: one.group.clone(),
        kind: one.kind.clone(),
        namespace: one.namespace.clone(),
        name: one.name.clone(),
        pointers: one.pointers.clone(),
    };
    sync.spec.ignore.iter().map(of).collect()
}

/// What scales the workloads that are declared: what git declares itself, and what others made in the cluster.
async fn autoscalers(
    ctx: &Context,
    id: &SyncId,
    objects: &[(ObjectKey, Sequence, Value, String)],
) -> Result<Vec<Autoscaler>, ApplyError> {
    let mut found: Vec<Autoscaler> =
        objects.iter().filter_map(|(key, _, object, _)| autoscaler(object, &key.namespace)).collect();
    let mine = ctx.inventories.get(id).await;
    let has_replicas = |object: &Value| object.pointer("/spec/replicas").is_some();
    if objects.iter().any(|(.., object, _)| has_replicas(object)) {
        let api: Api<HorizontalPodAutoscaler> = Api::all(ctx.client.clone());
        for hpa in api.list(&ListParams::default()).await?.items {
            let namespace = hpa.metadata.namespace.clone().unwrap_or_default();
            // What this GitSync has made counts as git declares it now: it may be about to be pruned.
            let name = hpa.metadata.name.as_deref().unwrap_or_default();
            if mine.contains_key(&hpa_key(&namespace, name)) {
                continue;
            }
            let Ok(mut hpa) = serde_json::to_value(hpa) else { continue };
            hpa["apiVersion"] = "autoscaling/v2".into();
            hpa["kind"] = "HorizontalPodAutoscaler".into();
            found.extend(autoscaler(&hpa, &namespace));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn hpa_key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey {
        group: "autoscaling".to_owned(),
        kind: "HorizontalPodAutoscaler".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// The identity of an object and its place in the order; `None` where it has none.
async fn place(
    ctx: &Context,
    sync: &GitSync,
    object: &Value,
    scopes: &HashMap<(String, String), bool>,
) -> Result<Option<(ObjectKey, Sequence)>, ApplyError> {
    let Some(sequence) = sequence(object)? else { return Ok(None) };
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let (own, name) = (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    if let Some(why) = ill_formed(&api_version, &kind, &own, &name) {
        return Err(ApplyError::IllFormed(why));
    }
    let group = names::group_of(&api_version).to_owned();
    let namespaced = match scopes.get(&(group.clone(), kind.clone())) {
        Some(namespaced) => *namespaced,
        None => ctx.kinds.get(&api_version, &kind).await?.namespaced,
    };
    let namespace = match () {
        () if !namespaced => String::new(),
        () if !own.is_empty() => own,
        () => sync.spec.target_namespace.clone().ok_or(ApplyError::NoNamespace)?,
    };
    Ok(Some((ObjectKey { group, kind, namespace, name }, sequence)))
}

/// The kinds that the commit itself defines, and whether their objects live in namespaces: they are not served yet.
fn declared_scopes(declared: &[Declared]) -> HashMap<(String, String), bool> {
    let crds = declared.iter().filter(|d| text(&d.object, "/kind") == "CustomResourceDefinition");
    crds.map(|d| {
        let kind = (text(&d.object, "/spec/group"), text(&d.object, "/spec/names/kind"));
        (kind, text(&d.object, "/spec/scope") == "Namespaced")
    })
    .collect()
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
