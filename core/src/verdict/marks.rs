//! What marks an object as pinned, and what only looks like it.

use serde_json::Value;

use crate::fields::{self, Entry, FieldSet};
use crate::names;

/// What an object says about being pinned.
#[derive(Debug)]
pub struct Marks<'a> {
    /// The namespace of the GitSync that the labels name.
    pub sync_namespace: Option<&'a str>,
    /// The GitSync that the labels name.
    pub sync_name: Option<&'a str>,
    /// The file and line that the annotation names.
    pub origin: Option<&'a str>,
    is_copy: bool,
}

impl<'a> Marks<'a> {
    /// Reads the labels and annotations. `group` and `kind` are the object's own.
    pub fn of(object: &'a Value, group: &str, kind: &str) -> Marks<'a> {
        let id = annotation(object, names::PINNED_ID);
        Marks {
            sync_namespace: label(object, names::SYNC_NAMESPACE),
            sync_name: label(object, names::SYNC_NAME),
            origin: annotation(object, names::ORIGIN),
            is_copy: id
                .is_some_and(|id| id != names::pinned_id(group, kind, text(object, "namespace"), text(object, "name"))),
        }
    }

    /// Whether the object wears one of gitward's labels, and no pinned-id that says that it is a copy.
    pub fn claims(&self) -> bool {
        !self.is_copy && (self.sync_namespace.is_some() || self.sync_name.is_some())
    }

    /// Whether a GitSync declares the object: both labels, the reconciler's declaration, and no copy. Labels alone
    /// prove nothing, since controllers copy labels (the endpointslice controller those of a Service).
    pub fn pinned(&self, entries: &[Entry<'_>]) -> bool {
        !self.is_copy
            && self.sync_namespace.is_some()
            && self.sync_name.is_some()
            && entries.iter().any(Entry::is_declaration)
    }
}

/// A live or stored object with its ownership read.
#[derive(Debug)]
pub struct Owned<'a> {
    /// All entries.
    pub entries: Vec<Entry<'a>>,
    /// What its labels and annotations say.
    pub marks: Marks<'a>,
}

impl<'a> Owned<'a> {
    /// Reads an object of this group and kind.
    pub fn read(object: &'a Value, group: &str, kind: &str) -> Owned<'a> {
        Owned { entries: fields::entries(object), marks: Marks::of(object, group, kind) }
    }

    /// Whether a GitSync declares the object.
    pub fn pinned(&self) -> bool {
        self.marks.pinned(&self.entries)
    }

    /// What git declares of the object; empty where it declares nothing.
    pub fn declared(&self) -> FieldSet {
        let mut set = FieldSet::default();
        self.entries.iter().filter(|e| e.is_declaration()).for_each(|e| set.merge(&e.fields));
        set
    }

    /// The version in which the declaration is written.
    pub fn declared_version(&self) -> Option<&'a str> {
        self.entries.iter().find(|e| e.is_declaration()).map(|e| e.api_version)
    }
}

/// A label's value.
pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("labels")?.get(key)?.as_str()
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// A text of `metadata`; empty where there is none.
pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
}
