//! `metadata.managedFields`: who owns which fields of an object.

use serde_json::Value;

use super::FieldSet;
use crate::names;

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The field manager's name. Anyone may send any name: it proves nothing about who wrote.
    pub manager: &'a str,
    /// `Apply` or `Update`.
    pub operation: &'a str,
    /// `status`, `scale` …; empty for the object itself.
    pub subresource: &'a str,
    /// The version in which the set is written. Sets of different versions must not be compared.
    pub api_version: &'a str,
    /// What it owns.
    pub fields: FieldSet,
}

impl Entry<'_> {
    /// Whether this is what the reconciler declared: manager `gitward`, operation Apply, on the object itself.
    pub fn is_declaration(&self) -> bool {
        self.claims_declaration() && self.subresource.is_empty()
    }

    /// Whether this has the declaration's manager and operation, through whatever subresource.
    pub fn claims_declaration(&self) -> bool {
        self.manager == names::MANAGER && self.operation == "Apply"
    }
}

/// The entries of an object, in the order in which they stand. An entry that cannot be read is left out: a forged
/// one then owns nothing, and where it was the reconciler's, its loss is itself a change.
pub fn entries(object: &Value) -> Vec<Entry<'_>> {
    let list = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(entry).collect()
}

fn entry(value: &Value) -> Option<Entry<'_>> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(Entry {
        manager: text("manager"),
        operation: text("operation"),
        subresource: text("subresource"),
        api_version: text("apiVersion"),
        fields: FieldSet::parse(value.get("fieldsV1")?).ok()?,
    })
}
