//! Whether an object says something of every field of a set. Then a forced apply of it takes them all, and who owned them before
//! owns none of them any more.

use serde_json::Value;

use super::Segment;

/// Whether `object` has a value at each path of a `fieldsV1` set. Keys that the API server fills in itself, such as the protocol of
/// a port, are not known here: what they lead to counts as missing.
pub fn declares(object: &Value, fields: &Value) -> bool {
    let Some(members) = fields.as_object() else { return false };
    members.iter().all(|(key, below)| {
        let has_part = || part(object, &Segment::parse(key)?).map(|part| declares(part, below));
        key == "." || has_part().unwrap_or(false)
    })
}

fn part<'a>(value: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match segment {
        Segment::Field(name) => value.get(name),
        Segment::Index(position) => value.get(position),
        Segment::Member(text) => value.as_array()?.iter().find(|member| is(member, text)),
        Segment::Item(keys) => {
            let has = |item: &Value, name: &str, text: &str| item.get(name).is_some_and(|key| is(key, text));
            value.as_array()?.iter().find(|item| keys.iter().all(|(name, text)| has(item, name, text)))
        }
    }
}

fn is(value: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|named| named == *value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_changed_value_is_declared_and_an_addition_is_not() {
        let object = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 2, "finalizers": ["x"],
            "containers": [{"name": "web", "image": "web:1"}]}});
        let declared = |fields| declares(&object, &fields);
        assert!(declared(json!({"f:spec": {"f:replicas": {}, "f:finalizers": {"v:\"x\"": {}},
            "f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}}}}})));
        assert!(declared(json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}})));
        for added in [
            json!({"f:metadata": {"f:labels": {"f:b": {}}}}),
            json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}),
            json!({"f:spec": {"f:finalizers": {"v:\"y\"": {}}}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"side\"}": {".": {}, "f:name": {}}}}}),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:command": {}}}}}),
        ] {
            assert!(!declared(added.clone()), "{added}");
        }
    }
}
