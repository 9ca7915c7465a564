//! Strays: what people make in a namespace that is git's alone is reported or removed, and nothing else is. A control
//! plane of its own: the GuardPolicy is the cluster's.

use gitward_test_cluster::eventually;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map};

const NS: &str = "vault";
/// What has to be there at the end as it was at the beginning.
const STAYS: [&str; 8] = [
    "serviceaccount/default",
    "configmap/kube-root-ca.crt",
    "configmap/settings",
    "configmap/child",
    "configmap/by-operator",
    "configmap/claimed",
    "secret/login",
    "configmap/elsewhere -n default",
];

#[test]
fn strays_are_reported_or_removed_and_nothing_else_is() {
    // The guard lets all through, as if somebody had come around it.
    let world = World::start_with(&["guardPolicy.mode=Audit"]);
    // Without a RoleBinding, which would be a stray too.
    world.cluster.kubectl("admin", &["create", "namespace", NS]).ok();
    let repo = world.git.repo(NS);
    repo.write("settings.yaml", &config_map(NS, "settings", "green"));
    let commit = repo.push("Settings");
    world.follow(NS, &repo);
    world.wait_applied(NS, &commit);
    make_what_stays(&world);
    declare_what_cannot_be_applied(&world, &repo);
    let before = uids(&world);

    admin(&world, &["create", "configmap", "mine", "--from-literal=a=b"]);
    set_strays(&world, "Report");
    wait_event(&world, "StrayFound", "mine", "(written by kubectl-create, ");
    wait_event(&world, "StrayFound", "by-operator", "never removes it by itself");
    wait_strays(&world, 2);
    assert!(there(&world, "configmap/mine").is_some(), "reported is not removed");

    // With the policy what was there before goes, and what comes later; kinds that come later too.
    set_strays(&world, "Remove");
    wait_gone(&world, "configmap/mine");
    wait_event(&world, "StrayRemoved", "mine", "It was removed");
    admin(&world, &["create", "deployment", "web", "--image=example.com/web:1"]);
    wait_gone(&world, "deployment/web");
    make_a_kind(&world);
    world.apply(
        "admin",
        &json!({"apiVersion": "stray.example.com/v1", "kind": "Jewel", "metadata": {"name": "ruby", "namespace": NS,
        "labels": {"a": "b"}}}),
    );
    wait_gone(&world, "jewel/ruby");
    wait_event(&world, "StrayRemoved", "ruby", "Jewel vault/ruby");
    wait_strays(&world, 1);

    set_strays(&world, "Report");
    eventually("the reconciler follows the policy", PATIENCE, || {
        let log = world.gitward.reconciler_log();
        let last = log.lines().rfind(|line| line.contains("looks for strays")).unwrap_or_default();
        if last.contains("\"remove\":false") { Ok(()) } else { Err(last.to_owned()) }
    });
    admin(&world, &["create", "configmap", "later", "--from-literal=a=b"]);
    wait_event(&world, "StrayFound", "later", "Put it into git, or delete it");
    wait_strays(&world, 2);
    assert!(there(&world, "configmap/later").is_some(), "reported is not removed any more");
    assert_eq!(uids(&world), before, "only strays go");
    let log = world.gitward.reconciler_log();
    assert!(!log.contains("panicked"), "{log}");
}

/// What is no stray, or one that is spared.
fn make_what_stays(world: &World) {
    admin(world, &["create", "secret", "generic", "login", "--from-literal=a=b"]);
    admin(world, &["create", "configmap", "by-operator", "--from-literal=a=b", "--field-manager=acme-operator"]);
    world.cluster.kubectl("admin", &["create", "configmap", "elsewhere", "--from-literal=a=b", "-n", "default"]).ok();
    // Kubernetes made it, and only kubectl stands in its managedFields.
    let account = eventually("the account of the namespace", PATIENCE, || {
        there(world, "serviceaccount/default").ok_or_else(|| "none yet".to_owned())
    });
    admin(world, &["annotate", "serviceaccount/default", "a=b"]);
    let owner = json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": account}]);
    world.apply(
        "admin",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "child", "namespace": NS,
        "ownerReferences": owner}, "data": {"a": "b"}}),
    );
}

/// Git declares an object that a person made before; it cannot be changed, so it never gets gitward's marks.
fn declare_what_cannot_be_applied(world: &World, repo: &gitward_test_cluster::Repo) {
    world.apply(
        "admin",
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "claimed", "namespace": NS},
        "immutable": true, "data": {"color": "red"}}),
    );
    repo.write("claimed.yaml", &config_map(NS, "claimed", "green"));
    repo.push("Claimed");
    eventually("the inventory lists what cannot be applied", PATIENCE, || {
        let parts = world.cluster.get(&["configmaps", "-n", "gitward-system"]).unwrap_or_default().to_string();
        if parts.contains(&format!("/ConfigMap:{NS}/claimed")) { Ok(()) } else { Err(parts) }
    });
    assert_eq!(world.field("configmap/claimed", NS, "/metadata/labels"), Value::Null, "it has no marks");
}

fn make_a_kind(world: &World) {
    world.apply(
        "admin",
        &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "jewels.stray.example.com"}, "spec": {"group": "stray.example.com", "scope": "Namespaced",
        "names": {"plural": "jewels", "singular": "jewel", "kind": "Jewel"}, "versions": [{"name": "v1", "served": true,
        "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
    );
    world.cluster.kubectl("admin", &["wait", "--for=condition=Established", "crd/jewels.stray.example.com"]).ok();
}

fn set_strays(world: &World, strays: &str) {
    let exclusive = json!({"namespaces": [NS], "except": [{"group": "", "kind": "Secret"}], "strays": strays});
    let patch = json!({"spec": {"exclusive": exclusive}}).to_string();
    world.cluster.kubectl("admin", &["patch", "guardpolicy", "default", "--type=merge", "-p", &patch]).ok();
}

fn admin(world: &World, args: &[&str]) {
    world.cluster.kubectl("admin", &[args, &["-n", NS]].concat()).ok();
}

/// The uid of an object, where there is one.
fn there(world: &World, object: &str) -> Option<String> {
    let object = match object.split_once(" -n ") {
        Some((object, namespace)) => world.cluster.get(&[object, "-n", namespace]),
        None => world.cluster.get(&[object, "-n", NS]),
    };
    object.and_then(|object| Some(object.pointer("/metadata/uid")?.as_str()?.to_owned()))
}

fn uids(world: &World) -> Vec<(&'static str, Option<String>)> {
    let all: Vec<_> = STAYS.iter().map(|object| (*object, there(world, object))).collect();
    assert!(all.iter().all(|(_, uid)| uid.is_some()), "{all:?}");
    all
}

fn wait_gone(world: &World, object: &str) {
    eventually(&format!("{object} is removed"), PATIENCE, || match there(world, object) {
        None => Ok(()),
        Some(uid) => Err(uid),
    });
}

fn wait_event(world: &World, reason: &str, name: &str, text: &str) {
    eventually(&format!("{name} has its Event {reason}"), PATIENCE, || {
        let selector = format!("--field-selector=reason={reason},involvedObject.name={name},type=Warning");
        let events = world.cluster.get(&["events", "-n", NS, &selector]).unwrap_or_default();
        let notes = events["items"].as_array().into_iter().flatten();
        let mut notes = notes.filter_map(|event| event["message"].as_str());
        if notes.any(|note| note.contains(text)) { Ok(()) } else { Err(events.to_string()) }
    });
}

fn wait_strays(world: &World, count: usize) {
    let line = format!("gitward_strays{{namespace=\"{NS}\"}} {count}");
    eventually(&line, PATIENCE, || {
        let metrics = world.gitward.reconciler_metrics();
        if metrics.lines().any(|text| text == line) {
            Ok(())
        } else {
            Err(metrics.lines().filter(|text| text.contains("gitward_strays")).collect())
        }
    });
}
