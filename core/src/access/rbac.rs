//! RBAC's objects, as far as they matter here (Kubernetes documentation, "Using RBAC Authorization").

use std::fmt;

use serde::{Deserialize, Serialize};

/// A ClusterRole or Role. The rules of an aggregated one stand in it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Role {
    /// Its name; the namespace is empty for a ClusterRole.
    pub metadata: Metadata,
    /// What it allows.
    pub rules: Vec<Rule>,
}

/// A ClusterRoleBinding or RoleBinding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Binding {
    /// Its name; the namespace is empty for a ClusterRoleBinding.
    pub metadata: Metadata,
    /// The role.
    pub role_ref: RoleRef,
    /// Who gets it.
    pub subjects: Vec<Subject>,
}

/// The name of an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
}

/// The role of a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// `ClusterRole` or `Role`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(default)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Of a ServiceAccount.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What a role allows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Such as `get`; `*` for all.
    pub verbs: Vec<String>,
    /// Empty text for the core API; `*` for all.
    pub api_groups: Vec<String>,
    /// Such as `pods` or `pods/exec`; `*` for all, `*/scale` for one subresource of all.
    pub resources: Vec<String>,
    /// Empty: all of them.
    pub resource_names: Vec<String>,
}

impl Binding {
    pub(super) fn refers_to(&self, role: &Role) -> bool {
        let namespace = if self.role_ref.kind == "ClusterRole" { "" } else { &self.metadata.namespace };
        role.metadata.name == self.role_ref.name && role.metadata.namespace == namespace
    }
}

impl Subject {
    /// A user.
    pub fn user(name: &str) -> Subject {
        Subject { kind: "User".to_owned(), namespace: String::new(), name: name.to_owned() }
    }

    /// A group.
    pub fn group(name: &str) -> Subject {
        Subject { kind: "Group".to_owned(), namespace: String::new(), name: name.to_owned() }
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str) -> Subject {
        Subject { kind: "ServiceAccount".to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The subject with the namespace of its binding, where it names none; a user name of a service account as that.
    pub(super) fn within(&self, namespace: &str) -> Subject {
        let account = self.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        match (self.kind.as_str(), account) {
            ("User", Some((namespace, name))) => Subject::service_account(namespace, name),
            ("ServiceAccount", _) if self.namespace.is_empty() => Subject::service_account(namespace, &self.name),
            _ => self.clone(),
        }
    }

    /// Whether what is given to this subject is given to `other`.
    pub(super) fn covers(&self, other: &Subject) -> bool {
        let is_account = other.kind == "ServiceAccount";
        self == other
            || (self.kind == "Group"
                && match self.name.as_str() {
                    "system:authenticated" => true,
                    "system:serviceaccounts" => is_account,
                    name => {
                        is_account && name.strip_prefix("system:serviceaccounts:") == Some(other.namespace.as_str())
                    }
                })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{} {}{slash}{}", self.kind, self.namespace, self.name)
    }
}

impl Rule {
    pub(super) fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == "*" || v == verb)
    }

    pub(super) fn has_resource(&self, group: &str, resource: &str) -> bool {
        let sub = resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        self.api_groups.iter().any(|g| g == "*" || g == group)
            && self.resources.iter().any(|r| r == "*" || r == resource || Some(r) == sub.as_ref())
    }

    /// Whether it allows to write anything but questions to the API server.
    pub(super) fn writes(&self) -> bool {
        let questions = ["authorization.k8s.io", "authentication.k8s.io"];
        let writing =
            ["create", "update", "patch", "delete", "deletecollection"].iter().any(|verb| self.has_verb(verb));
        writing && !self.resources.is_empty() && !self.api_groups.iter().all(|g| questions.contains(&g.as_str()))
    }
}
