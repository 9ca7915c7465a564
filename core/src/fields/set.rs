//! Sets of fields: what one `managedFields` entry owns, or several of them together.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::{Entry, Object, Path, Segment};
use crate::json::Json;

/// A set of paths, as structured-merge-diff's `Set`: a node says whether its own path is in the set, and has its children by
/// path element.
///
/// Read from `fieldsV1` (KEP-555) one level at a time and only where it is asked: of the hundreds of fields that a
/// manager owns, a verdict asks for a few. Each level is parsed once and indexed, so that a look-up costs O(log n).
#[derive(Clone, Debug, Default)]
pub struct Set<'a> {
    /// The same node of each `fieldsV1` that the set was made of. Empty: nothing is in the set.
    sources: Vec<Json<'a>>,
    node: OnceLock<Box<Node<'a>>>,
}

/// One level of a set.
#[derive(Clone, Debug, Default)]
struct Node<'a> {
    /// Whether the path of this node is itself in the set (`"."`, or nothing below it).
    is_member: bool,
    /// Whether one of the sources, or each of them, owns this node as a whole.
    is_leaf_in: Leaf,
    /// In order.
    children: Vec<(Segment, Set<'a>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Leaf {
    #[default]
    None,
    Some,
    All,
}

impl<'a> Set<'a> {
    /// The set of one `fieldsV1`. What is no such thing is an empty set: it owns nothing.
    pub fn of(fields: Json<'a>) -> Set<'a> {
        Set::union([fields])
    }

    /// The set of everything that any of some `fieldsV1` holds.
    pub fn union(all: impl IntoIterator<Item = Json<'a>>) -> Set<'a> {
        let mut texts = HashSet::new();
        // An empty set is no leaf: nothing is owned, the root least of all.
        let holds = |fields: &Json<'a>| fields.is_object() && !fields.is_empty_object();
        let sources = all.into_iter().filter(holds).filter(|fields| texts.insert(fields.text())).collect();
        Set { sources, node: OnceLock::new() }
    }

    /// The set of everything that any manager owns in one of two versions of an object.
    pub fn of_managers(old: &Object<'a>, new: &Object<'a>) -> Set<'a> {
        let entries = old.meta.managed_fields.iter().chain(&new.meta.managed_fields);
        Set::union(entries.filter_map(Entry::fields_json))
    }

    fn node(&self) -> &Node<'a> {
        self.node.get_or_init(|| Box::new(Node::read(&self.sources)))
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How long the text is that is read where this level is opened, in bytes.
    pub(super) fn text_len(&self) -> usize {
        self.sources.iter().map(|source| source.text().len()).sum()
    }

    /// The part of the set below one path element, where there is one.
    pub fn child(&self, segment: &Segment) -> Option<&Set<'a>> {
        let children = &self.node().children;
        let position = children.binary_search_by(|(known, _)| known.cmp(segment)).ok()?;
        Some(&children[position].1)
    }

    /// The part of the set below some map keys, where there is one.
    pub fn at(&self, names: &[&str]) -> Option<&Set<'a>> {
        names.iter().try_fold(self, |set, name| set.child(&Segment::Field((*name).to_owned())))
    }

    /// Whether this node is owned as a whole: in the set, with nothing below it. A map or list of this kind is atomic.
    pub fn is_leaf(&self) -> bool {
        self.node().is_leaf_in == Leaf::All
    }

    /// The names of the keys by which the list at this node is merged, where it is such a list.
    pub fn item_keys(&self) -> Option<Vec<String>> {
        self.node().children.iter().find_map(|(segment, _)| match segment {
            Segment::Item(keys) => Some(keys.iter().map(|(name, _)| name.clone()).collect()),
            _ => None,
        })
    }

    /// Whether the list at this node holds items or members that the set names one by one.
    fn names_items(&self) -> bool {
        self.node().children.iter().any(|(segment, _)| matches!(segment, Segment::Item(_) | Segment::Member(_)))
    }

    /// Whether a change of the value at `path` changes something in this set: the path is in it, is inside of an
    /// atomic value in it, contains something in it, or is an item of a list of which it holds items.
    pub fn is_touched_by(&self, path: &Path) -> bool {
        let mut set = self;
        for segment in path.segments() {
            if set.node().is_leaf_in != Leaf::None {
                return true;
            }
            match set.child(segment) {
                Some(child) => set = child,
                None => return matches!(segment, Segment::Item(_) | Segment::Member(_)) && set.names_items(),
            }
        }
        !set.is_empty()
    }

    /// Whether both hold the same, however they are written.
    pub fn same(&self, other: &Set<'_>) -> bool {
        match (self.sources.as_slice(), other.sources.as_slice()) {
            ([], []) => true,
            ([a], [b]) => a.same(*b),
            _ => {
                let (a, b) = (self.node(), other.node());
                a.is_member == b.is_member
                    && a.children.len() == b.children.len()
                    && a.children.iter().zip(&b.children).all(|((k, a), (l, b))| k == l && a.same(b))
            }
        }
    }

    /// Whether the two sets have a path in common that `known` does not hold.
    pub fn shares_beyond(&self, other: &Set<'_>, known: Option<&Set<'_>>) -> bool {
        if self.is_empty() || other.is_empty() {
            return false;
        }
        if self.node().is_member && other.node().is_member && !known.is_some_and(|known| known.node().is_member) {
            return true;
        }
        self.node().children.iter().any(|(segment, child)| {
            let known = known.and_then(|known| known.child(segment));
            other.child(segment).is_some_and(|other| child.shares_beyond(other, known))
        })
    }

    /// Every path in the set, in order.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        if !self.is_empty() {
            self.collect(&Path::default(), &mut out);
        }
        out.sort();
        out
    }

    fn collect(&self, here: &Path, out: &mut Vec<Path>) {
        if self.node().is_member {
            out.push(here.clone());
        }
        self.node().children.iter().for_each(|(segment, child)| child.collect(&here.child(segment.clone()), out));
    }
}

impl<'a> Node<'a> {
    fn read(sources: &[Json<'a>]) -> Node<'a> {
        let mut node = Node::default();
        let mut leaves = 0;
        let mut below: Vec<(Segment, Json<'a>)> = Vec::new();
        for source in sources {
            let entries = source.entries();
            node.is_member |= source.is_empty_object() || entries.iter().any(|(key, _)| key == ".");
            leaves += usize::from(is_leaf(*source));
            below.extend(entries.into_iter().filter_map(|(key, child)| Some((Segment::parse(&key)?, child))));
        }
        node.is_leaf_in = match leaves {
            0 => Leaf::None,
            all if all == sources.len() => Leaf::All,
            _ => Leaf::Some,
        };
        below.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (segment, child) in below {
            match node.children.last_mut().filter(|(last, _)| *last == segment) {
                Some((_, set)) if set.sources.iter().any(|known| known.text() == child.text()) => {}
                Some((_, set)) => set.sources.push(child),
                None => node.children.push((segment, Set { sources: vec![child], node: OnceLock::new() })),
            }
        }
        node
    }
}

fn is_leaf(node: Json<'_>) -> bool {
    node.is_empty_object() || node.is_written_as(r#"{".":{}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::{RawValue, to_raw_value};
    use serde_json::{Value, json};

    fn raw(value: &Value) -> Box<RawValue> {
        to_raw_value(value).unwrap()
    }

    fn path(keys: &[&str]) -> Path {
        keys.iter().fold(Path::default(), |p, key| p.child(Segment::parse(key).unwrap()))
    }

    #[test]
    fn a_change_inside_of_an_atomic_value_touches_it() {
        let raw = raw(&json!({"f:spec": {"f:selector": {}}}));
        let s = Set::of(Json::from(&*raw));
        assert!(s.is_touched_by(&path(&["f:spec", "f:selector", "f:app"])));
        assert!(s.is_touched_by(&path(&["f:spec"])));
        assert!(!s.is_touched_by(&path(&["f:spec", "f:type"])));
    }

    #[test]
    fn an_item_added_to_a_declared_list_is_a_change_of_it() {
        let raw = raw(&json!({"f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}}}}));
        let s = Set::of(Json::from(&*raw));
        assert!(s.is_touched_by(&path(&["f:env", "k:{\"name\":\"B\"}"])));
        assert!(!s.is_touched_by(&path(&["f:env", "k:{\"name\":\"A\"}", "f:value"])));
    }

    #[test]
    fn a_key_added_to_a_declared_map_is_not() {
        let raw = raw(&json!({"f:labels": {"f:app": {}}}));
        assert!(!Set::of(Json::from(&*raw)).is_touched_by(&path(&["f:labels", "f:owner"])));
    }

    #[test]
    fn two_sets_together_hold_what_either_holds() {
        let (a, b) = (raw(&json!({"f:a": {}, "f:b": {"f:c": {}}})), raw(&json!({"f:b": {".": {}, "f:d": {}}})));
        let (a, b) = (Json::from(&*a), Json::from(&*b));
        let both = Set::union([a, b]);
        let paths: Vec<_> = both.paths().iter().map(Path::to_string).collect();
        assert_eq!(paths, ["/a", "/b", "/b/c", "/b/d"]);
        assert!(!both.at(&["b"]).unwrap().is_leaf() && both.at(&["a"]).unwrap().is_leaf());
        assert!(both.same(&Set::union([b, a])) && !both.same(&Set::of(a)));
    }

    #[test]
    fn what_two_sets_share_is_found_unless_it_is_known() {
        let declared = raw(&json!({"f:spec": {"f:replicas": {}, "f:env": {"k:{\"name\":\"A\"}": {"f:value": {}}}}}));
        let other =
            raw(&json!({"f:spec": {"f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:value": {}}}, "f:paused": {}}}));
        let (declared, other) = (Set::of(Json::from(&*declared)), Set::of(Json::from(&*other)));
        assert!(other.shares_beyond(&declared, None));
        assert!(!other.shares_beyond(&declared, Some(&other)));
        assert!(declared.at(&["metadata"]).is_none() && !Set::default().shares_beyond(&declared, None));
    }

    #[test]
    fn what_is_no_fields_v1_owns_nothing() {
        for value in [json!([]), json!({}), json!(null), json!("f:a")] {
            assert!(Set::of(Json::from(&*raw(&value))).is_empty());
        }
    }
}
