//! Who is asking: the first question of every verdict.
//!
//! A name proves nothing by itself: `edit` and `admin` may impersonate the service accounts of their namespace. What
//! tells a real token from a borrowed name is in `uid` and `extra`, which impersonation does not carry.

use super::policy::Policy;
use super::review::UserInfo;

/// The class of a caller, which the verdict's table has a column for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The GitOps identity: the reconciler's account with a token bound to its pod.
    GitOps,
    /// A part of Kubernetes itself.
    System,
    /// A service account that the policy lists, with a pod-bound token.
    Operator,
    /// Everybody else: users, CI accounts, all other service accounts, and whoever wears a name without its token.
    Person,
}

impl Who {
    /// The class of `user` under a policy.
    pub fn of(user: &UserInfo<'_>, policy: &Policy) -> Who {
        let name = user.username.as_ref();
        let bound = |account: &String| account == name && has_pod_bound_token(user);
        if policy.owner.is(user) || bound(&policy.own.reconciler) {
            Who::GitOps
        } else if is_system(user) || policy.system.iter().any(|system| system == name) {
            Who::System
        } else if policy.operators.iter().any(bound) {
            Who::Operator
        } else {
            Who::Person
        }
    }
}

/// The names under which the parts of the control plane authenticate (Kubernetes RBAC documentation, "Core component
/// roles"; K3s and RKE2 run some of them under names of their own). Client certificates carry them, so no token can be
/// asked for.
const COMPONENTS: [&str; 8] = [
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:apiserver",
    "system:cloud-controller-manager",
    "system:k3s-controller",
    "system:rke2-controller",
    "k3s-cloud-controller-manager",
    "rke2-cloud-controller-manager",
];

fn is_system(user: &UserInfo<'_>) -> bool {
    let name = user.username.as_ref();
    COMPONENTS.contains(&name)
        || name.starts_with("system:node:")
        || (name.starts_with("system:serviceaccount:kube-system:") && has_own_token(user))
}

/// Whether a service account shows a token of its own: with a uid and a `JTI=` credential, which no impersonation has.
fn has_own_token(user: &UserInfo<'_>) -> bool {
    let credentials = user.extra.as_ref().map(|extra| extra.credential_id.as_slice()).unwrap_or_default();
    !user.uid.is_empty() && credentials.iter().any(|id| id.starts_with("JTI="))
}

/// Whether the caller's token is bound to a pod, and is the account's own.
pub(super) fn has_pod_bound_token(user: &UserInfo<'_>) -> bool {
    has_own_token(user)
        && user.extra.as_ref().is_some_and(|extra| !extra.pod_name.is_empty() && !extra.pod_uid.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(json: &str) -> Who {
        let user: UserInfo<'_> = serde_json::from_str(json).unwrap();
        let mut policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
        policy.operators.push("system:serviceaccount:cert-manager:cert-manager".to_owned());
        policy.system.push("acme:controllers".to_owned());
        Who::of(&user, &policy)
    }

    const RECONCILER: &str = "system:serviceaccount:gitward-system:gitward-reconciler";

    #[test]
    fn the_gitops_identity_needs_the_name_and_a_pod_bound_token() {
        let bound = r#"{"authentication.kubernetes.io/pod-name":["p"],"authentication.kubernetes.io/pod-uid":["u"],
            "authentication.kubernetes.io/credential-id":["JTI=1"]}"#;
        assert_eq!(who(&format!(r#"{{"username":"{RECONCILER}","uid":"1","extra":{bound}}}"#)), Who::GitOps);
        assert_eq!(who(&format!(r#"{{"username":"mallory","uid":"1","extra":{bound}}}"#)), Who::Person);
        assert_eq!(who(&format!(r#"{{"username":"{RECONCILER}"}}"#)), Who::Person);
        let unbound = r#"{"authentication.kubernetes.io/credential-id":["JTI=1"]}"#;
        assert_eq!(who(&format!(r#"{{"username":"{RECONCILER}","uid":"1","extra":{unbound}}}"#)), Who::Person);
    }

    #[test]
    fn a_borrowed_kube_system_name_is_a_person() {
        let name = "system:serviceaccount:kube-system:generic-garbage-collector";
        assert_eq!(who(&format!(r#"{{"username":"{name}"}}"#)), Who::Person);
        let certificate = r#"{"authentication.kubernetes.io/credential-id":["X509SHA256=1"]}"#;
        assert_eq!(who(&format!(r#"{{"username":"{name}","uid":"1","extra":{certificate}}}"#)), Who::Person);
        let token = r#"{"authentication.kubernetes.io/credential-id":["JTI=1"]}"#;
        assert_eq!(who(&format!(r#"{{"username":"{name}","uid":"1","extra":{token}}}"#)), Who::System);
        assert_eq!(who(r#"{"username":"system:node:n1"}"#), Who::System);
        assert_eq!(who(r#"{"username":"system:nodes"}"#), Who::Person);
    }

    #[test]
    fn a_listed_operator_needs_a_token_of_its_pod() {
        let name = "system:serviceaccount:cert-manager:cert-manager";
        let bound = r#"{"authentication.kubernetes.io/pod-name":["p"],"authentication.kubernetes.io/pod-uid":["u"],
            "authentication.kubernetes.io/credential-id":["JTI=1"]}"#;
        assert_eq!(who(&format!(r#"{{"username":"{name}","uid":"1","extra":{bound}}}"#)), Who::Operator);
        assert_eq!(who(&format!(r#"{{"username":"{name}","uid":"1"}}"#)), Who::Person);
        let other = "system:serviceaccount:cert-manager:other";
        assert_eq!(who(&format!(r#"{{"username":"{other}","uid":"1","extra":{bound}}}"#)), Who::Person);
    }

    #[test]
    fn the_policy_adds_parts_of_kubernetes() {
        assert_eq!(who(r#"{"username":"acme:controllers"}"#), Who::System);
        assert_eq!(who(r#"{"username":"system:k3s-controller"}"#), Who::System);
    }
}
