//! What a drift was, in words.

use std::time::Duration;

use gitward_core::fields::{Change, Object, Set, diff};
use gitward_core::plan::ObjectKey;
use kube::api::DynamicObject;

use crate::api::SyncId;

/// What people are told.
#[derive(Clone, Debug)]
pub enum Told {
    /// A drift was healed.
    Healed(Drift),
    /// An object is marked as if git declared it.
    Copy {
        /// The GitSync that it names.
        sync: SyncId,
        /// What it is, in words.
        what: String,
    },
}

/// A drift that was healed.
#[derive(Clone, Debug)]
pub struct Drift {
    /// The GitSync whose object it is.
    pub sync: SyncId,
    /// The object.
    pub object: ObjectKey,
    /// The field manager that caused it; empty where it is not known.
    pub manager: String,
    /// What happened: `changed spec.replicas`, `it was deleted`.
    pub what: String,
    /// How long it took from the sight of it to the answer of the API server.
    pub took: Duration,
}

/// The manager that wrote last.
pub(super) fn manager_of(drifted: &DynamicObject) -> String {
    let newest = drifted.metadata.managed_fields.iter().flatten().max_by_key(|entry| entry.time.as_ref().map(|t| t.0));
    newest.and_then(|entry| entry.manager.clone()).unwrap_or_default()
}

/// Which fields drifted. Never their values.
pub(super) fn describe(drifted: &DynamicObject, applied: &DynamicObject) -> String {
    let text = |object| serde_json::to_string(object).unwrap_or_default();
    let (from, to) = (text(drifted), text(applied));
    let read = |text| serde_json::from_str::<Object<'_>>(text).unwrap_or_default();
    let (from, to) = (read(&from), read(&to));
    let shape = Set::of_managers(&from, &to);
    let fields: Vec<_> =
        diff(&from, &to, &shape).iter().filter(is_told).map(|change| change.path.dotted()).take(5).collect();
    match fields.as_slice() {
        [] => "changed who owns its fields".to_owned(),
        fields => format!("changed {}", fields.join(", ")),
    }
}

/// Metadata that people change, and no status.
fn is_told(change: &&Change<'_>) -> bool {
    let told = ["labels", "annotations", "finalizers", "ownerReferences"];
    !change.path.is_under(&["status"])
        && (!change.path.is_under(&["metadata"]) || told.iter().any(|key| change.path.is_under(&["metadata", key])))
}
