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

/// What makes Pods, under an account.
fn workloads(account: &str) -> Vec<Value> {
    let labels = json!({"app": "wear"});
    let template = |field: &str, restart: &str| json!({"metadata": {"labels": labels}, "spec": {field: account, "restartPolicy": restart, "containers": [{"name": "x", "image": "x:1"}]}});
    let pods = template("serviceAccountName", "Always");
    let selector = json!({"matchLabels": labels});
    let job = json!({"template": template("serviceAccountName", "Never")});
    let of = |api_version: &str, kind: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "wear", "namespace": "kube-system"}, "spec": spec});
    let mut revision = of("apps/v1", "ControllerRevision", Value::Null);
    revision.as_object_mut().unwrap().remove("spec");
    revision["revision"] = json!(1);
    revision["data"] = json!({"spec": {"template": pods}});
    vec![
        of("apps/v1", "Deployment", json!({"replicas": 0, "selector": selector, "template": pods})),
        // The older name of the field.
        of(
            "apps/v1",
            "Deployment",
            json!({"replicas": 0, "selector": selector, "template": template("serviceAccount", "Always")}),
        ),
        of("apps/v1", "ReplicaSet", json!({"replicas": 0, "selector": selector, "template": pods})),
        of(
            "apps/v1",
            "StatefulSet",
            json!({"replicas": 0, "serviceName": "x", "selector": selector, "template": pods}),
        ),
        of("apps/v1", "DaemonSet", json!({"selector": selector, "template": pods})),
        of("v1", "ReplicationController", json!({"replicas": 0, "selector": labels, "template": pods})),
        of("batch/v1", "Job", job.clone()),
        of("batch/v1", "CronJob", json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}})),
        revision,
    ]
}

#[test]
fn nobody_but_an_installer_has_pods_made_under_an_account_of_the_controller_manager() {
    let world = with_ops();
    let create = |user: &str, object: &Value| {
        let args = ["create", "--dry-run=server", "-f", "-"];
        world.cluster.kubectl_in(user, &args, Some(&object.to_string()))
    };
    let refusal = "This account is the controller manager's";
    for object in workloads("pod-garbage-collector") {
        refused(&create("ops", &object), refusal);
        create("admin", &object).ok();
    }
    // Accounts of add-ons are called like that, too.
    for object in workloads("load-balancer-controller") {
        create("ops", &object).ok();
    }
    let mut harmless = workloads("default").swap_remove(0);
    world.apply("ops", &harmless);
    harmless["spec"]["template"]["spec"]["serviceAccountName"] = json!("namespace-controller");
    refused(&world.try_apply("ops", &harmless), refusal);
    world.cluster.kubectl("admin", &["delete", "deployment", "wear", "-n", "kube-system"]).ok();
}

#[test]
fn the_accounts_of_the_controller_manager_are_those_that_kubernetes_binds() {
    let world = with_ops();
    let policy = world.cluster.get(&["validatingadmissionpolicy", "gitward-system-accounts"]).unwrap();
    let expression = policy["spec"]["validations"][0]["expression"].as_str().unwrap();
    let known = gitward_core::names::CONTROLLER_ACCOUNTS;
    assert_eq!(expression.matches('\'').count(), 2 * known.len() + 2, "the same list, and an empty text: {expression}");
    known.iter().for_each(|name| assert!(expression.contains(&format!("'{name}'")), "{name}"));
    let mut bindings = world.cluster.get(&["clusterrolebindings,rolebindings", "-A"]).unwrap();
    let bindings = bindings["items"].as_array_mut().unwrap();
    bindings.retain(|b| b["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("system:controller:")));
    assert!(bindings.len() > 30, "{}", bindings.len());
    for subject in bindings.iter().flat_map(|binding| binding["subjects"].as_array().unwrap()) {
        let name = subject["name"].as_str().unwrap();
        assert!(subject["namespace"] == "kube-system" && known.contains(&name), "{subject}");
    }
}

/// The token controller fills such a Secret for whoever may make one. Its token has no id, so it is nobody's of Kubernetes.
#[test]
fn a_token_kept_in_a_secret_makes_nobody_a_part_of_kubernetes() {
    let (ns, world) = ("token-in-secret", with_ops());
    world.declare_settings(ns);
    let metadata = json!({"name": "stolen", "namespace": "kube-system",
        "annotations": {"kubernetes.io/service-account.name": "namespace-controller"}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/service-account-token"});
    world.apply("ops", &secret);
    let token = eventually("the token is made", PATIENCE, || {
        let output = world.cluster.kubectl(
            "ops",
            &["get", "secret", "stolen", "-n", "kube-system", "-o", "go-template={{.data.token | base64decode}}"],
        );
        if output.status == 0 && output.stdout.starts_with("ey") { Ok(output.stdout) } else { Err(output.stderr) }
    });
    let file = world.cluster.dir().join("stolen.token");
    std::fs::write(&file, token.trim()).unwrap();
    world.cluster.kubeconfig_with_token_file("stolen", &file);
    let whoami = world.cluster.kubectl("stolen", &["auth", "whoami", "-o", "json"]);
    assert!(whoami.ok().contains("system:serviceaccount:kube-system:namespace-controller"), "{}", whoami.stdout);
    let delete = world.cluster.kubectl("stolen", &["delete", "configmap", "settings", "-n", ns]);
    refused(&delete, "is pinned to git");
    world.cluster.kubectl("admin", &["delete", "secret", "stolen", "-n", "kube-system"]).ok();
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
    assert_eq!(own.len(), 8);
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

/// Who may write policies may add to them what lets everything through. An apply alone would leave that.
#[test]
fn what_is_added_to_the_policies_and_the_webhooks_is_taken_out() {
    let world = with_ops();
    let everything =
        json!([{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"], "scope": "*"}]);
    let never = json!({"name": "never", "expression": "false"});
    let elsewhere = json!({"namespaceSelector": {"matchLabels": {"no": "namespace"}}});
    for (object, pointer, value) in [
        ("validatingadmissionpolicy/gitward-node-proxy", "/spec/matchConstraints/excludeResourceRules", everything),
        ("validatingadmissionpolicy/gitward-node-proxy", "/spec/matchConditions/3", never),
        ("validatingadmissionpolicybinding/gitward-node-proxy", "/spec/matchResources", elsewhere),
    ] {
        let patch = json!([{"op": "add", "path": pointer, "value": value}]).to_string();
        // Another test deletes it, and it is put back.
        eventually(&format!("{object} is changed"), PATIENCE, || {
            let patched = world.cluster.kubectl("ops", &["patch", object, "--type=json", "-p", &patch]);
            if patched.status == 0 { Ok(()) } else { Err(patched.stderr) }
        });
        gone(world, object, pointer);
    }
    let webhook = "validatingwebhookconfiguration/gitward";
    let live = world.cluster.get(&[webhook]).unwrap();
    let entries = live["webhooks"].as_array().unwrap();
    let index = entries.iter().position(|entry| entry["name"] == "aggregation.gitward.dev").unwrap();
    let pointer = format!("/webhooks/{index}/objectSelector/matchLabels");
    let patch = json!([{"op": "add", "path": pointer, "value": {"no": "object"}}]).to_string();
    world.cluster.kubectl("admin", &["patch", webhook, "--type=json", "-p", &patch]).ok();
    gone(world, webhook, &pointer);
}

/// Waits until an object has no such field.
fn gone(world: &World, object: &str, pointer: &str) {
    eventually(&format!("{object} has no {pointer}"), PATIENCE, || match world.field(object, "default", pointer) {
        Value::Null => Ok(()),
        live => Err(live.to_string()),
    });
}
