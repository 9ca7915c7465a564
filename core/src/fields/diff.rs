//! What differs between two versions of an object, at the finest place that has a name of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{FieldSet, Path, Segment};

/// One difference. Where a whole map or list is new or gone, it is one change at the topmost path.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'a> {
    /// Where.
    pub path: Path,
    /// The value before; `None` where there was none.
    pub before: Option<&'a Value>,
    /// The value after; `None` where there is none.
    pub after: Option<&'a Value>,
}

/// The differences from `old` to `new`.
///
/// `shape` is everything that any manager owns in either of them: it tells which maps and lists are atomic and by
/// which keys a list is merged. A list that no manager knows is compared as a whole, and so are sets and the lists of
/// a status, whose items have no life of their own. Labels and annotations are always compared key by key.
pub fn diff<'a>(old: &'a Value, new: &'a Value, shape: &FieldSet) -> Vec<Change<'a>> {
    let mut out = Vec::new();
    walk(Path::default(), Some(old), Some(new), Some(shape), &mut out);
    out
}

fn walk<'a>(
    path: Path,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    shape: Option<&FieldSet>,
    out: &mut Vec<Change<'a>>,
) {
    if old == new {
        return;
    }
    let atomic = shape.is_some_and(FieldSet::is_leaf);
    match (old, new) {
        (Some(Value::Object(a)), Some(Value::Object(b))) if !atomic => maps(&path, Some(a), Some(b), shape, out),
        (None, Some(Value::Object(b))) if is_key_by_key(&path) => maps(&path, None, Some(b), None, out),
        (Some(Value::Object(a)), None) if is_key_by_key(&path) => maps(&path, Some(a), None, None, out),
        (Some(Value::Array(a)), Some(Value::Array(b))) if !atomic => {
            if !lists(&path, a, b, shape, out) {
                out.push(Change { path, before: old, after: new });
            }
        }
        _ => out.push(Change { path, before: old, after: new }),
    }
}

/// Whether the path is that of labels or annotations, of the object or of a template in it.
fn is_key_by_key(path: &Path) -> bool {
    let [.., Segment::Field(parent), Segment::Field(name)] = path.segments() else { return false };
    parent == "metadata" && (name == "labels" || name == "annotations")
}

fn maps<'a>(
    path: &Path,
    old: Option<&'a Map<String, Value>>,
    new: Option<&'a Map<String, Value>>,
    shape: Option<&FieldSet>,
    out: &mut Vec<Change<'a>>,
) {
    let keys: BTreeSet<&String> = [old, new].into_iter().flatten().flat_map(Map::keys).collect();
    for key in keys {
        let (a, b) = (old.and_then(|map| map.get(key)), new.and_then(|map| map.get(key)));
        if a != b {
            let segment = Segment::Field(key.clone());
            let below = shape.and_then(|s| s.child(&segment));
            walk(path.child(segment), a, b, below, out);
        }
    }
}

/// Compares two lists item by item. `false` where that is not possible, or where only their order differs.
fn lists<'a>(
    path: &Path,
    old: &'a [Value],
    new: &'a [Value],
    shape: Option<&FieldSet>,
    out: &mut Vec<Change<'a>>,
) -> bool {
    let Some(shape) = shape.filter(|_| !path.is_under(&["status"])) else { return false };
    let Some((a, b)) = name_items(old, shape).zip(name_items(new, shape)) else { return false };
    let before = out.len();
    let names: BTreeSet<&Segment> = a.keys().chain(b.keys()).collect();
    for name in names {
        walk(path.child(name.clone()), a.get(name).copied(), b.get(name).copied(), shape.child(name), out);
    }
    out.len() > before
}

/// The items by their names. `None` where the list is not merged by key, or two items have the same name.
fn name_items<'a>(list: &'a [Value], shape: &FieldSet) -> Option<BTreeMap<Segment, &'a Value>> {
    let keys = shape.item_keys()?;
    let mut named = BTreeMap::new();
    for item in list {
        if named.insert(Segment::of_item(item, keys.iter().copied()), item).is_some() {
            return None;
        }
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(old: &Value, new: &Value, shape: &Value) -> Vec<String> {
        let shape = FieldSet::parse(shape).unwrap();
        diff(old, new, &shape).iter().map(|c| c.path.to_string()).collect()
    }

    #[test]
    fn a_new_map_is_one_change_at_its_topmost_path() {
        assert_eq!(paths(&json!({}), &json!({"a": {"b": {"c": 1}}}), &json!({})), ["/a"]);
    }

    #[test]
    fn items_of_a_list_merged_by_key_are_compared_one_by_one() {
        let shape = json!({"f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}, "f:value": {}}}});
        let old = json!({"env": [{"name": "A", "value": "1"}]});
        let new = json!({"env": [{"name": "B", "value": "1"}, {"name": "A", "value": "2"}]});
        assert_eq!(paths(&old, &new, &shape), ["/env[name=A]/value", "/env[name=B]"]);
    }

    #[test]
    fn another_order_is_a_change_of_the_list() {
        let shape = json!({"f:env": {"k:{\"name\":\"A\"}": {}}});
        let old = json!({"env": [{"name": "A"}, {"name": "B"}]});
        let new = json!({"env": [{"name": "B"}, {"name": "A"}]});
        assert_eq!(paths(&old, &new, &shape), ["/env"]);
    }

    #[test]
    fn two_items_of_one_name_are_compared_with_their_list() {
        let shape = json!({"f:env": {"k:{\"name\":\"A\"}": {}}});
        let old = json!({"env": [{"name": "A"}]});
        let new = json!({"env": [{"name": "A"}, {"name": "A"}]});
        assert_eq!(paths(&old, &new, &shape), ["/env"]);
    }

    #[test]
    fn an_atomic_map_or_list_is_one_change() {
        let shape = json!({"f:selector": {}, "f:args": {}});
        let old = json!({"selector": {"a": "1"}, "args": [1, 2]});
        let new = json!({"selector": {"b": "1"}, "args": [2, 1]});
        assert_eq!(paths(&old, &new, &shape), ["/args", "/selector"]);
    }

    #[test]
    fn a_set_is_compared_as_a_whole() {
        let shape = json!({"f:finalizers": {".": {}, "v:\"a\"": {}}});
        let old = json!({"finalizers": ["a"]});
        let new = json!({"finalizers": ["a", "b"]});
        assert_eq!(paths(&old, &new, &shape), ["/finalizers"]);
    }

    #[test]
    fn labels_are_compared_key_by_key_even_where_there_were_none() {
        let new = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
        assert_eq!(paths(&json!({"metadata": {}}), &new, &json!({})), ["/metadata/labels/a", "/metadata/labels/b"]);
    }
}
