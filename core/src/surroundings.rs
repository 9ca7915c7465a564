//! What stands around the guard and is seen by no webhook: objects of the API server's own machinery that touch the kinds
//! that git declares. Pure: an object in, what it can do out.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::names;

/// The kinds that git declares, as API group and plural.
pub type PinnedKinds = BTreeSet<(String, String)>;

/// Objects, as kind and name.
pub type Named = BTreeSet<(String, String)>;

/// What decides whether an object can do something to what git declares.
#[derive(Clone, Debug)]
pub struct Around<'a> {
    /// The kinds that git declares. gitward's own count always: who changes a GuardPolicy on its way changes what is refused.
    pub pinned: &'a PinnedKinds,
    /// The names of the admission policies that have a binding.
    pub bound: &'a BTreeSet<String>,
    /// What gitward puts back as the chart made it. By name alone, since a label is whose it is who sets it.
    pub own: &'a Named,
    /// gitward's own namespace.
    pub namespace: &'a str,
}

/// The precedence of Kubernetes' own FlowSchema for service accounts (`service-accounts`): one before it is asked first.
const OF_SERVICE_ACCOUNTS: i64 = 9000;
/// The FlowSchemas that the API server makes, and keeps as they are where they say so (Kubernetes documentation, "API Priority
/// and Fairness", default configuration).
const OF_KUBERNETES: [&str; 13] = [
    "catch-all",
    "endpoint-controller",
    "exempt",
    "global-default",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-system-service-accounts",
    "probes",
    "service-accounts",
    "system-leader-election",
    "system-node-high",
    "system-nodes",
    "workload-leader-election",
];
/// The FlowSchemas of the chart, with the priority levels to which they lead. Nobody puts them back, so an altered one counts.
const OF_THE_CHART: [(&str, &str); 2] = [("gitward", "workload-high"), ("gitward-leader-election", "leader-election")];
const OWN_KINDS: [&str; 3] = ["blockedchanges", "gitsyncs", "guardpolicies"];

/// What an object of the kind `kind` can do to what git declares; `None` where it can do nothing.
pub fn finding(kind: &str, object: &Value, around: &Around<'_>) -> Option<String> {
    let name = object["metadata"]["name"].as_str()?;
    if around.own.contains(&(kind.to_owned(), name.to_owned())) {
        return None;
    }
    let mut pinned = around.pinned.clone();
    pinned.extend(OWN_KINDS.map(|plural| (names::GROUP.to_owned(), plural.to_owned())));
    let pinned = &pinned;
    match kind {
        "MutatingWebhookConfiguration" => {
            let touched = touched(webhooks(object).flat_map(rules), pinned)?;
            Some(format!("it can change {touched} while the reconciler applies them"))
        }
        "ValidatingWebhookConfiguration" => {
            let failing = webhooks(object).filter(|webhook| webhook["failurePolicy"] != "Ignore");
            let touched = touched(failing.flat_map(rules), pinned)?;
            Some(format!("it can keep the reconciler from applying and healing {touched}"))
        }
        "MutatingAdmissionPolicy" | "ValidatingAdmissionPolicy" => {
            around.bound.contains(name).then_some(())?;
            let touched = touched(items(&object["spec"]["matchConstraints"]["resourceRules"]), pinned)?;
            Some(match kind {
                "MutatingAdmissionPolicy" => format!("it can change {touched} while the reconciler applies them"),
                _ => format!("it can keep the reconciler from applying and healing {touched}"),
            })
        }
        "FlowSchema" => flow_schema(name, object, around.namespace),
        "APIService" => {
            let group = object["spec"]["group"].as_str()?;
            let served_elsewhere = object["spec"]["service"].is_object();
            (served_elsewhere && pinned.iter().any(|(pinned, _)| pinned == group))
                .then(|| format!("it answers for the group {group}, of which git declares objects"))
        }
        _ => None,
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn webhooks(object: &Value) -> impl Iterator<Item = &Value> {
    items(&object["webhooks"])
}

fn rules(webhook: &Value) -> impl Iterator<Item = &Value> {
    items(&webhook["rules"])
}

/// The pinned kinds that some rules cover, by name.
fn touched<'a>(rules: impl Iterator<Item = &'a Value>, pinned: &PinnedKinds) -> Option<String> {
    const MOST: usize = 3;
    let covers = |rule: &Value, (group, plural): &(String, String)| {
        let has = |list: &Value, name: &str| items(list).any(|item| item == "*" || item == name);
        let resources = &rule["resources"];
        has(&rule["apiGroups"], group) && (has(resources, plural) || items(resources).any(|item| item == "*/*"))
    };
    let rules: Vec<&Value> = rules.collect();
    let touched: Vec<&str> = pinned
        .iter()
        .filter(|kind| rules.iter().any(|rule| covers(rule, kind)))
        .map(|(_, plural)| plural.as_str())
        .collect();
    let more = touched.len().saturating_sub(MOST);
    let named = touched[..touched.len().min(MOST)].join(", ");
    match (touched.is_empty(), more) {
        (true, _) => None,
        (_, 0) => Some(named),
        _ => Some(format!("{named} and {more} more kinds")),
    }
}

/// A FlowSchema that takes requests of gitward's accounts before Kubernetes' own for service accounts.
fn flow_schema(name: &str, object: &Value, namespace: &str) -> Option<String> {
    let spec = &object["spec"];
    let kept = object["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] == "true";
    let level = spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default();
    if (kept && OF_KUBERNETES.contains(&name)) || OF_THE_CHART.contains(&(name, level)) {
        return None;
    }
    let precedence = spec["matchingPrecedence"].as_i64().unwrap_or(1000);
    let accounts = ["gitward-reconciler", "gitward-guard"];
    let is_ours = |subject: &Value| match subject["kind"].as_str() {
        Some("ServiceAccount") => {
            let account = &subject["serviceAccount"];
            account["namespace"] == namespace
                && (account["name"] == "*" || accounts.iter().any(|name| account["name"] == *name))
        }
        Some("User") => {
            let user = subject["user"]["name"].as_str().unwrap_or_default();
            user == "*" || accounts.iter().any(|name| user == format!("system:serviceaccount:{namespace}:{name}"))
        }
        Some("Group") => {
            let group = subject["group"]["name"].as_str().unwrap_or_default();
            ["*", "system:authenticated", "system:serviceaccounts"].contains(&group)
                || group == format!("system:serviceaccounts:{namespace}")
        }
        _ => false,
    };
    let takes = items(&spec["rules"]).flat_map(|rule| items(&rule["subjects"])).any(is_ours);
    (takes && precedence <= OF_SERVICE_ACCOUNTS)
        .then(|| "it takes gitward's requests to the API server and can keep them waiting".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(kind: &str, object: Value) -> Option<String> {
        let pinned =
            [("apps".to_owned(), "deployments".to_owned()), ("example.com".to_owned(), "widgets".to_owned())].into();
        let own = [("ValidatingAdmissionPolicy".to_owned(), "gitward-namespace".to_owned())].into();
        let bound = ["bound", "gitward-namespace", "gitward-mine"].map(str::to_owned).into();
        finding(kind, &object, &Around { pinned: &pinned, bound: &bound, own: &own, namespace: "gitward-system" })
    }

    fn configuration(group: &str, policy: &str) -> Value {
        json!({"metadata": {"name": "x"}, "webhooks": [{"failurePolicy": policy, "rules": [{"apiGroups": [group], "resources": ["*/*"]}]}]})
    }

    #[test]
    fn a_webhook_counts_where_it_covers_a_pinned_kind() {
        assert!(
            found("MutatingWebhookConfiguration", configuration("apps", "Ignore"))
                .unwrap()
                .contains("change deployments")
        );
        assert!(
            found("ValidatingWebhookConfiguration", configuration("*", "Fail"))
                .unwrap()
                .contains("deployments, widgets")
        );
        assert_eq!(found("ValidatingWebhookConfiguration", configuration("apps", "Ignore")), None);
        assert_eq!(found("MutatingWebhookConfiguration", configuration("batch", "Fail")), None);
    }

    #[test]
    fn a_policy_counts_where_it_is_bound_and_not_gitwards_own() {
        let policy = |name: &str| json!({"metadata": {"name": name, "labels": {}}, "spec": {"matchConstraints": {"resourceRules": [{"apiGroups": ["apps"], "resources": ["deployments"]}]}}});
        assert!(found("MutatingAdmissionPolicy", policy("bound")).is_some());
        assert!(found("ValidatingAdmissionPolicy", policy("bound")).is_some());
        assert_eq!(found("MutatingAdmissionPolicy", policy("unbound")), None);
        assert_eq!(found("ValidatingAdmissionPolicy", policy("gitward-namespace")), None);
        // Neither a label nor a name that sounds like it makes an object gitward's own.
        let mut forged = policy("gitward-mine");
        forged["metadata"]["labels"]["app.kubernetes.io/part-of"] = json!("gitward");
        assert!(found("ValidatingAdmissionPolicy", forged).is_some());
        assert!(found("MutatingAdmissionPolicy", policy("gitward-namespace")).is_some());
    }

    #[test]
    fn what_changes_gitwards_own_kinds_counts_though_git_declares_none() {
        assert!(
            found("MutatingWebhookConfiguration", configuration("gitward.dev", "Ignore"))
                .unwrap()
                .contains("guardpolicies")
        );
        let service = json!({"metadata": {"name": "v1alpha1.gitward.dev"}, "spec": {"group": "gitward.dev", "service": {"name": "a"}}});
        assert!(found("APIService", service).is_some());
    }

    #[test]
    fn a_flow_schema_counts_where_it_comes_first_for_gitwards_accounts() {
        let schema = |precedence: u32, group: &str| {
            json!({"metadata": {"name": "x"}, "spec": {"matchingPrecedence": precedence,
                "rules": [{"subjects": [{"kind": "Group", "group": {"name": group}}]}]}})
        };
        assert!(found("FlowSchema", schema(500, "system:serviceaccounts:gitward-system")).is_some());
        assert_eq!(found("FlowSchema", schema(9500, "system:authenticated")), None);
        assert_eq!(found("FlowSchema", schema(500, "developers")), None);
        let named = |name: &str, level: &str| {
            let mut schema = schema(500, "system:authenticated");
            schema["metadata"] = json!({"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}});
            schema["spec"]["priorityLevelConfiguration"] = json!({"name": level});
            found("FlowSchema", schema)
        };
        assert_eq!(named("probes", "exempt"), None, "the API server keeps it");
        assert!(named("mine", "exempt").is_some(), "an annotation is whose it is who sets it");
        assert_eq!(named("gitward", "workload-high"), None);
        assert!(named("gitward", "catch-all").is_some(), "it was made slow");
    }

    #[test]
    fn an_api_service_counts_where_it_answers_for_a_pinned_group() {
        let service =
            |group: &str| json!({"metadata": {"name": "x"}, "spec": {"group": group, "service": {"name": "a"}}});
        assert!(found("APIService", service("example.com")).is_some());
        assert_eq!(found("APIService", service("other.com")), None);
        assert_eq!(
            found("APIService", json!({"metadata": {"name": "v1.example.com"}, "spec": {"group": "example.com"}})),
            None
        );
    }
}
