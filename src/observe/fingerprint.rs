//! A small hash of what must not change in a pinned object. Pure.
//!
//! What git declares, with its values as the server stored them, and who else owns what. Not: the status, times,
//! versions. Two states with the same fingerprint need no healing.

use gitward_core::fields::{Entry, Object};

/// The fingerprint of an object's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

/// Takes the fingerprint of an object.
pub fn fingerprint(object: &Object<'_>) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for entry in object.meta.managed_fields.iter().filter(|entry| entry.subresource.is_empty()) {
        for part in [&*entry.manager, &*entry.operation, &*entry.api_version, entry.fields_text()] {
            add(&mut hasher, part);
        }
        if entry.is_declaration() {
            add_declared(&mut hasher, object, entry);
        }
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Fingerprint(short)
}

fn add(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// The values of the top-level fields in which something is declared. Coarser than the declared fields themselves: an
/// undeclared neighbour that changes costs one apply that changes nothing.
fn add_declared(hasher: &mut blake3::Hasher, object: &Object<'_>, entry: &Entry<'_>) {
    let fields = entry.fields();
    let declared = object.parts.iter().filter(|(key, _)| *key != "status" && !fields.at(&[key.as_ref()]).is_empty());
    let watched = ["labels", "annotations", "finalizers", "ownerReferences"];
    let metadata = object.meta.parts.iter().filter(|(key, _)| watched.contains(&key.as_ref()));
    for (key, value) in metadata.chain(declared) {
        add(hasher, key);
        add(hasher, value.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn fingerprint(object: &Value) -> Fingerprint {
        super::fingerprint(&serde_json::from_str(&object.to_string()).unwrap())
    }

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
