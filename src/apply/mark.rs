//! The marks by which the guard, the next run and people know a declared object. Pure.

use gitward_core::names;
use gitward_core::plan::ObjectKey;
use serde_json::{Value, json};

use crate::api::SyncId;

/// What an object is marked with.
pub struct Marks<'a> {
    /// The GitSync.
    pub sync: &'a SyncId,
    /// `path/in/repository.yaml:line`.
    pub origin: &'a str,
}

/// Marks a declared object. `key` is its identity with the namespace it goes to.
pub fn mark(object: &mut Value, key: &ObjectKey, marks: &Marks<'_>) {
    let holds = matches!(
        (key.group.as_str(), key.kind.as_str()),
        ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition")
    );
    let mut patch = json!({"metadata": {
        "labels": {names::SYNC_NAMESPACE: marks.sync.namespace, names::SYNC_NAME: marks.sync.name},
        "annotations": {names::PINNED_ID: key.to_string(), names::ORIGIN: marks.origin},
    }});
    if holds {
        patch["metadata"]["labels"][names::GUARDED] = json!("true");
    }
    if !key.namespace.is_empty() {
        patch["metadata"]["namespace"] = json!(key.namespace);
    }
    json_patch::merge(object, &patch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_says_itself_is_kept_but_for_forged_marks() {
        let key: ObjectKey = "/ConfigMap:shop/a".parse().unwrap();
        let mut object = json!({"metadata": {"name": "a", "labels": {"x": "1", names::SYNC_NAME: "forged"}}});
        let sync = SyncId { namespace: "gitward-system".into(), name: "shop".into() };
        mark(&mut object, &key, &Marks { sync: &sync, origin: "a.yaml:1" });
        assert_eq!(
            object["metadata"],
            json!({
                "name": "a", "namespace": "shop",
                "labels": {"x": "1", names::SYNC_NAME: "shop", names::SYNC_NAMESPACE: "gitward-system"},
                "annotations": {names::PINNED_ID: "/ConfigMap:shop/a", names::ORIGIN: "a.yaml:1"},
            })
        );
    }
}
