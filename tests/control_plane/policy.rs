//! The GuardPolicy: what it may say, and what its exclusive namespaces close.

use gitward_test_cluster::eventually;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment};

fn policy(spec: &Value) -> Value {
    json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GuardPolicy", "metadata": {"name": "default"}, "spec": spec})
}

#[test]
fn a_policy_that_cannot_be_followed_is_refused_at_the_door() {
    let world = World::shared();
    for (spec, expected) in [
        (json!({"mode": "Off"}), "spec.mode"),
        (json!({"allow": ["spec"]}), "spec.allow[0]"),
        (json!({"allow": ["/metadata/ownerReferences"]}), "cannot be allowed"),
        (json!({"allow": ["/*"]}), "cannot be allowed"),
        (json!({"callers": {"operators": ["keda-operator"]}}), "spec.callers.operators[0]"),
        (json!({"callers": {"system": ["system:serviceaccount:a:b"]}}), "a service account belongs in operators"),
        (json!({"installers": {"serviceAccounts": ["a/b/c"]}}), "spec.installers.serviceAccounts[0]"),
        (json!({"exclusive": {"namespaces": ["Shop"]}}), "spec.exclusive.namespaces[0]"),
        (json!({"descendants": {"exec": "Forbid"}}), "spec.descendants.exec"),
        (json!({"owner": {"preset": "Jenkins"}}), "spec.owner.preset"),
    ] {
        let args = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
        let output = world.cluster.kubectl_in("admin", &args, Some(&policy(&spec).to_string()));
        assert!(output.refused().contains(expected), "{spec}: {}", output.stderr);
    }
}

#[test]
fn in_an_exclusive_namespace_nothing_is_created_outside_of_git() {
    let (ns, world) = ("payments", World::shared());
    world.namespace(ns);
    let dev = |args: &[&str]| world.cluster.kubectl("dev", &[args, &["-n", ns]].concat());
    dev(&["create", "configmap", "before", "--from-literal=a=1"]).ok();
    dev(&["create", "deployment", "old", "--image=example.com/old:1"]).ok();
    let restart = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
    let exclusive = policy(&json!({"mode": "Enforce", "allow": [restart], "exclusive": {"namespaces": [ns]}}));
    let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    world.cluster.kubectl_in("admin", &args, Some(&exclusive.to_string())).ok();
    let kept = "is kept by git alone";
    eventually("the namespace is git's alone", PATIENCE, || {
        let output = dev(&["create", "configmap", "mine", "--dry-run=server"]);
        if output.stderr.contains(kept) { Ok(()) } else { Err(output.stdout + &output.stderr) }
    });
    for args in [
        &["run", "mine", "--image=example.com/mine:1"][..],
        &["create", "deployment", "mine", "--image=example.com/mine:1"],
        &["label", "configmap", "before", "a=b"],
        &["delete", "configmap", "before"],
        &["scale", "deployment", "old", "--replicas=3"],
    ] {
        assert!(dev(args).refused().contains(kept), "{args:?}");
    }
    for args in
        [&["label", "namespace", ns, "gitward.dev/exclusive-"][..], &["delete", "namespace", ns, "--wait=false"]]
    {
        let output = world.cluster.kubectl("admin", args);
        assert!(output.refused().contains("holds objects that are pinned to git"), "{args:?}: {}", output.stderr);
    }
    let lease =
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "mine", "namespace": ns}});
    world.apply("admin", &lease);

    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.write("web.yaml", &deployment(ns, "web", 1));
    let commit = repo.push("From git it comes in");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    // What the policy allows is allowed, and nothing beside it.
    dev(&["rollout", "restart", "deployment/web"]).ok();
    assert!(dev(&["rollout", "pause", "deployment/web"]).refused().contains("spec.paused"));
    eventually("what was refused is recorded", PATIENCE, || {
        let records = world.cluster.get(&["blockedchanges", "-n", ns]).unwrap_or_default();
        let records = records["items"].as_array().cloned().unwrap_or_default();
        if records.iter().any(|r| r["spec"]["reason"] == "ExclusiveNamespace") {
            Ok(())
        } else {
            Err(format!("{records:?}"))
        }
    });
}
