//! A Kubernetes object of a review or a look-up: what every rule asks of it is read at once, the rest where it is asked.

use std::borrow::Cow;

use serde::Deserialize;

use crate::json::{Json, Members};
use crate::names;

/// A Kubernetes object.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// All of it.
    pub json: Json<'a>,
    /// Empty in the items of a list.
    pub api_version: Cow<'a, str>,
    /// Empty in the items of a list.
    pub kind: Cow<'a, str>,
    /// Its `metadata`.
    pub meta: Meta<'a>,
}

/// What rules ask of an object's `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta<'a> {
    /// Empty for what has none, such as the options of a CONNECT.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Empty for cluster-scoped objects.
    #[serde(borrow)]
    pub namespace: Cow<'a, str>,
    #[serde(borrow)]
    labels: Option<Json<'a>>,
    #[serde(borrow)]
    annotations: Option<Json<'a>>,
    #[serde(borrow)]
    owner_references: Option<Json<'a>>,
    #[serde(borrow)]
    deletion_timestamp: Option<Json<'a>>,
}

/// One of an object's `metadata.ownerReferences`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference<'a> {
    /// Such as `apps/v1`.
    #[serde(borrow)]
    pub api_version: Cow<'a, str>,
    /// Such as `ReplicaSet`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline<'a> {
    #[serde(default, borrow)]
    api_version: Cow<'a, str>,
    #[serde(default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    metadata: Option<Meta<'a>>,
}

impl<'a> Object<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// Where it is no JSON object, or its type or metadata are not of the form that every Kubernetes object has.
    pub fn read(json: Json<'a>) -> Result<Object<'a>, serde_json::Error> {
        let outline: Outline<'a> = serde_json::from_str(json.text())?;
        let meta = outline.metadata.unwrap_or_default();
        Ok(Object { json, api_version: outline.api_version, kind: outline.kind, meta })
    }

    /// An item of a list, with the type that the list had.
    #[must_use]
    pub fn with_type(mut self, api_version: &str, kind: &str) -> Object<'a> {
        if self.kind.is_empty() {
            self.api_version = Cow::Owned(api_version.to_owned());
            self.kind = Cow::Owned(kind.to_owned());
        }
        self
    }

    /// The API group.
    pub fn group(&self) -> &str {
        names::group_of(&self.api_version)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<Cow<'a, str>> {
        self.meta.labels?.get(key)?.as_str()
    }

    /// All labels.
    pub fn labels(&self) -> Members<'a> {
        self.meta.labels.map(Json::members).unwrap_or_default()
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<Cow<'a, str>> {
        self.meta.annotations?.get(key)?.as_str()
    }

    /// Its owners.
    pub fn owners(&self) -> Vec<OwnerReference<'a>> {
        self.meta.owner_references.and_then(Json::read).unwrap_or_default()
    }

    /// Whether it is on its way out.
    pub fn is_dying(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }
}
