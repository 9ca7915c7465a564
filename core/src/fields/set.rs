//! Sets of fields: what one `managedFields` entry owns.

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use super::{Path, Segment};

/// Why a `fieldsV1` could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// The set, or a part of it, is not a JSON object.
    #[error("fieldsV1 is no JSON object")]
    NotAnObject,
    /// A key is none of `.`, `f:…`, `k:{…}`, `v:…`, `i:…`.
    #[error("fieldsV1 has the key {0:?}, which has no known form")]
    Key(String),
}

/// A set of paths, as a tree. Shape of its source: `fieldsV1` of KEP-555.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the path of this node is itself in the set (`"."`, or a leaf).
    member: bool,
    children: BTreeMap<Segment, FieldSet>,
}

impl FieldSet {
    /// Reads a `fieldsV1` value.
    ///
    /// # Errors
    /// Where the value is not of the form that the API server writes.
    pub fn parse(fields: &Value) -> Result<FieldSet, ParseError> {
        let mut set = Self::node(fields)?;
        // An empty set is no leaf: nothing is owned, the root least of all.
        set.member = false;
        Ok(set)
    }

    fn node(value: &Value) -> Result<FieldSet, ParseError> {
        let map = value.as_object().ok_or(ParseError::NotAnObject)?;
        let mut node = FieldSet { member: map.is_empty(), children: BTreeMap::new() };
        for (key, below) in map {
            if key == "." {
                node.member = true;
            } else {
                let segment = Segment::parse(key).ok_or_else(|| ParseError::Key(key.clone()))?;
                node.children.insert(segment, Self::node(below)?);
            }
        }
        Ok(node)
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// The part of the set below one step.
    pub fn child(&self, segment: &Segment) -> Option<&FieldSet> {
        self.children.get(segment)
    }

    /// The part of the set below some map keys.
    pub fn at(&self, names: &[&str]) -> Option<&FieldSet> {
        names.iter().try_fold(self, |set, name| set.child(&Segment::Field((*name).to_owned())))
    }

    /// Whether this node is owned as a whole: in the set, with nothing below it. A map or list of this kind is atomic.
    pub fn is_leaf(&self) -> bool {
        self.member && self.children.is_empty()
    }

    /// The names of the keys by which the list at this node is merged, where it is such a list.
    pub fn item_keys(&self) -> Option<Vec<&str>> {
        self.children.keys().find_map(|segment| match segment {
            Segment::Item(keys) => Some(keys.iter().map(|(name, _)| name.as_str()).collect()),
            _ => None,
        })
    }

    /// Whether the list at this node is a set of scalars.
    pub fn has_members(&self) -> bool {
        self.children.keys().any(|segment| matches!(segment, Segment::Member(_)))
    }

    /// Whether a change of the value at `path` changes something in this set: the path is in it, is inside of an
    /// atomic value in it, contains something in it, or is an item of a list of which it holds items.
    pub fn is_touched_by(&self, path: &Path) -> bool {
        let mut node = self;
        for segment in path.segments() {
            if node.is_leaf() {
                return true;
            }
            match node.children.get(segment) {
                Some(below) => node = below,
                None => {
                    let of_list = matches!(segment, Segment::Item(_) | Segment::Member(_));
                    return of_list && (node.item_keys().is_some() || node.has_members());
                }
            }
        }
        true
    }

    /// Whether the value at exactly this path is in the set.
    pub fn has(&self, path: &Path) -> bool {
        let mut node = self;
        for segment in path.segments() {
            match node.children.get(segment) {
                Some(below) => node = below,
                None => return false,
            }
        }
        node.member
    }

    /// Every path in the set, in order.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect(&Path::default(), &mut out);
        out
    }

    fn collect(&self, here: &Path, out: &mut Vec<Path>) {
        if self.member {
            out.push(here.clone());
        }
        for (segment, below) in &self.children {
            below.collect(&here.child(segment.clone()), out);
        }
    }

    /// Adds everything that `other` holds.
    pub fn merge(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (segment, below) in &other.children {
            self.children.entry(segment.clone()).or_default().merge(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(value: Value) -> FieldSet {
        FieldSet::parse(&value).unwrap()
    }

    fn path(keys: &[&str]) -> Path {
        keys.iter().fold(Path::default(), |p, key| p.child(Segment::parse(key).unwrap()))
    }

    #[test]
    fn a_change_inside_of_an_atomic_value_touches_it() {
        let s = set(json!({"f:spec": {"f:selector": {}}}));
        assert!(s.is_touched_by(&path(&["f:spec", "f:selector", "f:app"])));
        assert!(s.is_touched_by(&path(&["f:spec"])));
        assert!(!s.is_touched_by(&path(&["f:spec", "f:type"])));
    }

    #[test]
    fn an_item_added_to_a_declared_list_is_a_change_of_it() {
        let s = set(json!({"f:env": {"k:{\"name\":\"A\"}": {".": {}, "f:name": {}}}}));
        assert!(s.is_touched_by(&path(&["f:env", "k:{\"name\":\"B\"}"])));
        assert!(!s.is_touched_by(&path(&["f:env", "k:{\"name\":\"A\"}", "f:value"])));
    }

    #[test]
    fn a_key_added_to_a_declared_map_is_not() {
        let s = set(json!({"f:labels": {"f:app": {}}}));
        assert!(!s.is_touched_by(&path(&["f:labels", "f:owner"])));
    }

    #[test]
    fn paths_give_back_what_was_read() {
        let s = set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {"f:d": {}}}));
        let paths: Vec<_> = s.paths().iter().map(Path::to_string).collect();
        assert_eq!(paths, ["/a", "/a/b", "/c/d"]);
        assert!(s.has(&path(&["f:a"])) && !s.has(&path(&["f:c"])));
    }

    #[test]
    fn what_is_no_fields_v1_is_an_error() {
        assert_eq!(FieldSet::parse(&json!([])), Err(ParseError::NotAnObject));
        assert_eq!(FieldSet::parse(&json!({"q:x": {}})), Err(ParseError::Key("q:x".into())));
        assert!(set(json!({})).is_empty());
    }
}
