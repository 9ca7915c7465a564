//! What differs between two versions of an object, at the finest place that has a name of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{FieldSet, Path, Segment};
use crate::json::{Json, Members};

/// How deep two objects are compared. Below, a difference is one change: a stack has an end, and an object that is
/// nested deeper is none of Kubernetes' own.
const DEEPEST: usize = 64;

/// One difference. Where a whole map or list is new or gone, it is one change at the topmost path.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'a> {
    /// Where.
    pub path: Path,
    /// The value before; `None` where there was none.
    pub before: Option<Json<'a>>,
    /// The value after; `None` where there is none.
    pub after: Option<Json<'a>>,
}

/// The differences from `old` to `new`.
///
/// `shape` is everything that any manager owns in either of them: it tells which maps and lists are atomic and by
/// which keys a list is merged. A list that no manager knows is compared as a whole, and so are sets and the lists of
/// a status, whose items have no life of their own. Labels and annotations are always compared key by key.
pub fn diff<'a>(old: Json<'a>, new: Json<'a>, shape: &FieldSet<'_>) -> Vec<Change<'a>> {
    let mut walk = Walk { out: Vec::new() };
    walk.value(Path::default(), Some(old), Some(new), shape);
    walk.out
}

struct Walk<'a> {
    out: Vec<Change<'a>>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, path: Path, old: Option<Json<'a>>, new: Option<Json<'a>>, shape: &FieldSet<'_>) {
        if old == new {
            return;
        }
        let whole = path.segments().len() >= DEEPEST || shape.is_leaf();
        match (old, new) {
            (Some(a), Some(b)) if !whole && a.is_object() && b.is_object() => self.maps(&path, Some(a), Some(b), shape),
            (None, Some(b)) if b.is_object() && is_key_by_key(&path) => self.maps(&path, None, Some(b), shape),
            (Some(a), None) if a.is_object() && is_key_by_key(&path) => self.maps(&path, Some(a), None, shape),
            (Some(a), Some(b)) if !whole && a.is_array() && b.is_array() && self.lists(&path, a, b, shape) => {}
            (Some(a), Some(b)) if a.same(b) => {}
            (before, after) => self.out.push(Change { path, before, after }),
        }
    }

    fn maps(&mut self, path: &Path, old: Option<Json<'a>>, new: Option<Json<'a>>, shape: &FieldSet<'_>) {
        let (old, new) = (old.map(Json::members).unwrap_or_default(), new.map(Json::members).unwrap_or_default());
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let of = |members: &Members<'a>| members.get(key.as_ref()).copied();
            let (a, b) = (of(&old), of(&new));
            if a != b {
                let segment = Segment::Field(key.clone().into_owned());
                let below = shape.child(&segment);
                self.value(path.child(segment), a, b, &below);
            }
        }
    }

    /// Compares two lists item by item. `false` where that is not possible, or where only their order differs.
    fn lists(&mut self, path: &Path, old: Json<'a>, new: Json<'a>, shape: &FieldSet<'_>) -> bool {
        if path.is_under(&["status"]) {
            return false;
        }
        let Some(keys) = shape.item_keys() else { return false };
        let Some((a, b)) = name_items(old, &keys).zip(name_items(new, &keys)) else { return false };
        let before = self.out.len();
        let names: BTreeSet<&Segment> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (a, b) = (a.get(name).copied(), b.get(name).copied());
            if a != b {
                self.value(path.child(name.clone()), a, b, &shape.child(name));
            }
        }
        self.out.len() > before
    }
}

/// Whether the path is that of labels or annotations, of the object or of a template in it.
fn is_key_by_key(path: &Path) -> bool {
    let [.., Segment::Field(parent), Segment::Field(name)] = path.segments() else { return false };
    parent == "metadata" && (name == "labels" || name == "annotations")
}

/// The items by their names. `None` where two items have the same name.
fn name_items<'a>(list: Json<'a>, keys: &[String]) -> Option<BTreeMap<Segment, Json<'a>>> {
    let mut named = BTreeMap::new();
    for item in list.items() {
        if named.insert(Segment::of_item(item, keys), item).is_some() {
            return None;
        }
    }
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    fn paths(old: &Value, new: &Value, shape: &Value) -> Vec<String> {
        let [old, new, shape] = [old, new, shape].map(|value| to_raw_value(value).unwrap());
        let shape = FieldSet::of(Json::from(&*shape));
        diff(Json::from(&*old), Json::from(&*new), &shape).iter().map(|c| c.path.to_string()).collect()
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

    #[test]
    fn what_is_nested_too_deeply_is_one_change() {
        let deep = |leaf: u32| (0..1000).fold(json!(leaf), |inner, _| json!({ "a": inner }));
        let changed = paths(&deep(1), &deep(2), &json!({}));
        assert_eq!(changed, ["/a".repeat(DEEPEST)]);
    }
}
