//! A Kubernetes object, read once: its parts and those of its metadata, each as unread text.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::Entry;
use crate::json::{Json, Members, Text};
use crate::names;

/// A Kubernetes object.
#[derive(Clone, Debug, Default)]
pub struct Object<'a> {
    /// Its parts but `apiVersion`, `kind` and `metadata`.
    pub parts: Members<'a>,
    /// Empty in the items of a list.
    pub api_version: Cow<'a, str>,
    /// Empty in the items of a list.
    pub kind: Cow<'a, str>,
    /// Its `metadata`.
    pub meta: Meta<'a>,
}

/// An object's `metadata`.
#[derive(Clone, Debug, Default)]
pub struct Meta<'a> {
    /// Its parts but the name, the namespace and `managedFields`.
    pub parts: Members<'a>,
    /// Who owns which of its fields, in the order in which it stands there.
    pub managed_fields: Vec<Entry<'a>>,
    /// Empty for what has none, such as the options of a CONNECT.
    pub name: Cow<'a, str>,
    /// Empty for cluster-scoped objects.
    pub namespace: Cow<'a, str>,
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

impl<'a> Object<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// Where it is no JSON object, or its type or metadata are not of the form that every Kubernetes object has.
    pub fn read(json: Json<'a>) -> Result<Object<'a>, serde_json::Error> {
        serde_json::from_str(json.text())
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

    /// The value below some member names, outside of `metadata`.
    pub fn at(&self, keys: &[&str]) -> Option<Json<'a>> {
        let (first, rest) = keys.split_first()?;
        self.parts.get(*first)?.at(rest)
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<Cow<'a, str>> {
        self.meta.parts.get("labels")?.get(key)?.as_str()
    }

    /// All labels.
    pub fn labels(&self) -> Members<'a> {
        self.meta.parts.get("labels").map(|labels| labels.members()).unwrap_or_default()
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<Cow<'a, str>> {
        self.meta.parts.get("annotations")?.get(key)?.as_str()
    }

    /// Its owners.
    pub fn owners(&self) -> Vec<OwnerReference<'a>> {
        self.meta.parts.get("ownerReferences").and_then(|owners| owners.read()).unwrap_or_default()
    }

    /// Whether it is on its way out.
    pub fn is_dying(&self) -> bool {
        self.meta.parts.get("deletionTimestamp").is_some_and(|time| !time.is_null())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Kubernetes object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut object = Object::default();
                while let Some(Text(key)) = map.next_key()? {
                    match &*key {
                        "apiVersion" => object.api_version = map.next_value::<Text<'de>>()?.0,
                        "kind" => object.kind = map.next_value::<Text<'de>>()?.0,
                        "metadata" => object.meta = map.next_value::<Option<Meta<'de>>>()?.unwrap_or_default(),
                        _ => drop(object.parts.insert(key, map.next_value()?)),
                    }
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Meta<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Meta<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metadata")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Meta<'de>, A::Error> {
                let mut meta = Meta::default();
                while let Some(Text(key)) = map.next_key()? {
                    match &*key {
                        "name" => meta.name = map.next_value::<Text<'de>>()?.0,
                        "namespace" => meta.namespace = map.next_value::<Text<'de>>()?.0,
                        "managedFields" => {
                            meta.managed_fields = map.next_value::<Option<Vec<Entry<'de>>>>()?.unwrap_or_default();
                        }
                        _ => {
                            let value = map.next_value_seed(Part(&key))?;
                            meta.parts.insert(key, value);
                        }
                    }
                }
                Ok(meta)
            }
        }
        deserializer.deserialize_map(Read)
    }
}

/// A part of metadata. What rules read must be of the right form: labels that cannot be read would be no labels.
struct Part<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let json = Json::deserialize(deserializer)?;
        let fits = match self.0 {
            "labels" | "annotations" => json.is_object(),
            "ownerReferences" | "finalizers" => json.is_array(),
            _ => true,
        };
        if fits || json.is_null() {
            Ok(json)
        } else {
            Err(D::Error::custom(format!("metadata.{} is of a wrong type", self.0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_with_its_parts() {
        let text = r#"{"apiVersion":"apps/v1","kind":"Deployment","spec":{"a":{"b":1}},"metadata":{"name":"web",
            "namespace":"shop","labels":{"app":"web"},"ownerReferences":[{"apiVersion":"v1","kind":"X","name":"y"}]}}"#;
        let object: Object<'_> = serde_json::from_str(text).unwrap();
        assert_eq!((object.group(), &*object.kind, &*object.meta.name), ("apps", "Deployment", "web"));
        assert_eq!(object.at(&["spec", "a", "b"]).unwrap().text(), "1");
        assert_eq!(object.label("app").unwrap(), "web");
        assert_eq!(object.owners()[0].name, "y");
        assert!(!object.is_dying());
    }

    #[test]
    fn what_is_no_kubernetes_object_is_an_error() {
        for text in [
            "[]",
            "1",
            r#"{"metadata":[]}"#,
            r#"{"metadata":{"name":1}}"#,
            r#"{"kind":null}"#,
            r#"{"metadata":{"labels":[]}}"#,
            r#"{"metadata":{"managedFields":{}}}"#,
        ] {
            assert!(serde_json::from_str::<Object<'_>>(text).is_err(), "{text}");
        }
        let object: Object<'_> = serde_json::from_str(r#"{"metadata":null,"spec":null}"#).unwrap();
        assert_eq!(object.meta.name, "");
    }
}
