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
    eventually("the objects are free, or gone", PATIENCE, || {
        let label = world.field("configmap/settings", "orphaned", "/metadata/labels/gitward.dev~1sync-name");
        let removed = world.cluster.get(&["configmap/settings", "-n", "removed"]);
        let guarded = world.field("namespace/removed", "", "/metadata/labels/gitward.dev~1guarded");
        let is = label.is_null() && removed.is_none() && guarded.is_null();
        if is { Ok(()) } else { Err(format!("{label} {removed:?} {guarded}")) }
    });
    assert_eq!(world.field("configmap/settings", "orphaned", "/data/color"), "green");
    world.cluster.kubectl("dev", &["delete", "configmap", "settings", "-n", "orphaned"]).ok();
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

#[test]
fn a_suspension_ends_at_its_time() {
    let (world, ns) = (World::shared(), "suspended-until");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("Something");
    let soon = jiff::Timestamp::now().as_second() + 4;
    let until = jiff::Timestamp::from_second(soon).unwrap().to_string();
    world.apply("admin", &sync(ns, &repo.file_url(), json!({"suspend": true, "suspendUntil": until})));
    let text = condition(&world.wait_reason(ns, "Suspended"), "Ready")["message"].to_string();
    assert!(text.contains(&until), "{text}");
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none());
    world.wait_applied(ns, &commit);
}

#[test]
fn a_look_can_be_asked_for_as_with_flux() {
    let (world, ns) = (World::shared(), "requested");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let first = repo.push("Something");
    let source = json!({"source": {"url": repo.file_url(), "interval": "1h"}});
    world.apply("admin", &sync(ns, &repo.file_url(), source));
    world.wait_applied(ns, &first);
    repo.write("settings.yaml", &config_map(ns, "settings", "blue"));
    let second = repo.push("Something else");
    let ask = ["annotate", "gitsync", ns, "-n", "gitward-system", "reconcile.fluxcd.io/requestedAt=now"];
    world.cluster.kubectl("admin", &ask).ok();
    world.wait_applied(ns, &second);
    assert_eq!(world.status(ns)["lastHandledReconcileAt"], "now");
}

#[test]
fn more_than_a_share_is_pruned_only_when_the_gitsync_says_so() {
    let (world, ns) = (World::shared(), "share");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    let many = |count: u32| {
        (0..count).map(|n| format!("{}---\n", config_map(ns, &format!("n{n}"), "green"))).collect::<String>()
    };
    repo.write("all.yaml", &many(40));
    let first = repo.push("Forty");
    world.apply("admin", &sync(ns, &repo.file_url(), json!({})));
    world.wait_applied(ns, &first);
    repo.write("all.yaml", &many(10));
    let second = repo.push("Ten");
    let text = condition(&world.wait_reason(ns, "PruneFailed"), "Ready")["message"].to_string();
    assert!(text.contains("30 of the 40 objects in the inventory would be pruned"), "{text}");
    assert!(world.cluster.get(&["configmap/n39", "-n", ns]).is_some());
    world.apply("admin", &sync(ns, &repo.file_url(), json!({"maxPrunePercent": 80})));
    world.wait_applied(ns, &second);
    assert!(world.cluster.get(&["configmap/n39", "-n", ns]).is_none());
}

#[test]
fn what_asks_to_stay_is_released_instead_of_pruned() {
    let (world, ns) = (World::shared(), "stays");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    let keep = config_map(ns, "keep", "green")
        .replace("metadata:\n", "metadata:\n  annotations: {helm.sh/resource-policy: keep}\n");
    repo.write("keep.yaml", &keep);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let first = repo.push("Both");
    world.apply("admin", &sync(ns, &repo.file_url(), json!({})));
    world.wait_applied(ns, &first);
    repo.remove("keep.yaml");
    world.wait_applied(ns, &repo.push("One"));
    assert_eq!(world.field("configmap/keep", ns, "/data/color"), "green");
    world.cluster.kubectl("dev", &["delete", "configmap", "keep", "-n", ns]).ok();
}

#[test]
fn without_pruning_what_leaves_git_stays_and_is_nobodys() {
    let (world, ns) = (World::shared(), "unpruned");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("old.yaml", &config_map(ns, "old", "green"));
    let first = repo.push("One");
    world.apply("admin", &sync(ns, &repo.file_url(), json!({"prune": false})));
    world.wait_applied(ns, &first);
    repo.remove("old.yaml");
    repo.write("new.yaml", &config_map(ns, "new", "green"));
    world.wait_applied(ns, &repo.push("Another"));
    assert_eq!(world.status(ns)["objects"], 1);
    assert_eq!(world.field("configmap/old", ns, "/data/color"), "green");
    world.cluster.kubectl("dev", &["delete", "configmap", "old", "-n", ns]).ok();
}

#[test]
fn an_object_that_moves_to_another_gitsync_which_waits_for_it_is_not_deleted() {
    let world = World::shared();
    let [from, to] = ["moves-from", "moves-to"].map(|name| {
        world.namespace(name);
        world.git.repo(name)
    });
    from.write("keep.yaml", &config_map("moves-from", "keep", "green"));
    from.write("moved.yaml", &config_map("moves-from", "moved", "green"));
    let first = from.push("Both");
    world.apply("admin", &sync("moves-from", &from.file_url(), json!({})));
    world.wait_applied("moves-from", &first);
    let uid = world.field("configmap/moved", "moves-from", "/metadata/uid");
    to.write("moved.yaml", &config_map("moves-from", "moved", "blue"));
    let taken = to.push("Mine now");
    world.apply("admin", &sync("moves-to", &to.file_url(), json!({})));
    world.wait_reason("moves-to", "ReconciliationFailed");
    from.remove("moved.yaml");
    world.wait_applied("moves-from", &from.push("Given away"));
    world.wait_applied("moves-to", &taken);
    assert_eq!(world.field("configmap/moved", "moves-from", "/metadata/uid"), uid);
    assert_eq!(world.field("configmap/moved", "moves-from", "/data/color"), "blue");
}
