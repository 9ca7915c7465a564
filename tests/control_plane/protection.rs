//! gitward itself is changed by its installers and nobody else, with or without a guard.

use std::sync::Once;

use gitward_test_cluster::{Output, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, sync};

/// `ops` may do everything in the cluster by RBAC, and is no installer.
fn with_ops() -> &'static World {
    static BOUND: Once = Once::new();
    let world = World::shared();
    BOUND.call_once(|| {
        let bind = ["create", "clusterrolebinding", "ops", "--clusterrole=cluster-admin", "--user=ops"];
        world.cluster.kubectl("admin", &bind).ok();
        eventually("the admission policies are in force", PATIENCE, || {
            let create = ["create", "configmap", "probe", "-n", "gitward-system", "--dry-run=server"];
            let output = world.cluster.kubectl("ops", &create);
            if output.status == 0 { Err(output.stdout) } else { Ok(()) }
        });
    });
    world
}

fn refused(output: &Output, expected: &str) {
    assert!(output.refused().contains(expected), "{}: {}", output.command, output.stderr);
}

#[test]
fn nobody_but_an_installer_writes_into_the_namespace_of_gitward() {
    let world = with_ops();
    let ns = ["-n", "gitward-system"];
    let ops = |args: &[&str]| world.cluster.kubectl("ops", &[args, &ns].concat());
    let own = "is gitward's own";
    let pods = world.cluster.get(&["pods", "-n", "gitward-system"]).unwrap();
    let pod = pods["items"][0]["metadata"]["name"].as_str().unwrap().to_owned();
    for args in [
        &["create", "token", "gitward-reconciler"][..],
        &["run", "wear", "--image=x:1", "--overrides", r#"{"spec":{"serviceAccountName":"gitward-reconciler"}}"#],
        &["label", "pod", &pod, "x=y"],
        &["delete", "pod", &pod, "--wait=false"],
        &["scale", "deployment", "gitward-guard", "--replicas=0"],
        &["set", "image", "deployment", "gitward-reconciler", "reconciler=evil:1"],
        &["delete", "deployment", "gitward-reconciler"],
        &["create", "secret", "generic", "mine"],
        &["delete", "secret", "gitward-guard-ca"],
        &["delete", "configmap", "gitward-webhook"],
        &["create", "rolebinding", "mine", "--clusterrole=admin", "--user=dev"],
    ] {
        refused(&ops(args), own);
    }
    let exec = format!("/api/v1/namespaces/gitward-system/pods/{pod}/exec?command=true");
    refused(&world.cluster.kubectl("ops", &["get", "--raw", &exec]), own);
    refused(&world.cluster.kubectl("ops", &["delete", "namespace", "gitward-system", "--wait=false"]), own);
    refused(&world.try_apply("ops", &sync("mine", "https://git.example.com/x/y", json!({}))), own);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "gitward-system"}});
    let path = format!("/api/v1/namespaces/gitward-system/pods/{pod}/eviction?dryRun=All");
    let output = world.cluster.kubectl_in("ops", &["create", "--raw", &path, "-f", "-"], Some(&eviction.to_string()));
    assert!(!output.stderr.contains(own), "drains work: {}", output.stderr);
    let allowed = ["create", "configmap", "by-installer", "-n", "gitward-system", "--dry-run=server"];
    world.cluster.kubectl("admin", &allowed).ok();
}

#[test]
fn nobody_but_an_installer_becomes_a_part_of_kubernetes() {
    let world = with_ops();
    let ops = |args: &[&str]| world.cluster.kubectl("ops", args);
    let kube = ["-n", "kube-system"];
    let token = ["create", "token", "generic-garbage-collector"];
    refused(&ops(&[&token[..], &kube].concat()), "would be taken for a part of Kubernetes");
    let wear = |account: &str| {
        let spec = json!({"spec": {"serviceAccountName": account}}).to_string();
        ops(&["run", "wear", "--image=x:1", "--dry-run=server", "--overrides", &spec, "-n", "kube-system"])
    };
    refused(&wear("namespace-controller"), "This account is the controller manager's");
    wear("default").ok();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    world.apply("admin", &node);
    let run = "/api/v1/nodes/n1/proxy/run/gitward-system/x/y";
    refused(&ops(&["get", "--raw", run]), "one can run commands in any Pod");
    let metrics = ops(&["get", "--raw", "/api/v1/nodes/n1/proxy/metrics"]);
    assert!(
        !metrics.stderr.contains("one can run commands"),
        "there is no kubelet, and no refusal: {}",
        metrics.stderr
    );
    // Elsewhere tokens are minted as before.
    ops(&["create", "token", "default", "-n", "default"]).ok();
}

#[test]
fn nobody_but_an_installer_changes_what_gitward_is_made_of() {
    let world = with_ops();
    let part = "This is a part of gitward";
    for args in [
        &["delete", "validatingwebhookconfiguration", "gitward"][..],
        &["delete", "validatingwebhookconfigurations", "--all"],
        &["annotate", "validatingwebhookconfiguration", "gitward", "gitward.dev/disabled=because"],
        &["delete", "crd", "gitsyncs.gitward.dev"],
        &["label", "crd", "gitsyncs.gitward.dev", "x=y"],
        &[
            "patch",
            "crd",
            "gitsyncs.gitward.dev",
            "--subresource=status",
            "--type=merge",
            "-p",
            r#"{"status":{"conditions":[]}}"#,
        ],
        &["delete", "clusterrole", "gitward-guard"],
        &["delete", "clusterrolebinding", "gitward-reconciler"],
        &["patch", "guardpolicy", "default", "--type=merge", "-p", r#"{"spec":{"mode":"Audit"}}"#],
        &["delete", "guardpolicy", "default"],
    ] {
        refused(&world.cluster.kubectl("ops", args), part);
    }
    world.cluster.kubectl("ops", &["create", "clusterrole", "of-ops", "--verb=get", "--resource=pods"]).ok();
}

#[test]
fn records_are_the_guards_alone() {
    let world = with_ops();
    let record = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "BlockedChange", "metadata": {"name": "forged", "namespace": "default"},
        "spec": {"user": "dev", "verb": "delete", "object": {"group": "", "kind": "Pod", "namespace": "default", "name": "x"}, "summary": "x", "reason": "x", "decision": "deny",
        "fields": [], "fieldSummary": "", "gitSync": "", "origin": "", "count": 1, "firstTime": "2026-01-01T00:00:00Z", "lastTime": "2026-01-01T00:00:00Z"}});
    for user in ["ops", "admin"] {
        let args = ["create", "--validate=false", "-f", "-"];
        let output = world.cluster.kubectl_in(user, &args, Some(&record.to_string()));
        refused(&output, "only the guard writes them");
    }
}

#[test]
fn a_gitsync_of_a_team_takes_the_right_to_impersonate_its_account() {
    let (ns, world) = ("team-sync", with_ops());
    world.namespace(ns);
    let team = |account: Option<&str>| {
        let mut sync = sync("team", "https://git.example.com/x/y", json!({}));
        sync["metadata"]["namespace"] = json!(ns);
        if let Some(account) = account {
            sync["spec"]["serviceAccountName"] = json!(account);
        }
        sync
    };
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "syncs", "namespace": ns},
        "rules": [{"apiGroups": ["gitward.dev"], "resources": ["gitsyncs", "gitsyncs/status"], "verbs": ["*"]}]});
    world.apply("admin", &role);
    let bind = ["create", "rolebinding", "syncs", "--role=syncs", "--user=ci", "-n", ns];
    world.cluster.kubectl("admin", &bind).ok();
    eventually("ci may write GitSyncs", PATIENCE, || {
        let output = world.try_apply("ci", &team(None));
        if output.stderr.contains("set spec.serviceAccountName") { Ok(()) } else { Err(output.stderr) }
    });
    refused(&world.try_apply("ci", &team(Some("deployer"))), "takes the right to impersonate that account");
    // The role admin holds it for the accounts of its namespace.
    world
        .cluster
        .kubectl("admin", &["create", "rolebinding", "syncs-dev", "--role=syncs", "--user=dev", "-n", ns])
        .ok();
    eventually("dev may write GitSyncs", PATIENCE, || {
        let output = world.try_apply("dev", &team(Some("deployer")));
        if output.status == 0 { Ok(()) } else { Err(output.stderr) }
    });
    let status = [
        "patch",
        "gitsync",
        "team",
        "-n",
        ns,
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"objects":1}}"#,
    ];
    refused(&world.cluster.kubectl("dev", &status), "Only the reconciler writes the status");
}

#[test]
fn the_policies_are_put_back_and_have_no_mistakes() {
    let world = with_ops();
    let policies = || world.cluster.get(&["validatingadmissionpolicies"]).unwrap_or_default();
    let listed = policies()["items"].as_array().cloned().unwrap_or_default();
    let own: Vec<&Value> =
        listed.iter().filter(|p| p["metadata"]["name"].as_str().is_some_and(|n| n.starts_with("gitward-"))).collect();
    assert_eq!(own.len(), 7);
    for policy in own {
        let name = policy["metadata"]["name"].as_str().unwrap();
        let warnings = eventually("the policy was checked", PATIENCE, || {
            let policy = world.cluster.get(&["validatingadmissionpolicy", name]).unwrap_or_default();
            policy["status"].get("typeChecking").cloned().ok_or_else(|| policy.to_string())
        });
        assert_eq!(warnings["expressionWarnings"], Value::Null, "{name}: {warnings}");
    }
    // Nothing in the API server is asked about these: only putting back helps.
    world.cluster.kubectl("ops", &["delete", "validatingadmissionpolicybinding", "gitward-node-proxy"]).ok();
    world.cluster.kubectl("ops", &["delete", "validatingadmissionpolicy", "gitward-node-proxy"]).ok();
    eventually("both are back", PATIENCE, || {
        let back = |kind| world.cluster.get(&[kind, "gitward-node-proxy"]).is_some();
        let both = back("validatingadmissionpolicy") && back("validatingadmissionpolicybinding");
        if both { Ok(()) } else { Err(policies().to_string()) }
    });
}
