//! Who could change what git declares around the guard, as the cluster's RBAC says. Pure: roles and bindings in,
//! findings out.
//!
//! The guard holds everybody to git who comes by it. These rights lead past it: they let their holder take the
//! reconciler's place, or a controller's, or the guard away.

mod rbac;
mod ways;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

pub use rbac::{Binding, Metadata, Role, RoleRef, Rule, Subject};
use ways::{WAYS, Way, Within};

/// All roles and bindings of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Rbac {
    /// ClusterRoles and Roles; the latter have a namespace.
    pub roles: Vec<Role>,
    /// ClusterRoleBindings and RoleBindings; the latter have a namespace.
    pub bindings: Vec<Binding>,
}

/// Whose rights are expected, and who must have none.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    /// gitward's own namespace.
    pub namespace: String,
    /// Who may act for gitward: its own accounts, and the installers.
    pub trusted: Vec<Subject>,
    /// The identities of CI: they may push images and commits, and write nothing to the cluster.
    pub ci: Vec<Subject>,
}

/// A right that leads around the guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Who has it.
    pub who: Subject,
    /// How bad it is: 0 is the worst.
    #[serde(skip)]
    pub rank: usize,
    /// What it lets them do.
    pub way: String,
    /// Why this leads around the guard.
    pub why: String,
    /// The binding and role that give it.
    pub through: String,
    /// The namespace in which it holds; empty for the whole cluster.
    pub namespace: String,
    /// Whether it is theirs by design: parts of Kubernetes, gitward's accounts, installers.
    pub expected: bool,
}

/// Everybody's rights that lead around the guard, the unexpected first and the worst first.
pub fn findings(rbac: &Rbac, parties: &Parties) -> Vec<Finding> {
    let mut found = BTreeSet::new();
    for binding in &rbac.bindings {
        let Some(role) = rbac.roles.iter().find(|role| binding.refers_to(role)) else { continue };
        for subject in &binding.subjects {
            let subject = subject.within(&binding.metadata.namespace);
            let expected = is_kubernetes(&subject) || parties.trusted.contains(&subject);
            for (rank, way) in ways_of(role, binding, parties) {
                found.insert(finding(subject.clone(), rank, way, binding, role, expected));
            }
            if !expected && parties.ci.iter().any(|ci| subject.covers(ci)) {
                found.extend(ci_writes(&subject, binding, role));
            }
        }
    }
    let mut found: Vec<Finding> = found.into_iter().collect();
    found.sort_by(|a, b| (a.expected, a.rank, &a.who).cmp(&(b.expected, b.rank, &b.who)));
    found
}

/// The ways that a role opens. An administrator has all of them: that is said once.
fn ways_of<'w>(role: &Role, binding: &Binding, parties: &Parties) -> Vec<(usize, &'w Way)> {
    let reaches = |way: &Way| match (way.within, binding.metadata.namespace.as_str()) {
        (_, "") => true,
        (Within::Cluster, _) => false,
        (Within::Own, namespace) => namespace == parties.namespace,
        (Within::KubeSystem, namespace) => namespace == "kube-system",
    };
    let opens =
        |way: &Way| reaches(way) && way.needs.iter().any(|need| role.rules.iter().any(|rule| need.is_met_by(rule)));
    let all = WAYS.iter().enumerate().filter(|(_, way)| opens(way));
    let mut all: Vec<_> = all.collect();
    if all.first().is_some_and(|(rank, _)| *rank == 0) {
        all.truncate(1);
    }
    all
}

fn finding(who: Subject, rank: usize, way: &Way, binding: &Binding, role: &Role, expected: bool) -> Finding {
    Finding {
        who,
        rank,
        way: way.what.to_owned(),
        why: way.why.to_owned(),
        through: through(binding, role),
        namespace: binding.metadata.namespace.clone(),
        expected,
    }
}

fn through(binding: &Binding, role: &Role) -> String {
    let kind = if binding.metadata.namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    let role_kind = if role.metadata.namespace.is_empty() { "ClusterRole" } else { "Role" };
    let namespace = &binding.metadata.namespace;
    let slash = if namespace.is_empty() { "" } else { "/" };
    format!("{kind} {namespace}{slash}{} → {role_kind} {}", binding.metadata.name, role.metadata.name)
}

/// Any write at all by an identity of CI.
fn ci_writes(subject: &Subject, binding: &Binding, role: &Role) -> Option<Finding> {
    let rule = role.rules.iter().find(|rule| rule.writes())?;
    Some(Finding {
        who: subject.clone(),
        rank: WAYS.len(),
        way: format!("writes {} ({})", rule.resources.join(", "), rule.verbs.join(", ")),
        why: "CI may push images and commits; only the reconciler writes to the cluster".to_owned(),
        through: through(binding, role),
        namespace: binding.metadata.namespace.clone(),
        expected: false,
    })
}

/// Parts of Kubernetes and their accounts. Not the groups that everybody is in.
fn is_kubernetes(subject: &Subject) -> bool {
    match subject.kind.as_str() {
        "ServiceAccount" => subject.namespace == "kube-system",
        "Group" => {
            let name = subject.name.as_str();
            let everybody = ["system:authenticated", "system:unauthenticated", "system:serviceaccounts"];
            let kube_system = name == "system:serviceaccounts:kube-system";
            name.starts_with("system:")
                && !everybody.contains(&name)
                && (kube_system || !name.starts_with("system:serviceaccounts:"))
        }
        _ => subject.name.starts_with("system:") && !subject.name.starts_with("system:serviceaccount:"),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.namespace.is_empty() { String::new() } else { format!(" in {}", self.namespace) };
        write!(f, "{}{place}: {}\n      through {}", self.way, self.why, self.through)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parties() -> Parties {
        let reconciler = Subject::service_account("gitward-system", "gitward-reconciler");
        Parties { namespace: "gitward-system".into(), trusted: vec![reconciler], ci: vec![Subject::user("ci")] }
    }

    fn found(rules: Value, namespace: &str, subject: Value) -> Vec<(String, bool)> {
        let role = json!({"metadata": {"name": "r"}, "rules": rules});
        let binding = json!({"metadata": {"name": "b", "namespace": namespace}, "subjects": [subject],
            "roleRef": {"kind": "ClusterRole", "name": "r"}});
        let rbac = Rbac {
            roles: vec![serde_json::from_value(role).unwrap()],
            bindings: vec![serde_json::from_value(binding).unwrap()],
        };
        findings(&rbac, &parties()).into_iter().map(|f| (f.way, f.expected)).collect()
    }

    fn user() -> Value {
        json!({"kind": "User", "name": "dev"})
    }

    fn ways(rules: Value, namespace: &str) -> Vec<String> {
        found(rules, namespace, user()).into_iter().map(|f| f.0).collect()
    }

    #[test]
    fn an_administrator_is_named_once() {
        let all = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        assert_eq!(ways(all.clone(), ""), ["act as administrator"]);
        assert_eq!(ways(all.clone(), "gitward-system"), ["act as administrator"]);
        assert!(ways(all.clone(), "shop").is_empty(), "an admin of a team's namespace goes by the guard");
        let group = json!({"kind": "Group", "name": "system:masters"});
        assert_eq!(found(all.clone(), "", group), [("act as administrator".to_owned(), true)]);
        let own = json!({"kind": "ServiceAccount", "name": "gitward-reconciler", "namespace": "gitward-system"});
        assert!(found(all, "", own)[0].1);
    }

    #[test]
    fn every_way_is_found_by_the_right_that_opens_it() {
        for (group, resource, verb) in [
            ("", "users", "impersonate"),
            ("", "serviceaccounts", "impersonate"),
            ("authentication.k8s.io", "userextras/authentication.kubernetes.io/pod-name", "impersonate"),
            ("authentication.k8s.io", "userextras", "impersonate"),
            ("", "serviceaccounts/token", "create"),
            ("", "pods", "create"),
            ("apps", "deployments", "patch"),
            ("batch", "cronjobs", "create"),
            ("", "pods/exec", "create"),
            ("", "pods/ephemeralcontainers", "patch"),
            ("", "secrets", "get"),
            ("", "nodes/proxy", "get"),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations", "delete"),
            ("admissionregistration.k8s.io", "mutatingadmissionpolicies", "create"),
            ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "update"),
            ("flowcontrol.apiserver.k8s.io", "flowschemas", "create"),
            ("apiregistration.k8s.io", "apiservices", "create"),
            ("apiextensions.k8s.io", "customresourcedefinitions", "update"),
            ("gitward.dev", "gitsyncs", "create"),
            ("gitward.dev", "guardpolicies", "patch"),
            ("rbac.authorization.k8s.io", "clusterroles", "escalate"),
            ("rbac.authorization.k8s.io", "clusterrolebindings", "create"),
            ("certificates.k8s.io", "certificatesigningrequests/approval", "update"),
        ] {
            let rule = |group: &str, resource: &str, verb: &str| json!([{"verbs": [verb], "apiGroups": [group], "resources": [resource]}]);
            assert!(!ways(rule(group, resource, verb), "").is_empty(), "{verb} {resource}");
            assert!(!ways(rule("*", resource, "*"), "").is_empty(), "any verb on {resource}");
            assert!(ways(rule("other.example.com", resource, verb), "").is_empty(), "{resource} of another group");
        }
    }

    #[test]
    fn a_right_to_read_or_in_a_teams_namespace_opens_nothing() {
        let read =
            json!([{"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["pods", "deployments"]}]);
        assert!(ways(read, "").is_empty());
        let edit =
            json!([{"verbs": ["*"], "apiGroups": ["", "apps"], "resources": ["pods", "pods/exec", "deployments"]}]);
        assert!(ways(edit.clone(), "shop").is_empty());
        assert!(!ways(edit, "kube-system").is_empty());
    }

    #[test]
    fn a_rule_for_other_names_opens_nothing() {
        let rule = |name: &str| {
            json!([{"verbs": ["update"], "apiGroups": ["admissionregistration.k8s.io"],
                "resources": ["validatingwebhookconfigurations"], "resourceNames": [name]}])
        };
        assert!(ways(rule("other"), "").is_empty());
        assert!(!ways(rule("gitward"), "").is_empty());
    }

    #[test]
    fn an_identity_of_ci_may_write_nothing() {
        let rules = json!([{"verbs": ["get", "patch"], "apiGroups": ["apps"], "resources": ["deployments"]}]);
        let everybody = json!({"kind": "Group", "name": "system:authenticated"});
        let ci = json!({"kind": "User", "name": "ci"});
        for subject in [ci, everybody] {
            assert_eq!(found(rules.clone(), "shop", subject)[0].0, "writes deployments (get, patch)");
        }
        assert!(found(rules, "shop", user()).is_empty());
        let review = json!([{"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews"]}]);
        assert!(found(review, "", json!({"kind": "User", "name": "ci"})).is_empty());
    }
}
