//! The identity of an object.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::names;

/// Identifies an object in a cluster, in whichever version it is served. Its text is the object's pinned-id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// API group; empty for the core API.
    pub group: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&names::pinned_id(&self.group, &self.kind, &self.namespace, &self.name))
    }
}

/// The text is no pinned-id.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is not of the form <group>/<Kind>:<namespace>/<name>")]
pub struct KeyError(String);

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<ObjectKey, KeyError> {
        let split = || {
            let (kind, name) = text.split_once(':')?;
            let ((group, kind), (namespace, name)) = kind.split_once('/').zip(name.split_once('/'))?;
            (!kind.is_empty() && !name.is_empty()).then(|| ObjectKey {
                group: group.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        };
        split().ok_or_else(|| KeyError(text.to_owned()))
    }
}

impl ObjectKey {
    /// What people call the object: `Deployment shop/web`.
    pub fn in_words(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("{} {}", self.kind, self.name),
            namespace => format!("{} {namespace}/{}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_id_reads_back() {
        for text in ["apps/Deployment:shop/web", "/Namespace:/shop", "rbac.authorization.k8s.io/ClusterRole:/a:b"] {
            assert_eq!(text.parse::<ObjectKey>().unwrap().to_string(), text);
        }
        for text in ["", "Deployment", "apps/Deployment:shop", "apps/:shop/web", "apps/Deployment:shop/"] {
            assert!(text.parse::<ObjectKey>().is_err(), "{text}");
        }
    }
}
