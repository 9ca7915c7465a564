//! Live objects that a verdict depends on: which, and what a look-up gave.

use serde_json::Value;

use crate::names;

/// A live object that a verdict depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// API group; empty for the core API.
    pub group: String,
    /// Version to read it in.
    pub version: String,
    /// How the type is named.
    pub by: TypeName,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The object is another one where its uid differs.
    pub uid: String,
}

/// The name by which a [`Wanted`] object's type is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeName {
    /// The plural, as in URLs.
    Resource(String),
    /// The kind, as in owner references.
    Kind(String),
}

/// What a look-up of a [`Wanted`] object gave.
#[derive(Clone, Debug)]
pub enum Found {
    /// The live object.
    Object(Box<Value>),
    /// There is none.
    Absent,
    /// It is not known whether there is one, and why. Answered by a refusal: the guard fails closed.
    Failed(String),
}

/// The look-ups made so far for one request.
#[derive(Debug, Default)]
pub struct Known(Vec<(Wanted, Found)>);

impl Known {
    /// Adds the result of a look-up.
    pub fn add(&mut self, wanted: Wanted, found: Found) {
        self.0.push((wanted, found));
    }

    pub(super) fn get(&self, wanted: &Wanted) -> Option<&Found> {
        self.0.iter().find(|(known, _)| known == wanted).map(|(_, found)| found)
    }
}

impl Found {
    /// Looks an object up in a List of live objects, which stands for the API server where there is none.
    pub fn in_list(list: &Value, wanted: &Wanted) -> Found {
        let items = list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let same = |item: &&Value| {
            let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            names::group_of(text("/apiVersion")) == wanted.group
                && text("/metadata/namespace") == wanted.namespace
                && text("/metadata/name") == wanted.name
                && wanted.by.is(text("/kind"))
        };
        items.iter().find(same).map_or(Found::Absent, |item| Found::Object(Box::new(item.clone())))
    }
}

impl TypeName {
    /// Whether the type is the one of this kind. A plural is compared by the rule that Kubernetes' own kinds follow.
    fn is(&self, kind: &str) -> bool {
        match self {
            TypeName::Kind(name) => name == kind,
            TypeName::Resource(plural) => {
                let kind = kind.to_lowercase();
                let stem = kind.strip_suffix('y').map(|stem| format!("{stem}ies"));
                [format!("{kind}s"), format!("{kind}es"), kind].contains(plural) || stem.as_ref() == Some(plural)
            }
        }
    }
}
