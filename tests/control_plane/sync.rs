//! What git declares is in the cluster.

use gitward_test_cluster::eventually;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, condition, config_map, deployment, sync};

#[test]
fn a_commit_is_applied_and_what_it_drops_is_pruned() {
    let (world, ns) = (World::shared(), "commits");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("web.yaml", &deployment(ns, "web", 3));
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let first = repo.push("The web shop");
    world.follow(ns, &repo);
    world.wait_applied(ns, &first);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green");
    assert_eq!(world.status(ns)["objects"], 2);

    repo.write("web.yaml", &deployment(ns, "web", 5));
    repo.remove("settings.yaml");
    let second = repo.push("Five, and no settings");
    world.wait_applied(ns, &second);
    assert_eq!(world.field("deployment/web", ns, "/spec/replicas"), 5);
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none());
    assert_eq!(world.status(ns)["objects"], 1);
}

#[test]
fn definitions_and_namespaces_come_before_what_needs_them() {
    let (world, ns) = (World::shared(), "ordered");
    let repo = world.git.repo(ns);
    // In the order of their names everything stands before what it needs.
    let widget =
        "apiVersion: ordered.example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: ordered}\nspec: {size: 1}\n";
    repo.write("a-widget.yaml", widget);
    repo.write("b-settings.yaml", &config_map(ns, "settings", "green"));
    let crd =
        std::fs::read_to_string(gitward_test_cluster::workspace().join("examples/shop/crd/widgets.yaml")).unwrap();
    repo.write("y-crd.yaml", &crd.replace("shop.example.com", "ordered.example.com"));
    repo.write("z-namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: ordered}\n");
    let commit = repo.push("All at once");
    world.apply("admin", &sync(ns, &repo.file_url(), json!({})));
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("widgets.ordered.example.com/a", ns, "/spec/size"), 1);
}

#[test]
fn an_object_that_was_there_before_is_taken_over() {
    let (world, ns) = (World::shared(), "adopted");
    world.namespace(ns);
    let cm = ["create", "configmap", "settings", "--from-literal=color=red", "--from-literal=extra=1", "-n", ns];
    world.cluster.kubectl("dev", &cm).ok();
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("Ours now");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green");
    world.cluster.kubectl("dev", &["delete", "configmap", "settings", "-n", ns]).refused();
}

#[test]
fn a_gitsync_outside_of_gitwards_namespace_is_stalled_with_the_reason() {
    let (world, ns) = (World::shared(), "elsewhere");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.push("Something");
    let mut elsewhere = sync(ns, &repo.file_url(), json!({}));
    elsewhere["metadata"]["namespace"] = json!(ns);
    world.apply("admin", &elsewhere);
    let stalled = eventually("it is stalled", PATIENCE, || {
        let status = world.field(&format!("gitsync/{ns}"), ns, "/status");
        Some(condition(&status, "Stalled")).filter(|c| *c != Value::Null).ok_or_else(|| status.to_string())
    });
    assert_eq!(stalled["reason"], "NotAllowed");
    assert!(stalled["message"].as_str().unwrap().contains("gitward-system"), "{stalled}");
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none());
}

#[test]
fn deleting_a_gitsync_leaves_its_objects_free_or_deletes_them_as_its_policy_says() {
    let world = World::shared();
    for (ns, policy) in [("orphaned", "Orphan"), ("removed", "Delete")] {
        world.namespace(ns);
        let repo = world.git.repo(ns);
        repo.write("settings.yaml", &config_map(ns, "settings", "green"));
        let commit = repo.push("Something");
        world.apply("admin", &sync(ns, &repo.file_url(), json!({"deletionPolicy": policy})));
        world.wait_applied(ns, &commit);
        world.cluster.kubectl("admin", &["delete", "gitsync", ns, "-n", "gitward-system", "--timeout=60s"]).ok();
    }
    assert_eq!(world.field("configmap/settings", "orphaned", "/data/color"), "green");
    world.cluster.kubectl("dev", &["delete", "configmap", "settings", "-n", "orphaned"]).ok();
    assert!(world.cluster.get(&["configmap/settings", "-n", "removed"]).is_none());
    assert_eq!(world.field("namespace/removed", "", "/metadata/labels/gitward.dev~1guarded"), Value::Null);
}

#[test]
fn a_suspended_gitsync_neither_applies_nor_heals() {
    let (world, ns) = (World::shared(), "suspended");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.push("Something");
    world.apply("admin", &sync(ns, &repo.file_url(), json!({"suspend": true})));
    world.wait_reason(ns, "Suspended");
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none());
    world.apply("admin", &sync(ns, &repo.file_url(), json!({"suspend": false})));
    world.wait_reason(ns, "ReconciliationSucceeded");
}
