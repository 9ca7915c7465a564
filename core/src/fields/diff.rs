//! What differs between two versions of an object, at the finest place that has a name of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{FieldSet, Object, Path, Segment};
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

/// The differences from `old` to `new` that somebody made: what the API server sets by itself is none.
///
/// `shape` is everything that any manager owns in either of them: it tells which maps and lists are atomic and by
/// which keys a list is merged. A list that no manager knows is compared as a whole, and so are sets and the lists of
/// a status, whose items have no life of their own. Labels and annotations are always compared key by key.
pub fn diff<'a>(old: &Object<'a>, new: &Object<'a>, shape: &FieldSet<'_>) -> Vec<Change<'a>> {
    let mut walk = Walk { out: Vec::new() };
    let root = Path::default();
    // The parts of an object and of its metadata are never atomic: nobody has to be asked.
    walk.members(&root, &old.parts, &new.parts, &Shape::Of(shape, &root));
    let metadata = root.child(Segment::Field("metadata".to_owned()));
    walk.members(&metadata, &old.meta.parts, &new.meta.parts, &Shape::Of(shape, &metadata));
    walk.out
}

/// The part of metadata that the API server keeps by itself, and an annotation that its DaemonSets have.
const SERVER_MANAGED: [&str; 3] = ["generation", "managedFields", "resourceVersion"];
const GENERATION: &str = "deprecated.daemonset.template.generation";

fn is_server_managed(path: &Path, key: &str) -> bool {
    match path.segments() {
        [Segment::Field(metadata)] => metadata == "metadata" && SERVER_MANAGED.contains(&key),
        [Segment::Field(_), Segment::Field(_)] => key == GENERATION && path.is_under(&["metadata", "annotations"]),
        _ => false,
    }
}

/// What managers own at a path: found only where it is asked, since most changes need no more than the path.
enum Shape<'s, 'f> {
    Of(&'s FieldSet<'f>, &'s Path),
    Found(FieldSet<'f>),
}

impl<'f> Shape<'_, 'f> {
    fn set(&self) -> FieldSet<'f> {
        match self {
            Shape::Of(root, path) => path.segments().iter().fold((*root).clone(), |set, step| set.child(step)),
            Shape::Found(set) => set.clone(),
        }
    }
}

struct Walk<'a> {
    out: Vec<Change<'a>>,
}

impl<'a> Walk<'a> {
    fn value(&mut self, path: Path, old: Option<Json<'a>>, new: Option<Json<'a>>, shape: &Shape<'_, '_>) {
        if is_key_by_key(&path) && [old, new].into_iter().flatten().all(Json::is_object) {
            let members = |json: Option<Json<'a>>| json.map(Json::members).unwrap_or_default();
            return self.members(&path, &members(old), &members(new), shape);
        }
        let (Some(a), Some(b)) = (old, new) else {
            return self.out.push(Change { path, before: old, after: new });
        };
        if (path.segments().len() < DEEPEST && self.inside(&path, a, b, shape)) || a.same(b) {
            return;
        }
        self.out.push(Change { path, before: old, after: new });
    }

    /// Compares what is inside of two maps or two lists. `false` where they are to be compared as a whole.
    fn inside(&mut self, path: &Path, old: Json<'a>, new: Json<'a>, shape: &Shape<'_, '_>) -> bool {
        let (maps, lists) = (old.is_object() && new.is_object(), old.is_array() && new.is_array());
        if !maps && !lists {
            return false;
        }
        // The parts of an object are not atomic either, such as its `spec`.
        if maps && path.segments().len() == 1 {
            self.members(path, &old.members(), &new.members(), shape);
            return true;
        }
        let set = shape.set();
        if set.is_leaf() {
            return false;
        }
        let shape = Shape::Found(set);
        if maps {
            self.members(path, &old.members(), &new.members(), &shape);
            return true;
        }
        self.lists(path, old, new, &shape)
    }

    fn members(&mut self, path: &Path, old: &Members<'a>, new: &Members<'a>, shape: &Shape<'_, '_>) {
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let of = |members: &Members<'a>| members.get(key.as_ref()).copied();
            let (a, b) = (of(old), of(new));
            if a == b || is_server_managed(path, key) {
                continue;
            }
            let segment = Segment::Field(key.clone().into_owned());
            let child = path.child(segment.clone());
            match shape {
                Shape::Of(root, _) => self.value(child.clone(), a, b, &Shape::Of(root, &child)),
                Shape::Found(set) => self.value(child, a, b, &Shape::Found(set.child(&segment))),
            }
        }
    }

    /// Compares two lists item by item. `false` where that is not possible, or where only their order differs.
    fn lists(&mut self, path: &Path, old: Json<'a>, new: Json<'a>, shape: &Shape<'_, '_>) -> bool {
        let set = shape.set();
        if path.is_under(&["status"]) {
            return false;
        }
        let Some(keys) = set.item_keys() else { return false };
        let Some((a, b)) = name_items(old, &keys).zip(name_items(new, &keys)) else { return false };
        let before = self.out.len();
        let names: BTreeSet<&Segment> = a.keys().chain(b.keys()).collect();
        for name in names {
            let (a, b) = (a.get(name).copied(), b.get(name).copied());
            if a != b {
                self.value(path.child(name.clone()), a, b, &Shape::Found(set.child(name)));
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
        let raw = [old, new, shape].map(|value| to_raw_value(value).unwrap());
        let [old, new, shape] = raw.each_ref();
        let shape = FieldSet::of(Json::from(&**shape));
        let [old, new] = [old, new].map(|json| Object::read(Json::from(&**json)).unwrap());
        diff(&old, &new, &shape).iter().map(|c| c.path.to_string()).collect()
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
        let shape = json!({"f:spec": {"f:selector": {}, "f:args": {}}});
        let old = json!({"spec": {"selector": {"a": "1"}, "args": [1, 2]}});
        let new = json!({"spec": {"selector": {"b": "1"}, "args": [2, 1]}});
        assert_eq!(paths(&old, &new, &shape), ["/spec/args", "/spec/selector"]);
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
