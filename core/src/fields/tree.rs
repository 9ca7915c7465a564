//! A set of fields as a tree of its own, to be built and written: what [`Set`](super::Set) only reads.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Segment;

/// A node of a set: whether its own path is in the set, and what is below it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tree {
    pub(super) is_member: bool,
    pub(super) below: BTreeMap<Segment, Tree>,
}

impl Tree {
    /// Reads a `fieldsV1`. What has none of its forms owns nothing.
    pub(super) fn of(fields: &Value) -> Tree {
        let mut tree = Tree::default();
        for (key, below) in fields.as_object().into_iter().flatten() {
            if key == "." {
                tree.is_member = true;
            } else if let Some(segment) = Segment::parse(key) {
                let mut child = Tree::of(below);
                child.is_member |= child.below.is_empty();
                tree.below.insert(segment, child);
            }
        }
        tree
    }

    /// The `fieldsV1` of the set.
    pub(super) fn to_fields(&self) -> Value {
        let mut fields = Map::new();
        if self.is_member && !self.below.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        fields.extend(self.below.iter().map(|(segment, below)| (key_of(segment), below.to_fields())));
        Value::Object(fields)
    }

    /// Adds everything that `other` holds.
    pub(super) fn unite(&mut self, other: &Tree) {
        self.is_member |= other.is_member;
        for (segment, below) in &other.below {
            self.below.entry(segment.clone()).or_default().unite(below);
        }
    }

    /// The node below one step.
    pub(super) fn child(&self, segment: &Segment) -> Option<&Tree> {
        self.below.get(segment)
    }

    /// Adds an empty node below one step, or finds the one that is there.
    pub(super) fn grow(&mut self, segment: &Segment) -> &mut Tree {
        self.below.entry(segment.clone()).or_default()
    }
}

/// The key of `fieldsV1` that [`Segment::parse`] reads.
fn key_of(segment: &Segment) -> String {
    match segment {
        Segment::Field(name) => format!("f:{name}"),
        Segment::Item(keys) => {
            let keys: Vec<_> =
                keys.iter().map(|(name, value)| format!("{}:{value}", Value::String(name.clone()))).collect();
            format!("k:{{{}}}", keys.join(","))
        }
        Segment::Member(value) => format!("v:{value}"),
        Segment::Index(index) => format!("i:{index}"),
    }
}

/// Whether a value has this text, as the segments of a path keep it.
pub(super) fn is_written(value: &Value, json: &str) -> bool {
    let text = value.to_string();
    text == json
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_set_is_written_as_it_was_read() {
        let fields = json!({"f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}, "f:labels": {"f:a\"b": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:list": {"i:3": {}}}});
        assert_eq!(Tree::of(&fields).to_fields(), fields);
        assert_eq!(Tree::of(&json!({"x": {}, "f:a": 1})).to_fields(), json!({"f:a": {}}));
    }
}
