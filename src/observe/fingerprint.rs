//! A small hash of what must not change in a pinned object. Pure.
//!
//! What git declares, with its values as the server stored them, and what people's tools own. Not: the status, times,
//! versions, and what controllers own. Two states with the same fingerprint need no healing.

use std::fmt;
use std::str::FromStr;

use gitward_core::fields::{Object, People, owned_values};
use kube::api::DynamicObject;

/// The fingerprint of a state. Its text is 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of some bytes.
    pub fn of_bytes(bytes: &[u8]) -> Fingerprint {
        shorten(&blake3::hash(bytes))
    }

    /// The fingerprint of a live object.
    pub fn of(object: &DynamicObject, people: &People) -> Fingerprint {
        let text = serde_json::to_string(object).unwrap_or_default();
        // What was read from JSON can be read again; an empty object's fingerprint costs one apply.
        fingerprint(&serde_json::from_str(&text).unwrap_or_default(), people)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Fingerprint, ()> {
        u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(|n| Fingerprint(n.to_be_bytes())).ok_or(())
    }
}

fn shorten(hash: &blake3::Hash) -> Fingerprint {
    let mut short = [0; 16];
    short.copy_from_slice(&hash.as_bytes()[..16]);
    Fingerprint(short)
}

fn fingerprint(object: &Object<'_>, people: &People) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for entry in &object.meta.managed_fields {
        let declares = entry.is_declaration();
        if !declares && !people.is_tool(&entry.manager) {
            continue;
        }
        for part in [&*entry.manager, &*entry.operation, &*entry.subresource, &*entry.api_version, entry.fields_text()]
        {
            add(&mut hasher, part);
        }
        if declares && let Some(fields) = entry.fields_json() {
            owned_values(object, fields, &mut |text| add(&mut hasher, text));
        }
    }
    shorten(&hasher.finalize())
}

fn add(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(object: &Value) -> Fingerprint {
        super::fingerprint(&serde_json::from_str(&object.to_string()).unwrap(), &People::default())
    }

    fn object(replicas: i64, manager: &str) -> Value {
        json!({
            "metadata": {
                "resourceVersion": replicas.to_string(),
                "managedFields": [
                    {"manager": "gitward", "operation": "Apply", "apiVersion": "apps/v1", "time": "t",
                     "fieldsV1": {"f:spec": {"f:replicas": {}}}},
                    {"manager": manager, "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {"f:paused": {}}}},
                    {"manager": "kcm", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {"f:x": {}}}},
                ]
            },
            "spec": {"replicas": replicas, "paused": true},
        })
    }

    #[test]
    fn declared_values_and_what_people_own_count() {
        assert_ne!(of(&object(3, "x")), of(&object(4, "x")));
        assert_ne!(of(&object(3, "x")), of(&object(3, "kubectl-edit")));
    }

    #[test]
    fn the_status_versions_times_and_what_controllers_own_do_not() {
        let before = object(3, "x");
        let mut after = before.clone();
        after["status"] = json!({"x": 1});
        after["spec"]["paused"] = json!(false);
        after["metadata"]["resourceVersion"] = json!("9");
        after["metadata"]["managedFields"][0]["time"] = json!("u");
        after["metadata"]["managedFields"][2]["fieldsV1"] = json!({"f:status": {"f:y": {}}});
        assert_eq!(of(&before), of(&after));
    }

    #[test]
    fn its_text_reads_back() {
        let one = Fingerprint::of_bytes(b"a");
        assert_eq!(one.to_string().parse(), Ok(one));
        assert_eq!("short".parse::<Fingerprint>(), Err(()));
    }
}
