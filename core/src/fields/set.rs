//! Sets of fields: what one `managedFields` entry owns, or several of them together.

use std::borrow::Cow;

use super::{Path, Segment};
use crate::json::{Json, Members};

/// A set of paths. Shape of its source: `fieldsV1` of KEP-555. It is read where it is asked, one level at a time: of
/// the hundreds of fields that a manager owns, a verdict asks for a few.
#[derive(Clone, Debug, Default)]
pub struct FieldSet<'a> {
    /// The same node of each `fieldsV1` that the set was made of. Empty: nothing is in the set.
    nodes: Vec<Json<'a>>,
}

impl<'a> FieldSet<'a> {
    /// The set of one `fieldsV1`. What is no such thing is an empty set: it owns nothing.
    pub fn of(fields: Json<'a>) -> FieldSet<'a> {
        // An empty set is no leaf: nothing is owned, the root least of all.
        let holds = fields.is_object() && !fields.is_empty_object();
        FieldSet { nodes: if holds { vec![fields] } else { Vec::new() } }
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &FieldSet<'a>) {
        for node in &other.nodes {
            if !self.nodes.iter().any(|known| known.text() == node.text()) {
                self.nodes.push(*node);
            }
        }
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The part of the set below one step.
    pub fn child(&self, segment: &Segment) -> FieldSet<'a> {
        let mut child = FieldSet::default();
        for node in &self.nodes {
            let below = match segment {
                Segment::Field(name) => node.get_first(&format!("f:{name}")),
                other => {
                    node.members().into_iter().find(|(key, _)| Segment::parse(key).as_ref() == Some(other)).map(|m| m.1)
                }
            };
            child.nodes.extend(below);
        }
        child
    }

    /// The part of the set below some map keys.
    pub fn at(&self, names: &[&str]) -> FieldSet<'a> {
        names.iter().fold(self.clone(), |set, name| set.child(&Segment::Field((*name).to_owned())))
    }

    /// Whether this node is owned as a whole: in the set, with nothing below it. A map or list of this kind is atomic.
    pub fn is_leaf(&self) -> bool {
        !self.nodes.is_empty() && self.nodes.iter().all(|node| is_leaf(*node))
    }

    /// The names of the keys by which the list at this node is merged, where it is such a list.
    pub fn item_keys(&self) -> Option<Vec<String>> {
        self.keys().find_map(|key| match Segment::parse(&key) {
            Some(Segment::Item(keys)) => Some(keys.into_iter().map(|(name, _)| name).collect()),
            _ => None,
        })
    }

    fn keys(&self) -> impl Iterator<Item = Cow<'a, str>> {
        self.nodes.iter().flat_map(|node| node.members().into_keys())
    }

    /// Whether the list at this node holds items or members that the set names one by one.
    fn names_items(&self) -> bool {
        self.keys().any(|key| key.starts_with("k:") || key.starts_with("v:"))
    }

    /// Whether a change of the value at `path` changes something in this set: the path is in it, is inside of an
    /// atomic value in it, contains something in it, or is an item of a list of which it holds items.
    pub fn is_touched_by(&self, path: &Path) -> bool {
        let mut node = self.clone();
        for segment in path.segments() {
            if node.nodes.iter().any(|node| is_leaf(*node)) {
                return true;
            }
            let below = node.child(segment);
            if below.is_empty() {
                return matches!(segment, Segment::Item(_) | Segment::Member(_)) && node.names_items();
            }
            node = below;
        }
        !node.is_empty()
    }

    /// Whether both hold the same, however they are written.
    pub fn same(&self, other: &FieldSet<'_>) -> bool {
        match (self.nodes.as_slice(), other.nodes.as_slice()) {
            ([], []) => true,
            ([a], [b]) => a.same(*b),
            (a, b) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(*b)),
        }
    }

    /// Whether the two sets have a path in common that `known` does not hold.
    pub fn shares_beyond(&self, other: &FieldSet<'_>, known: &FieldSet<'_>) -> bool {
        if self.is_empty() || other.is_empty() {
            return false;
        }
        if self.is_member() && other.is_member() && !known.is_member() {
            return true;
        }
        let mut keys: Vec<_> = self.keys().filter(|key| key != ".").collect();
        keys.sort();
        keys.dedup();
        keys.iter()
            .filter_map(|key| Segment::parse(key))
            .any(|segment| self.child(&segment).shares_beyond(&other.child(&segment), &known.child(&segment)))
    }

    /// Whether the path of this node is itself in the set (`"."`, or a leaf).
    fn is_member(&self) -> bool {
        self.nodes.iter().any(|node| node.is_empty_object() || node.get(".").is_some())
    }

    /// Every path in the set, in order.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.nodes.iter().for_each(|node| collect(*node, &Path::default(), &mut out));
        out.sort();
        out.dedup();
        out
    }
}

fn is_leaf(node: Json<'_>) -> bool {
    node.is_empty_object() || node.is_written_as(r#"{".":{}}"#)
}

fn collect(node: Json<'_>, here: &Path, out: &mut Vec<Path>) {
    let members: Members<'_> = node.members();
    if members.is_empty() || members.contains_key(".") {
        out.push(here.clone());
    }
    for (key, below) in members {
        if let Some(segment) = Segment::parse(&key) {
            collect(below, &here.child(segment), out);
        }
    }
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
        let s = FieldSet::of(Json::from(&*raw));
        assert!(s.is_touched_by(&path(&["f:spec", "f:selector", "f:app"])));
        assert!(s.is_touched_by(&path(&["f:spec"])));
        assert!(!s.is_touched_by(&path(&["f:spec", "f:type"])));
    }

    #[test]
    fn an_item_added_to_a_declared_list_is_a_change_of_it() {
        let raw = raw(&json!({"f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}}}}));
        let s = FieldSet::of(Json::from(&*raw));
        assert!(s.is_touched_by(&path(&["f:env", "k:{\"name\":\"B\"}"])));
        assert!(!s.is_touched_by(&path(&["f:env", "k:{\"name\":\"A\"}", "f:value"])));
    }

    #[test]
    fn a_key_added_to_a_declared_map_is_not() {
        let raw = raw(&json!({"f:labels": {"f:app": {}}}));
        assert!(!FieldSet::of(Json::from(&*raw)).is_touched_by(&path(&["f:labels", "f:owner"])));
    }

    #[test]
    fn two_sets_together_hold_what_either_holds() {
        let (a, b) = (raw(&json!({"f:a": {}, "f:b": {"f:c": {}}})), raw(&json!({"f:b": {".": {}, "f:d": {}}})));
        let (a, b) = (FieldSet::of(Json::from(&*a)), FieldSet::of(Json::from(&*b)));
        let mut both = a.clone();
        both.merge(&b);
        let paths: Vec<_> = both.paths().iter().map(Path::to_string).collect();
        assert_eq!(paths, ["/a", "/b", "/b/c", "/b/d"]);
        assert!(!both.at(&["b"]).is_leaf() && both.at(&["a"]).is_leaf());
        assert!(both.same(&both) && !both.same(&a));
    }

    #[test]
    fn what_two_sets_share_is_found_unless_it_is_known() {
        let declared = raw(&json!({"f:spec": {"f:replicas": {}, "f:env": {"k:{\"name\":\"A\"}": {"f:value": {}}}}}));
        let other =
            raw(&json!({"f:spec": {"f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:value": {}}}, "f:paused": {}}}));
        let (declared, other) = (FieldSet::of(Json::from(&*declared)), FieldSet::of(Json::from(&*other)));
        assert!(other.shares_beyond(&declared, &FieldSet::default()));
        assert!(!other.shares_beyond(&declared, &other));
        assert!(!declared.at(&["metadata"]).shares_beyond(&declared, &FieldSet::default()));
    }

    #[test]
    fn what_is_no_fields_v1_owns_nothing() {
        for value in [json!([]), json!({}), json!(null), json!("f:a")] {
            assert!(FieldSet::of(Json::from(&*raw(&value))).is_empty());
        }
    }
}
