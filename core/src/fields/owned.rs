//! The values of what a manager owns, as text: equal texts, equal values.

use super::{Object, Segment};
use crate::json::Json;

/// Feeds each path that an entry of `managedFields` owns, and the value that stands there, to `feed`. What is owned and not
/// there is fed as well: its loss is a difference.
pub fn owned_values<'a>(object: &Object<'a>, fields: Json<'a>, feed: &mut impl FnMut(&str)) {
    for (key, below) in fields.members() {
        match key.strip_prefix("f:") {
            Some("metadata") => {
                for (key, below) in below.members() {
                    feed(&key);
                    walk(below, key.strip_prefix("f:").and_then(|name| object.meta.parts.get(name)).copied(), feed);
                }
            }
            Some(name) => {
                feed(&key);
                walk(below, object.parts.get(name).copied(), feed);
            }
            None => {}
        }
    }
}

fn walk<'a>(fields: Json<'a>, value: Option<Json<'a>>, feed: &mut impl FnMut(&str)) {
    let members = fields.members();
    if members.keys().all(|key| key == ".") {
        return feed(value.map_or("", Json::text));
    }
    let items = value
        .filter(|_| members.keys().any(|key| !key.starts_with("f:")))
        .map(|value| value.items())
        .unwrap_or_default();
    for (key, below) in members {
        feed(&key);
        let part = match Segment::parse(&key) {
            Some(Segment::Field(name)) => value.and_then(|value| value.get(&name)),
            Some(Segment::Item(keys)) => {
                let names: Vec<String> = keys.iter().map(|(name, _)| name.clone()).collect();
                let wanted = Segment::Item(keys);
                items.iter().find(|item| Segment::of_item(**item, &names) == wanted).copied()
            }
            Some(Segment::Member(member)) => {
                items.iter().find(|item| item.value().is_some_and(|value| format!("{value}") == member)).copied()
            }
            Some(Segment::Index(index)) => items.get(index).copied(),
            // ".": the map or list itself.
            None => {
                feed(if value.is_some() { "." } else { "" });
                continue;
            }
        };
        walk(below, part, feed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fed(object: &Value, fields: &Value) -> Vec<String> {
        let (object, fields) = (object.to_string(), fields.to_string());
        let mut out = Vec::new();
        let fields: Json<'_> = serde_json::from_str(&fields).unwrap();
        owned_values(&serde_json::from_str(&object).unwrap(), fields, &mut |text| out.push(text.to_owned()));
        out
    }

    #[test]
    fn only_what_is_owned_counts() {
        let fields = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {},
            "f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:image": {}}}, "f:set": {"v:\"m\"": {}}}});
        let object = json!({"metadata": {"labels": {"a": "1", "b": "1"}},
            "spec": {"replicas": 3, "paused": true, "set": ["m"], "list": [{"name": "y"}, {"name": "x", "image": "i", "tty": true}]}});
        let before = fed(&object, &fields);
        let mut undeclared = object.clone();
        undeclared["metadata"]["labels"]["b"] = json!("2");
        undeclared["spec"]["paused"] = json!(false);
        undeclared["spec"]["list"][1]["tty"] = json!(false);
        assert_eq!(fed(&undeclared, &fields), before);
        for (pointer, value) in [
            ("/metadata/labels/a", json!("2")),
            ("/spec/replicas", json!(4)),
            ("/spec/list/1/image", json!("j")),
            ("/spec/list/1/name", json!("z")),
            ("/spec/set", json!([])),
        ] {
            let mut changed = object.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            assert_ne!(fed(&changed, &fields), before, "{pointer}");
        }
    }
}
