//! gitward itself: what would let a person wear the reconciler's identity, or switch the guard off. In the cluster the
//! chart's ValidatingAdmissionPolicies refuse the same, which run in the API server and cannot be down; here the rules
//! stand so that `gitward check` says the same.

use super::super::case::Case;
use super::super::lookup::Answer;
use super::super::owner::service_account;
use super::super::review::{Operation, Request};
use super::super::who::has_pod_bound_token;
use super::super::{Reason, Subject, Verdict, Who};
use crate::fields::Object;
use crate::names;

/// Annotation of the webhook configuration: the reason for which an installer has disabled the guard.
const DISABLED: &str = "gitward.dev/disabled";
/// Where an account stands in a Pod, in what makes Pods, and in the ControllerRevision of what makes Pods.
/// There nothing fills `serviceAccountName` in from its old name.
const ACCOUNTS: [&[&str]; 5] = [
    &["spec", "serviceAccountName"],
    &["spec", "template", "spec", "serviceAccountName"],
    &["spec", "jobTemplate", "spec", "template", "spec", "serviceAccountName"],
    &["data", "spec", "template", "spec", "serviceAccountName"],
    &["data", "spec", "template", "spec", "serviceAccount"],
];
/// What may be read of a node through the API server: exactly these, since a path may be written in many ways.
const READ_ONLY: [&str; 9] = [
    "metrics",
    "metrics/cadvisor",
    "metrics/resource",
    "metrics/probes",
    "metrics/slis",
    "stats/summary",
    "healthz",
    "configz",
    "pods",
];

/// Refuses what gitward itself must be protected from.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    if case.who == Who::System || !case.touches_gitward() {
        return Ok(None);
    }
    let request = case.request;
    let is_record = (&*request.resource.group, &*request.resource.resource) == (names::GROUP, "blockedchanges");
    let allowed = if is_record {
        request.user_info.username == case.policy.own.guard && has_pod_bound_token(&request.user_info)
    } else {
        case.policy.is_installer(&request.user_info)
    };
    if allowed {
        return Ok(None);
    }
    let subject = Subject {
        group: request.resource.group.to_string(),
        kind: request.kind.kind.to_string(),
        namespace: request.namespace.to_string(),
        name: request.name.to_string(),
    };
    Ok(Some(Verdict::refuse(case.policy, Reason::GitwardProtected, subject, None)))
}

impl<'a> Case<'a> {
    fn touches_gitward(&self) -> bool {
        let request = self.request;
        let (group, resource) = (request.resource.group.as_ref(), request.resource.resource.as_ref());
        let own_name = || request.name.starts_with("gitward-") || request.name == "gitward";
        let own_kind = match (group, resource) {
            ("", "serviceaccounts") if request.sub_resource == "token" && request.namespace == "kube-system" => true,
            ("", "serviceaccounts") if request.sub_resource == "token" => self.is_token_of_a_known_account(),
            ("", "nodes") => request.sub_resource == "proxy" && !self.reads_node(),
            ("" | "apps" | "batch", _) if request.namespace == "kube-system" => self.wears_controller(),
            (names::GROUP, "guardpolicies" | "blockedchanges") => true,
            ("apiextensions.k8s.io", "customresourcedefinitions") => {
                request.operation != Operation::Create && request.name.ends_with(&format!(".{}", names::GROUP))
            }
            ("rbac.authorization.k8s.io", "clusterroles" | "clusterrolebindings")
            | ("flowcontrol.apiserver.k8s.io", "flowschemas") => own_name(),
            ("admissionregistration.k8s.io", "validatingwebhookconfigurations") => {
                request.name == "gitward" && self.disarms()
            }
            ("admissionregistration.k8s.io", _) => own_name(),
            _ => false,
        };
        own_kind || in_namespace(request, &self.policy.own.name)
    }

    /// Whether a token is asked for an account whose token makes its bearer the reconciler, an operator or an installer.
    fn is_token_of_a_known_account(&self) -> bool {
        let request = self.request;
        let account = service_account(&request.namespace, &request.name);
        let policy = self.policy;
        [policy.owner.identities(), &policy.operators, &policy.system, &policy.installers.users]
            .into_iter()
            .flatten()
            .any(|known| *known == account)
    }

    /// Whether the node is only asked for what it measures.
    fn reads_node(&self) -> bool {
        let Some(options) = &self.request.object else { return false };
        let path = options.at(&["path"]).and_then(|path| path.as_str()).unwrap_or_default();
        READ_ONLY.contains(&path.trim_matches('/'))
    }

    /// Whether a Pod in kube-system, or what makes Pods there, has an account that only the controller manager uses, without a Pod.
    fn wears_controller(&self) -> bool {
        if !self.request.sub_resource.is_empty() {
            return false;
        }
        let Some(object) = &self.request.object else { return false };
        let account = |path: &&[&str]| object.at(path).and_then(|name| name.as_str());
        ACCOUNTS.iter().filter_map(account).any(|account| names::CONTROLLER_ACCOUNTS.contains(&&*account))
    }

    /// Whether gitward's webhook configuration would be deleted or changed, and no installer has disabled it before.
    fn disarms(&self) -> bool {
        let Some(old) = &self.request.old_object else { return false };
        if old.annotation(DISABLED).is_some() {
            return false;
        }
        let Some(new) = &self.request.object else { return true };
        let webhooks = |object: &Object<'a>| object.at(&["webhooks"]);
        match (webhooks(old), webhooks(new)) {
            (Some(old), Some(new)) => !old.same(new),
            (old, new) => old != new,
        }
    }
}

/// Whether the request is about the namespace or something in it. Drains must work there too.
fn in_namespace(request: &Request<'_>, namespace: &str) -> bool {
    request.namespace == namespace && request.sub_resource != "eviction"
}
