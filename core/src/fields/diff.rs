//! What differs between two versions of an object, at the finest place that has a name of its own.

use std::collections::BTreeSet;

use super::{Object, Path, Segment, Set};
use crate::json::{Json, Members};

/// How deep two objects are compared. Below, a difference is one change: a stack has an end, and an object that is
/// nested deeper is none of Kubernetes' own.
const DEEPEST: usize = 64;

/// One difference. Where a whole map or list is new or gone, it is one change at the topmost path.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<'a> {
    /// Where. Empty where more of the object's parts differ than are collected.
    pub path: Path,
    /// The value before; `None` where there was none.
    pub before: Option<Json<'a>>,
    /// The value after; `None` where there is none.
    pub after: Option<Json<'a>>,
}

/// The work that one comparison may take. Counters and no clock: the same input always gives the same answer.
///
/// Where a bound is reached, what is left is compared as a whole: the map or list is one change, so that nothing is missed.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Bytes of objects and of their managers' sets that are read while levels are opened. A byte counts once per level
    /// above it.
    pub bytes: usize,
    /// Members of maps and items of lists that are compared, counted in both versions.
    pub items: usize,
    /// Changes that are collected.
    pub changes: usize,
}

impl Default for Budget {
    /// More than any change that people or controllers make: objects are at most some 2 MB, and the largest lists of real
    /// objects have a few hundred items.
    fn default() -> Budget {
        Budget { bytes: 32 << 20, items: 8192, changes: 1024 }
    }
}

/// The differences from `old` to `new` that somebody made: what the API server sets by itself is none.
///
/// `shape` is everything that any manager owns in either of them: it tells which maps and lists are atomic and by
/// which keys a list is merged. A list that no manager knows is compared as a whole, and so are sets and the lists of
/// a status, whose items have no life of their own. Labels and annotations are always compared key by key. Another order of
/// items is a change of the list, whatever else changes.
pub fn diff<'a>(old: &Object<'a>, new: &Object<'a>, shape: &Set<'_>) -> Vec<Change<'a>> {
    diff_within(old, new, shape, Budget::default())
}

/// The same with bounds of the caller's choice.
pub fn diff_within<'a>(old: &Object<'a>, new: &Object<'a>, shape: &Set<'_>, budget: Budget) -> Vec<Change<'a>> {
    let mut walk = Walk { out: Vec::new(), path: Vec::new(), budget };
    // The parts of an object and of its metadata are never atomic: nobody has to be asked.
    walk.parts(&old.parts, &new.parts, shape);
    walk.path.push(Segment::Field("metadata".to_owned()));
    walk.parts(&old.meta.parts, &new.meta.parts, shape);
    walk.out
}

/// The part of metadata that the API server keeps by itself, and an annotation that its DaemonSets have.
const SERVER_MANAGED: [&str; 3] = ["generation", "managedFields", "resourceVersion"];
const GENERATION: &str = "deprecated.daemonset.template.generation";

fn is_server_managed(path: &[Segment], key: &str) -> bool {
    match path {
        [Segment::Field(metadata)] => metadata == "metadata" && SERVER_MANAGED.contains(&key),
        [Segment::Field(metadata), Segment::Field(annotations)] => {
            key == GENERATION && metadata == "metadata" && annotations == "annotations"
        }
        _ => false,
    }
}

/// What managers own at a path: found only where it is asked, since most changes need no more than the path.
#[derive(Clone, Copy)]
enum Shape<'s, 'f> {
    /// To be found below this root, by the path.
    Above(&'s Set<'f>),
    /// Found; `None` where nobody owns anything there.
    Found(Option<&'s Set<'f>>),
}

impl<'s, 'f> Shape<'s, 'f> {
    fn set(self, path: &[Segment]) -> Option<&'s Set<'f>> {
        match self {
            Shape::Above(root) => path.iter().try_fold(root, |set, step| set.child(step)),
            Shape::Found(set) => set,
        }
    }

    fn child(self, segment: &Segment) -> Shape<'s, 'f> {
        match self {
            Shape::Above(root) => Shape::Above(root),
            Shape::Found(set) => Shape::Found(set.and_then(|set| set.child(segment))),
        }
    }
}

struct Walk<'a> {
    out: Vec<Change<'a>>,
    path: Vec<Segment>,
    /// What is left of it; of the changes, how many there may be.
    budget: Budget,
}

impl<'a> Walk<'a> {
    fn push(&mut self, before: Option<Json<'a>>, after: Option<Json<'a>>) {
        let path = self.path.iter().cloned().collect();
        self.out.push(Change { path, before, after });
    }

    /// Compares the parts of two objects, or of their metadata.
    fn parts(&mut self, old: &Members<'a>, new: &Members<'a>, shape: &Set<'_>) {
        let begin = self.out.len();
        if !self.members(old, new, &Shape::Above(shape)) {
            self.out.truncate(begin);
            self.push(None, None);
        }
    }

    /// Compares the values at the path.
    fn value(&mut self, old: Option<Json<'a>>, new: Option<Json<'a>>, shape: Shape<'_, '_>) {
        let begin = self.out.len();
        let inside = match (old, new) {
            _ if is_key_by_key(&self.path) && [old, new].into_iter().flatten().all(Json::is_object) => {
                let members = |json: Option<Json<'a>>| json.map(Json::members).unwrap_or_default();
                Some(self.members(&members(old), &members(new), &shape))
            }
            (Some(old), Some(new)) if self.path.len() < DEEPEST => self.inside(old, new, shape),
            _ => None,
        };
        match (inside, old.zip(new)) {
            (Some(true), _) => {}
            (None, Some((old, new))) if old.same(new) => {}
            _ => {
                self.out.truncate(begin);
                self.push(old, new);
            }
        }
    }

    /// Compares what is inside of two maps or two lists. `None` where they are to be compared as a whole, `false` where
    /// more differs than is collected.
    fn inside(&mut self, old: Json<'a>, new: Json<'a>, shape: Shape<'_, '_>) -> Option<bool> {
        let (maps, lists) = (old.is_object() && new.is_object(), old.is_array() && new.is_array());
        if !(maps || lists) || !self.spend_bytes(old.text().len() + new.text().len()) {
            return None;
        }
        // The parts of an object are not atomic either, such as its `spec`.
        if maps && self.path.len() == 1 {
            return Some(self.members(&old.members(), &new.members(), &shape));
        }
        let set = shape.set(&self.path);
        if let Some(set) = set
            && (!self.spend_bytes(set.text_len()) || set.is_leaf())
        {
            return None;
        }
        if maps {
            return Some(self.members(&old.members(), &new.members(), &Shape::Found(set)));
        }
        self.lists(old, new, set?)
    }

    /// Compares two maps member by member. `false` where more differs than is collected.
    fn members(&mut self, old: &Members<'a>, new: &Members<'a>, shape: &Shape<'_, '_>) -> bool {
        if !self.spend_items(old.len() + new.len()) {
            return false;
        }
        let begin = self.out.len();
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let of = |members: &Members<'a>| members.get(key.as_ref()).copied();
            let (a, b) = (of(old), of(new));
            if a == b || is_server_managed(&self.path, key) {
                continue;
            }
            let segment = Segment::Field(key.clone().into_owned());
            let below = shape.child(&segment);
            self.path.push(segment);
            self.value(a, b, below);
            self.path.pop();
            if self.out.len() - begin > self.budget.changes {
                return false;
            }
        }
        true
    }

    /// Compares two lists item by item, and their order. `None` where that is not possible.
    fn lists(&mut self, old: Json<'a>, new: Json<'a>, set: &Set<'_>) -> Option<bool> {
        if matches!(self.path.first(), Some(Segment::Field(name)) if name == "status") {
            return None;
        }
        let keys = set.item_keys()?;
        let (old_items, new_items) = (old.items(), new.items());
        if !self.spend_items(old_items.len() + new_items.len()) {
            return None;
        }
        let (a, b) = (name_items(&old_items, &keys)?, name_items(&new_items, &keys)?);
        let begin = self.out.len();
        let pairs = pair(a, b);
        for (name, old, new) in &pairs {
            let (a, b) = (old.map(|(_, item)| item), new.map(|(_, item)| item));
            if a != b {
                self.path.push(name.clone());
                self.value(a, b, Shape::Found(set.child(name)));
                self.path.pop();
            }
            if self.out.len() - begin > self.budget.changes {
                return Some(false);
            }
        }
        if is_reordered(&pairs) {
            self.push(Some(old), Some(new));
        }
        Some(true)
    }

    fn spend_bytes(&mut self, bytes: usize) -> bool {
        let left = self.budget.bytes.checked_sub(bytes);
        self.budget.bytes = left.unwrap_or(self.budget.bytes);
        left.is_some()
    }

    fn spend_items(&mut self, items: usize) -> bool {
        let left = self.budget.items.checked_sub(items);
        self.budget.items = left.unwrap_or(self.budget.items);
        left.is_some()
    }
}

/// Whether the path is that of labels or annotations, of the object or of a template in it.
fn is_key_by_key(path: &[Segment]) -> bool {
    let [.., Segment::Field(parent), Segment::Field(name)] = path else { return false };
    parent == "metadata" && (name == "labels" || name == "annotations")
}

/// An item of a list, with its position.
type Item<'a> = (usize, Json<'a>);

/// The items by their names, in order of these. `None` where two items have the same name.
fn name_items<'a>(items: &[Json<'a>], keys: &[String]) -> Option<Vec<(Segment, Item<'a>)>> {
    let items = items.iter().enumerate();
    let mut named: Vec<_> = items.map(|(at, item)| (Segment::of_item(*item, keys), (at, *item))).collect();
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    (!named.windows(2).any(|pair| pair[0].0 == pair[1].0)).then_some(named)
}

/// The items of two lists by their names: each name once, with the item of either list.
fn pair<'a>(
    old: Vec<(Segment, Item<'a>)>,
    new: Vec<(Segment, Item<'a>)>,
) -> Vec<(Segment, Option<Item<'a>>, Option<Item<'a>>)> {
    let mut pairs: Vec<_> = old.into_iter().map(|(name, item)| (name, Some(item), None)).collect();
    let many = pairs.len();
    for (name, item) in new {
        match pairs[..many].binary_search_by(|(known, ..)| known.cmp(&name)) {
            Ok(at) => pairs[at].2 = Some(item),
            Err(_) => pairs.push((name, None, Some(item))),
        }
    }
    pairs.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    pairs
}

/// Whether the items that both lists have stand in another order.
fn is_reordered(pairs: &[(Segment, Option<Item<'_>>, Option<Item<'_>>)]) -> bool {
    let both = pairs.iter().filter_map(|(_, old, new)| Some((old.as_ref()?.0, new.as_ref()?.0)));
    let mut positions: Vec<(usize, usize)> = both.collect();
    positions.sort_unstable();
    !positions.is_sorted_by_key(|(_, after)| *after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    fn paths(old: &Value, new: &Value, shape: &Value) -> Vec<String> {
        let raw = [old, new, shape].map(|value| to_raw_value(value).unwrap());
        let [old, new, shape] = raw.each_ref();
        let shape = Set::of(Json::from(&**shape));
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
    fn another_order_shows_beside_other_changes() {
        let shape = json!({"f:env": {"k:{\"name\":\"A\"}": {}}});
        let old = json!({"env": [{"name": "A"}, {"name": "B"}, {"name": "C"}]});
        let new = json!({"env": [{"name": "D"}, {"name": "B", "value": "1"}, {"name": "A"}]});
        assert_eq!(paths(&old, &new, &shape), ["/env[name=B]/value", "/env[name=C]", "/env[name=D]", "/env"]);
        let added = json!({"env": [{"name": "X"}, {"name": "A"}, {"name": "Y"}, {"name": "B"}, {"name": "C"}]});
        assert_eq!(paths(&old, &added, &shape), ["/env[name=X]", "/env[name=Y]"]);
    }

    #[test]
    fn where_a_bound_is_reached_the_whole_is_one_change() {
        let list = |value: &str| (0..6).map(|n| json!({"name": format!("{n}"), "value": value})).collect::<Value>();
        let object = |value: &str| json!({"spec": {"env": list(value), "map": {"a": value, "b": value}}, "metadata": {"labels": {"a": value}}});
        let shape = json!({"f:spec": {"f:env": {"k:{\"name\":\"0\"}": {}}}});
        let raw = [object("1"), object("2"), shape].map(|value| to_raw_value(&value).unwrap());
        let [old, new, shape] = raw.each_ref().map(|raw| Json::from(&**raw));
        let (old, new) = (Object::read(old).unwrap(), Object::read(new).unwrap());
        let paths = |budget: Budget| -> Vec<String> {
            diff_within(&old, &new, &Set::of(shape), budget).iter().map(|c| c.path.to_string()).collect()
        };
        let all = Budget::default();
        assert_eq!(paths(all).len(), 9);
        let few = Budget { changes: 5, ..all };
        assert_eq!(paths(few), ["/spec/env", "/spec/map/a", "/spec/map/b", "/metadata/labels/a"]);
        assert_eq!(paths(Budget { changes: 1, ..all }), ["/spec", "/metadata/labels/a"]);
        assert_eq!(paths(Budget { items: 8, ..all }), ["/spec/env", "/spec/map", "/metadata/labels"]);
        assert_eq!(paths(Budget { items: 0, ..all }), ["", "/metadata"]);
        assert_eq!(paths(Budget { bytes: 0, ..all }), ["/spec", "/metadata/labels/a"]);
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
