//! `metadata.managedFields`: who owns which fields of an object.

use std::borrow::Cow;

use serde::Deserialize;

use super::Set;
use crate::json::Json;
use crate::names;

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry<'a> {
    /// The field manager's name. Anyone may send any name: it proves nothing about who wrote.
    #[serde(borrow)]
    pub manager: Cow<'a, str>,
    /// `Apply` or `Update`.
    #[serde(borrow)]
    pub operation: Cow<'a, str>,
    /// `status`, `scale` …; empty for the object itself.
    #[serde(borrow)]
    pub subresource: Cow<'a, str>,
    /// The version in which the set is written. Sets of different versions must not be compared.
    #[serde(borrow)]
    pub api_version: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Json<'a>>,
    #[serde(borrow)]
    fields_v1: Option<Json<'a>>,
}

impl<'a> Entry<'a> {
    /// What it owns.
    pub fn fields(&self) -> Set<'a> {
        self.fields_v1.map(Set::of).unwrap_or_default()
    }

    /// When it was last written, in UTC as RFC 3339 with whole seconds, so that times compare as texts. Empty where it is not said.
    pub fn time(&self) -> Cow<'a, str> {
        self.time.and_then(Json::as_str).unwrap_or_default()
    }

    /// The text of what it owns: equal texts own the same.
    pub fn fields_text(&self) -> &'a str {
        self.fields_v1.map(Json::text).unwrap_or_default()
    }

    /// What it owns, as it is written.
    pub fn fields_json(&self) -> Option<Json<'a>> {
        self.fields_v1
    }

    /// Whether this is what the reconciler declared: manager `gitward`, operation Apply, on the object itself.
    pub fn is_declaration(&self) -> bool {
        self.manager == names::MANAGER && self.operation == "Apply" && self.subresource.is_empty()
    }

    /// Whether both entries are of the same manager, written in the same way.
    pub fn is_of(&self, other: &Entry<'_>) -> bool {
        self.identity() == other.identity()
    }

    /// What tells entries apart: manager, operation and subresource.
    pub fn identity(&self) -> (&str, &str, &str) {
        (&self.manager, &self.operation, &self.subresource)
    }
}
