//! The two service accounts have the rights that they need, and the guard's no other.

use crate::support::World;

fn can(verb: &str, resource: &str, account: &str) -> bool {
    let account = format!("system:serviceaccount:gitward-system:{account}");
    let args = ["auth", "can-i", verb, resource, "-A", "--as", &account];
    World::shared().cluster.kubectl("admin", &args).stdout.trim() == "yes"
}

#[test]
fn the_guard_reads_what_it_looks_up_and_writes_its_records_and_nothing_else() {
    let allowed = [
        ("get", "deployments.apps"),
        ("get", "replicasets.apps"),
        ("get", "statefulsets.apps"),
        ("list", "gitsyncs.gitward.dev"),
        ("watch", "guardpolicies.gitward.dev"),
        ("create", "blockedchanges.gitward.dev"),
        ("update", "blockedchanges.gitward.dev"),
        ("delete", "blockedchanges.gitward.dev"),
    ];
    for (verb, resource) in allowed {
        assert!(can(verb, resource, "gitward-guard"), "it needs to {verb} {resource}");
    }
    let resources = [
        "deployments.apps",
        "pods",
        "configmaps",
        "secrets",
        "serviceaccounts",
        "clusterroles.rbac.authorization.k8s.io",
        "gitsyncs.gitward.dev",
        "guardpolicies.gitward.dev",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    ];
    for resource in resources {
        for verb in ["create", "update", "patch", "delete", "deletecollection", "impersonate"] {
            assert!(!can(verb, resource, "gitward-guard"), "it may {verb} {resource}");
        }
    }
    for (verb, resource) in [
        ("get", "secrets"),
        ("list", "secrets"),
        ("get", "configmaps"),
        ("list", "pods"),
        ("watch", "deployments.apps"),
    ] {
        assert!(!can(verb, resource, "gitward-guard"), "it may {verb} {resource}");
    }
}

#[test]
fn only_the_reconciler_writes_workloads() {
    assert!(can("update", "deployments.apps", "gitward-reconciler"));
    assert!(!can("update", "deployments.apps", "default"));
}
