//! From rendered objects to what can be applied: each with its identity, its marks, and its place in the spool.

use std::collections::{BTreeMap, HashMap};

use gitward_core::names;
use gitward_core::plan::ObjectKey;
use serde_json::Value;

use super::RunError;
use crate::api::GitSync;
use crate::apply::{ApplyError, Kinds, Marks, mark};
use crate::render::{Declared, Slice, Spool};

/// A declared object that is ready to be applied.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) key: ObjectKey,
    pub(super) api_version: String,
    pub(super) origin: String,
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

/// Prepares everything that a commit declares.
pub(super) async fn prepare(
    sync: &GitSync,
    declared: Vec<Declared>,
    kinds: &Kinds,
    spool: &mut Spool,
) -> Result<Prepared, RunError> {
    let scopes = declared_scopes(&declared);
    let mut prepared = Prepared::default();
    let mut first: BTreeMap<ObjectKey, String> = BTreeMap::new();
    for Declared { mut object, origin } in declared {
        let origin = origin.to_string();
        let (api_version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
        let key = match identify(sync, &object, kinds, &scopes).await {
            Ok(key) => key,
            // The API server is out of reach: no object's fault.
            Err(error @ ApplyError::Api(_)) => return Err(error.into()),
            Err(error) => {
                let object = format!("{kind} {}", text(&object, "/metadata/name"));
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
        let (sync_namespace, sync_name) = name_of(sync);
        mark(&mut object, &key, &Marks { sync_namespace, sync_name, origin: &origin });
        first.insert(key.clone(), origin.clone());
        prepared.ready.push(Ready { key, api_version, origin, object: spool.add(&object)? });
    }
    Ok(prepared)
}

/// Namespace and name of a GitSync.
pub(super) fn name_of(sync: &GitSync) -> (&str, &str) {
    let metadata = &sync.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

async fn identify(
    sync: &GitSync,
    object: &Value,
    kinds: &Kinds,
    scopes: &HashMap<(String, String), bool>,
) -> Result<ObjectKey, ApplyError> {
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    let group = names::group_of(&api_version).to_owned();
    let namespaced = match scopes.get(&(group.clone(), kind.clone())) {
        Some(namespaced) => *namespaced,
        None => kinds.get(&api_version, &kind).await?.namespaced,
    };
    let namespace = match text(object, "/metadata/namespace") {
        _ if !namespaced => String::new(),
        own if !own.is_empty() => own,
        _ => sync.spec.target_namespace.clone().ok_or(ApplyError::NoNamespace)?,
    };
    Ok(ObjectKey { group, kind, namespace, name: text(object, "/metadata/name") })
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
