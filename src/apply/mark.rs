//! The marks by which the guard, the next run and people know a declared object. Pure.

use gitward_core::names;
use gitward_core::plan::ObjectKey;
use serde_json::{Map, Value, json};

/// What an object is marked with.
pub struct Marks<'a> {
    /// The GitSync.
    pub sync_namespace: &'a str,
    /// The GitSync.
    pub sync_name: &'a str,
    /// `path/in/repository.yaml:line`.
    pub origin: &'a str,
}

/// Marks a declared object. `key` is its identity with the namespace it goes to.
pub fn mark(object: &mut Value, key: &ObjectKey, marks: &Marks<'_>) {
    let metadata = child(object, "metadata");
    if !key.namespace.is_empty() {
        metadata.insert("namespace".to_owned(), json!(key.namespace));
    }
    let holds = matches!(
        (key.group.as_str(), key.kind.as_str()),
        ("", "Namespace") | ("apiextensions.k8s.io", "CustomResourceDefinition")
    );
    let labels = entry(metadata, "labels");
    labels.insert(names::SYNC_NAMESPACE.to_owned(), json!(marks.sync_namespace));
    labels.insert(names::SYNC_NAME.to_owned(), json!(marks.sync_name));
    if holds {
        labels.insert(names::GUARDED.to_owned(), json!("true"));
    }
    let annotations = entry(metadata, "annotations");
    annotations.insert(names::PINNED_ID.to_owned(), json!(key.to_string()));
    annotations.insert(names::ORIGIN.to_owned(), json!(marks.origin));
}

fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    match object {
        Value::Object(map) => entry(map, key),
        _ => unreachable!("it was made an object"),
    }
}

fn entry<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object"),
    }
}
