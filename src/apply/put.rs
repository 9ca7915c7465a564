//! Putting one declared object into the cluster, so that afterwards it is what git says and nobody else's tools own a part
//! of it.

use std::sync::{Arc, PoisonError, RwLock};

use gitward_core::fields::{Path, People, declares, fold, handover, is_left, leave};
use gitward_core::names::group_of;
use gitward_core::plan::ObjectKey;
use gitward_core::verdict::{Pattern, is_request};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::replace::{apply_or_replace, is_replaceable};
use super::write::{apply, get};
use super::{ApplyError, Kind};
use crate::kubernetes::{MANAGER, is_status};

/// The manager that keeps the values of fields that left the declaration, until their new owner writes them.
const HANDOVER_MANAGER: &str = "gitward-handover";
/// How often people's additions are taken over in one go; somebody may add while we remove.
const ROUNDS: usize = 3;

/// A declared object, as it is kept in the spool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Declaration {
    /// The object with its marks.
    pub object: Value,
    /// JSON pointers to fields that are left to others, once the object is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave: Vec<String>,
}

impl Declaration {
    /// Whether git allows the object to be deleted and made anew where it cannot be changed in place.
    pub fn is_replaceable(&self) -> bool {
        is_replaceable(&self.object)
    }
}

/// Whose additions are removed, and which stay.
#[derive(Clone, Debug, Default)]
pub struct TakeOver {
    /// Whose tools are people's.
    pub people: People,
    /// Fields that everybody may change.
    pub allow: Vec<Pattern>,
}

/// The rules at this moment; they follow the GuardPolicy.
#[derive(Debug, Default)]
pub struct Rules(RwLock<Arc<TakeOver>>);

impl Rules {
    /// The rules now.
    pub fn now(&self) -> Arc<TakeOver> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other rules from now on.
    pub fn set(&self, rules: TakeOver) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}

impl TakeOver {
    /// Whether what people add at a path stays theirs.
    pub fn stays(&self, path: &Path, declared: &Declaration) -> bool {
        let text = |name: &str| declared.object[name].as_str().unwrap_or_default();
        is_request(path, group_of(text("apiVersion")), text("kind"))
            || self.allow.iter().any(|pattern| pattern.matches(path))
            || is_left(path, &declared.leave, &declared.object)
    }

    /// What people's tools own of an object.
    fn of_people<'a>(&'a self, object: &'a DynamicObject) -> impl Iterator<Item = &'a ManagedFieldsEntry> {
        let entries = object.metadata.managed_fields.iter().flatten();
        entries.filter(|entry| entry.manager.as_deref().is_some_and(|name| self.people.is_tool(name)))
    }

    /// Whether people's tools own fields of a live object that are not declared. What is declared a forced apply takes by itself.
    fn has_additions(&self, live: &DynamicObject, declared: &Value) -> bool {
        self.of_people(live).any(|entry| entry.fields_v1.as_ref().is_some_and(|fields| !declares(declared, &fields.0)))
    }

    /// The `managedFields` of an object with people's entries folded into gitward's; `None` where there are none.
    pub fn fold(&self, object: &DynamicObject, declared: &Declaration) -> Option<Vec<Value>> {
        // Most objects have none: nothing is copied for them.
        self.of_people(object).next()?;
        let Ok(Value::Array(entries)) = serde_json::to_value(&object.metadata.managed_fields) else { return None };
        fold(&entries, &self.people, |path| self.stays(path, declared))
    }
}

/// Makes a live object what git declares, and returns it as it is stored then. `live` is the object where it is known; its
/// additions by people are removed with two writes then, else with three. Where people only changed what git declares, one is enough.
///
/// # Errors
/// Where the API server refuses or fails, or the object cannot be changed in place.
pub async fn put(
    client: &Client,
    kind: &Kind,
    key: &ObjectKey,
    declared: &Declaration,
    rules: &TakeOver,
    live: Option<&DynamicObject>,
) -> Result<DynamicObject, ApplyError> {
    let api = kind.api(client, &key.namespace);
    let mut object = declared.object.clone();
    if !declared.leave.is_empty() {
        hand_over(&api, key, declared).await?;
        leave(&mut object, &declared.leave);
    }
    let added = live.filter(|live| rules.has_additions(live, &object));
    if let Some((live, folded)) = added.and_then(|live| Some((live, rules.fold(live, declared)?))) {
        take_over(&api, key, live, folded).await?;
    }
    let mut applied = if is_replaceable(&object) {
        apply_or_replace(&api, key, &object, &declared.object).await?
    } else {
        apply(&api, key, &object).await?
    };
    for _ in 0..ROUNDS {
        let Some(folded) = rules.fold(&applied, declared) else { break };
        take_over(&api, key, &applied, folded).await?;
        applied = apply(&api, key, &object).await?;
    }
    if applied.metadata.deletion_timestamp.is_some() {
        return Err(ApplyError::Terminating);
    }
    Ok(applied)
}

/// Stores people's ownership as ours. Where the object has changed meanwhile, the next apply tells.
async fn take_over(
    api: &Api<DynamicObject>,
    key: &ObjectKey,
    live: &DynamicObject,
    folded: Vec<Value>,
) -> Result<(), ApplyError> {
    let patch = json!({"metadata": {"resourceVersion": live.metadata.resource_version, "managedFields": folded}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_metadata(&key.name, &params, &Patch::Merge(&patch)).await {
        Err(error) if !is_status(&error, 409) && !is_status(&error, 404) => Err(error.into()),
        _ => Ok(()),
    }
}

async fn hand_over_once(api: &Api<DynamicObject>, key: &ObjectKey, declared: &Declaration) -> Result<(), ApplyError> {
    let live = match get(api, key).await? {
        Some(live) => live,
        None => apply(api, key, &declared.object).await?,
    };
    let live = serde_json::to_value(&live).unwrap_or_default();
    if let Some(partial) = handover(&live, &declared.object, &declared.leave)? {
        let params = PatchParams::apply(HANDOVER_MANAGER).force();
        api.patch(&key.name, &params, &Patch::Apply(&partial)).await?;
    }
    Ok(())
}

/// Gives the fields that are left to others their live values under another manager. An object that is not there yet is made
/// with the values of git: a Deployment begins with the replicas that it declares, whoever scales it later.
async fn hand_over(api: &Api<DynamicObject>, key: &ObjectKey, declared: &Declaration) -> Result<(), ApplyError> {
    for _ in 1..ROUNDS {
        match hand_over_once(api, key, declared).await {
            Err(ApplyError::Api(error)) if is_status(&error, 409) => {}
            ended => return ended,
        }
    }
    hand_over_once(api, key, declared).await
}
