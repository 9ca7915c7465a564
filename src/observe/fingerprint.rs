//! A small hash of what must not change in a pinned object. Pure.
//!
//! What git declares, with its values as the server stored them, and who else owns what. Not: the status, times,
//! versions. Two states with the same fingerprint need no healing.

use gitward_core::fields::{Entry, entries};
use serde_json::Value;

/// The fingerprint of an object's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

/// Takes the fingerprint of an object.
pub fn fingerprint(object: &Value) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    let entries = entries(object);
    for entry in entries.iter().filter(|entry| entry.subresource.is_empty()) {
        for part in [entry.manager, entry.operation, entry.api_version] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        for path in entry.fields.paths() {
            hasher.update(path.to_string().as_bytes());
            hasher.update(b"\n");
        }
        if entry.is_declaration() {
            add_declared(&mut hasher, object, entry);
        }
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Fingerprint(short)
}

/// The values of the top-level fields in which something is declared. Coarser than the declared fields themselves: an
/// undeclared neighbour that changes costs one apply that changes nothing.
fn add_declared(hasher: &mut blake3::Hasher, object: &Value, entry: &Entry<'_>) {
    let Some(map) = object.as_object() else { return };
    for (key, value) in map {
        let watched = match key.as_str() {
            "status" | "apiVersion" | "kind" => None,
            "metadata" => {
                let parts = ["labels", "annotations", "finalizers", "ownerReferences"];
                let parts: Vec<_> = parts.iter().filter_map(|part| value.get(part).map(|v| (part, v))).collect();
                serde_json::to_vec(&parts).ok()
            }
            key => entry.fields.at(&[key]).and_then(|_| serde_json::to_vec(value).ok()),
        };
        if let Some(bytes) = watched {
            hasher.update(key.as_bytes());
            hasher.update(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(replicas: i64, manager: &str) -> Value {
        json!({
            "metadata": {
                "resourceVersion": replicas.to_string(),
                "managedFields": [
                    {"manager": manager, "operation": "Apply", "apiVersion": "apps/v1", "time": "t",
                     "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                    {"manager": "kcm", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {"f:x": {}}}},
                ]
            },
            "spec": {"replicas": replicas},
        })
    }

    #[test]
    fn values_and_ownership_count() {
        assert_ne!(fingerprint(&object(3, "gitward")), fingerprint(&object(4, "gitward")));
        assert_ne!(fingerprint(&object(3, "gitward")), fingerprint(&object(3, "kubectl")));
    }

    #[test]
    fn the_status_versions_and_times_do_not() {
        let before = object(3, "gitward");
        let mut after = before.clone();
        after["status"] = json!({"x": 1});
        after["metadata"]["resourceVersion"] = json!("99");
        after["metadata"]["managedFields"][0]["time"] = json!("later");
        after["metadata"]["managedFields"][1]["fieldsV1"] = json!({"f:status": {"f:y": {}}});
        assert_eq!(fingerprint(&before), fingerprint(&after));
    }
}
