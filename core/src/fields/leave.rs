//! Leaving declared fields to others without losing their values.
//!
//! A field that leaves the declaration is reset to its default, unless somebody else owns it (KEP-555): a Deployment at 8
//! replicas would fall to 1. So it is handed over first: applied with its live value under another manager.

use serde_json::{Map, Value, json};
use thiserror::Error;

use super::{Path, Segment};
use crate::names;

/// A pointer that leads to what cannot be left alone.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0} leads into a list that has no keys, and is owned as a whole: ignore the list instead")]
pub struct CannotLeave(String);

/// Takes fields out of a declared object, and the maps that are empty then.
pub fn leave(object: &mut Value, pointers: &[String]) {
    for pointer in pointers {
        let steps: Vec<String> = steps(pointer);
        // Removing an item of a list would move the others under the pointers that follow.
        remove(object, &steps);
    }
}

fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

fn remove(value: &mut Value, steps: &[String]) {
    let Some((first, rest)) = steps.split_first() else { return };
    match value {
        Value::Object(map) if rest.is_empty() => drop(map.remove(first)),
        Value::Object(map) => {
            let Some(below) = map.get_mut(first) else { return };
            let was_empty = below.as_object().is_some_and(Map::is_empty);
            remove(below, rest);
            if !was_empty && below.as_object().is_some_and(Map::is_empty) {
                map.remove(first);
            }
        }
        Value::Array(items) => {
            if let Some(item) = first.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                remove(item, rest);
            }
        }
        _ => {}
    }
}

/// Whether a path is one of the fields that are left, or inside of one. An item of a list is meant by its place in `declared`, the
/// object before [`leave`]; a step `*` is any.
pub fn is_left(path: &Path, pointers: &[String], declared: &Value) -> bool {
    pointers.iter().any(|pointer| {
        let (steps, mut here) = (steps(pointer), declared);
        let segments = path.segments();
        steps.len() <= segments.len()
            && steps.iter().zip(segments).all(|(step, segment)| {
                let fits = step == "*" || is_meant(step, segment, here);
                here = match (here, step.parse::<usize>()) {
                    (Value::Array(items), Ok(index)) => items.get(index).unwrap_or(&Value::Null),
                    _ => &here[step.as_str()],
                };
                fits
            })
    })
}

fn is_meant(step: &str, segment: &Segment, here: &Value) -> bool {
    match segment {
        Segment::Field(name) => name == step,
        Segment::Item(keys) => {
            let item = step.parse::<usize>().ok().and_then(|index| here.get(index));
            item.is_some_and(|item| {
                keys.iter().all(|(name, text)| {
                    item.get(name).is_none_or(|is| serde_json::from_str(text).is_ok_and(|text: Value| text == *is))
                })
            })
        }
        Segment::Index(index) => step.parse() == Ok(*index),
        Segment::Member(_) => false,
    }
}

/// What has to be applied under another manager before the fields leave the declaration, with their live values; `None`
/// where gitward owns none of them. `declared` is the object before [`leave`].
///
/// # Errors
/// Where a pointer leads into a list without keys.
pub fn handover(live: &Value, declared: &Value, pointers: &[String]) -> Result<Option<Value>, CannotLeave> {
    let entries = live.pointer("/metadata/managedFields").and_then(Value::as_array);
    let is_ours = |entry: &&Value| {
        entry["manager"] == names::MANAGER && entry["operation"] == "Apply" && entry.get("subresource").is_none()
    };
    let Some(ours) = entries.and_then(|entries| entries.iter().find(is_ours)) else { return Ok(None) };
    let mut partial = Value::Null;
    for pointer in pointers {
        let walk = Walk { pointer, declared, live, fields: &ours["fieldsV1"] };
        if let Some((path, value)) = walk.owned()? {
            insert(&mut partial, &path, value);
        }
    }
    if partial.is_null() {
        return Ok(None);
    }
    let metadata = &live["metadata"];
    partial["apiVersion"] = live["apiVersion"].clone();
    partial["kind"] = live["kind"].clone();
    partial["metadata"]["name"] = metadata["name"].clone();
    // What has changed meanwhile must not be set back to what it was.
    if let Some(version) = metadata.get("resourceVersion") {
        partial["metadata"]["resourceVersion"] = version.clone();
    }
    if let Some(namespace) = metadata.get("namespace") {
        partial["metadata"]["namespace"] = namespace.clone();
    }
    Ok(Some(partial))
}

/// A step to a field, or to the item of a list that has these keys.
enum Step {
    Field(String),
    Item(Map<String, Value>),
}

struct Walk<'a> {
    pointer: &'a str,
    declared: &'a Value,
    live: &'a Value,
    fields: &'a Value,
}

impl Walk<'_> {
    /// The way to the field and its live value, where gitward owns it.
    fn owned(self) -> Result<Option<(Vec<Step>, Value)>, CannotLeave> {
        let (mut declared, mut live, mut fields) = (self.declared, self.live, self.fields);
        let mut path = Vec::new();
        for step in steps(self.pointer) {
            if let Some(item) = declared.as_array().map(|items| step.parse::<usize>().ok().and_then(|i| items.get(i))) {
                let Some(item) = item else { return Ok(None) };
                let Some((keys, below)) = keys_of(item, fields) else {
                    let owned =
                        fields.as_object().is_some_and(|fields| !fields.keys().any(|key| key.starts_with("k:")));
                    return if owned { Err(CannotLeave(self.pointer.to_owned())) } else { Ok(None) };
                };
                let has_keys = |one: &&Value| keys.iter().all(|(name, value)| one.get(name) == Some(value));
                let Some(found) = live.as_array().and_then(|items| items.iter().find(has_keys)) else {
                    return Ok(None);
                };
                (declared, live, fields) = (item, found, below);
                path.push(Step::Item(keys));
            } else {
                let (Some(owned), Some(value)) = (fields.get(format!("f:{step}")), live.get(&step)) else {
                    return Ok(None);
                };
                (declared, live, fields) = (&declared[step.as_str()], value, owned);
                path.push(Step::Field(step));
            }
        }
        Ok(Some((path, live.clone())))
    }
}

/// The keys of an item of a list, as gitward owns it, and what it owns of it.
fn keys_of<'a>(item: &Value, fields: &'a Value) -> Option<(Map<String, Value>, &'a Value)> {
    let of_items = || {
        fields.as_object().into_iter().flatten().filter_map(|(key, below)| {
            let Some(Segment::Item(names)) = Segment::parse(key) else { return None };
            let keys = names.iter().filter_map(|(name, text)| Some((name.clone(), serde_json::from_str(text).ok()?)));
            Some((keys.collect::<Map<String, Value>>(), below))
        })
    };
    let all = |keys: &Map<String, Value>| keys.iter().all(|(name, value)| item.get(name) == Some(value));
    // A key with a default may be left out.
    let fits = |keys: &Map<String, Value>| keys.iter().all(|(name, value)| item.get(name).is_none_or(|is| is == value));
    of_items().find(|(keys, _)| all(keys)).or_else(|| of_items().find(|(keys, _)| fits(keys)))
}

fn insert(into: &mut Value, path: &[Step], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        *into = value;
        return;
    };
    match first {
        Step::Field(name) => insert(&mut into[name.as_str()], rest, value),
        Step::Item(keys) => {
            if !into.is_array() {
                *into = json!([]);
            }
            let Some(items) = into.as_array_mut() else { return };
            let has_keys = |one: &Value| keys.iter().all(|(name, value)| one.get(name) == Some(value));
            let at = items.iter().position(has_keys).unwrap_or_else(|| {
                items.push(Value::Object(keys.clone()));
                items.len() - 1
            });
            insert(&mut items[at], rest, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointers(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn live(fields: Value, spec: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec, "metadata": {"name": "web", "namespace": "shop",
            "managedFields": [{"manager": "gitward", "operation": "Apply", "fieldsV1": fields}]}})
    }

    #[test]
    fn a_field_is_taken_out_with_the_maps_that_it_leaves_empty() {
        let mut object = json!({"metadata": {"annotations": {"a/b": "1"}}, "spec": {"replicas": 1, "x": {}}});
        leave(&mut object, &pointers(&["/metadata/annotations/a~1b", "/spec/replicas", "/spec/none/at"]));
        assert_eq!(object, json!({"spec": {"x": {}}}));
    }

    #[test]
    fn what_gitward_owns_is_handed_over_with_its_live_value() {
        let live = live(json!({"f:spec": {"f:replicas": {}}}), json!({"replicas": 8}));
        let partial =
            handover(&live, &json!({"spec": {"replicas": 3}}), &pointers(&["/spec/replicas"])).unwrap().unwrap();
        let expected = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"replicas": 8}});
        assert_eq!(partial, expected);
        let theirs = super::tests::live(json!({"f:spec": {"f:paused": {}}}), json!({"replicas": 8}));
        assert_eq!(handover(&theirs, &json!({"spec": {"replicas": 3}}), &pointers(&["/spec/replicas"])), Ok(None));
    }

    #[test]
    fn an_item_of_a_list_is_found_by_its_keys() {
        let fields =
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:image": {}}}}});
        let live = live(fields, json!({"containers": [{"name": "injected"}, {"name": "b", "image": "live"}]}));
        let declared = json!({"spec": {"containers": [{"name": "b", "image": "git"}]}});
        let partial = handover(&live, &declared, &pointers(&["/spec/containers/0/image"])).unwrap().unwrap();
        assert_eq!(partial["spec"], json!({"containers": [{"name": "b", "image": "live"}]}));
    }

    #[test]
    fn an_item_is_meant_by_its_place_in_the_declaration() {
        let declared = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let path = |name: &str| {
            let keys =
                [r#"f:spec"#.to_owned(), "f:containers".into(), format!(r#"k:{{"name":"{name}"}}"#), "f:image".into()];
            keys.iter().fold(Path::default(), |path, key| path.child(Segment::parse(key).unwrap()))
        };
        let second = pointers(&["/spec/containers/1/image"]);
        assert!(is_left(&path("b"), &second, &declared) && !is_left(&path("a"), &second, &declared));
        assert!(is_left(&path("a"), &pointers(&["/spec/containers"]), &declared));
        assert!(is_left(&path("a"), &pointers(&["/spec/containers/*/image"]), &declared));
        assert!(!is_left(&Path::of_fields(&["spec"]), &second, &declared));
    }

    #[test]
    fn a_part_of_a_list_without_keys_cannot_be_left() {
        let live = live(json!({"f:spec": {"f:args": {}}}), json!({"args": ["a", "b"]}));
        let error = handover(&live, &json!({"spec": {"args": ["a"]}}), &pointers(&["/spec/args/0"])).unwrap_err();
        assert!(error.to_string().starts_with("/spec/args/0 leads into a list that has no keys"));
    }
}
