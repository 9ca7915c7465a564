//! After a restore (docs/runbook.md): a cluster that is as it was, objects that a backup tool made anew, an inventory that is lost.
//! Git is applied as ever, and nothing that git does not declare is taken away.

use gitward_test_cluster::{Repo, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment, sync};

fn start(world: &World, ns: &str) -> Repo {
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("web.yaml", &deployment(ns, "web", 2));
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("The shop");
    world.apply("admin", &sync(ns, &repo.file_url(), json!({})));
    world.wait_applied(ns, &commit);
    repo
}

fn uid(world: &World, object: &str, ns: &str) -> Value {
    world.field(object, ns, "/metadata/uid")
}

#[test]
fn a_restored_etcd_comes_to_the_newest_commit_and_keeps_what_git_does_not_know() {
    let ns = "restored";
    let mut world = World::start();
    let repo = start(&world, ns);
    world.cluster.kubectl("dev", &["create", "configmap", "mine", "-n", ns]).ok();
    repo.write("old.yaml", &config_map(ns, "old", "green"));
    let commit = repo.push("One that goes later");
    world.wait_applied(ns, &commit);
    let backup = world.cluster.back_up();

    // The future that will be gone: one object more, one less, another value.
    repo.write("new.yaml", &config_map(ns, "new", "green"));
    repo.write("web.yaml", &deployment(ns, "web", 3));
    repo.remove("old.yaml");
    let newest = repo.push("The future");
    world.wait_applied(ns, &newest);
    assert!(world.cluster.get(&["configmap/old", "-n", ns]).is_none());
    let before = ["deployment/web", "configmap/settings", "configmap/mine"].map(|object| uid(&world, object, ns));

    world.gitward.stop_guard();
    world.gitward.kill_reconciler();
    world.cluster.restore(&backup);
    assert!(world.cluster.get(&["configmap/old", "-n", ns]).is_some(), "the past is back");
    assert!(world.cluster.get(&["configmap/new", "-n", ns]).is_none());
    world.gitward.start_reconciler();
    world.gitward.start_guard();
    world.wait_applied(ns, &newest);
    world.wait_field("deployment/web", ns, "/spec/replicas", &json!(3));
    assert_eq!(world.field("configmap/new", ns, "/data/color"), "green");
    assert!(world.cluster.get(&["configmap/old", "-n", ns]).is_none(), "what git dropped since is dropped again");
    let after = ["deployment/web", "configmap/settings", "configmap/mine"].map(|object| uid(&world, object, ns));
    assert_eq!(after, before);
    let label = ["label", "configmap/new", "team=mine", "-n", ns];
    assert!(world.cluster.kubectl("dev", &label).refused().contains("is pinned to git"));
}

#[test]
fn what_a_backup_tool_makes_anew_is_refused_or_healed_and_stays_prunable() {
    let ns = "rebuilt";
    let world = World::start();
    let repo = start(&world, ns);
    let mut saved = world.cluster.get(&["configmap/settings", "-n", ns]).unwrap();
    let kept = ["name", "namespace", "labels", "annotations"];
    saved["metadata"].as_object_mut().unwrap().retain(|key, _| kept.contains(&key.as_str()));
    saved["data"]["color"] = json!("red");
    let create = || world.cluster.kubectl_in("admin", &["create", "-f", "-"], Some(&saved.to_string()));

    // Somewhere else it would be a copy; here it claims to be declared, and a backup tool may not say so.
    world.gitward.command("admin", &["disable", "--reason", "restore"]).ok();
    let before = uid(&world, "configmap/settings", ns);
    eventually("the restored object is made before git's", PATIENCE, || {
        world.cluster.kubectl("admin", &["delete", "configmap/settings", "-n", ns, "--ignore-not-found"]);
        let made = create();
        if made.status == 0 { Ok(()) } else { Err(made.stderr) }
    });
    assert_ne!(uid(&world, "configmap/settings", ns), before);
    world.wait_field("configmap/settings", ns, "/data/color", &json!("green"));
    world.gitward.command("admin", &["enable"]).ok();
    eventually("the guard refuses again", PATIENCE, || {
        let mut forged = saved.clone();
        forged["metadata"]["name"] = json!("forged");
        forged["metadata"]["annotations"]["gitward.dev/pinned-id"] = json!(format!("/ConfigMap:{ns}/forged"));
        let dry = ["create", "--dry-run=server", "-f", "-"];
        let made = world.cluster.kubectl_in("admin", &dry, Some(&forged.to_string()));
        if made.stderr.contains("only the reconciler may mark") { Ok(()) } else { Err(made.stdout + &made.stderr) }
    });
    repo.remove("settings.yaml");
    let commit = repo.push("No settings");
    world.wait_applied(ns, &commit);
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none(), "it is pruned");
}

#[test]
fn a_lost_inventory_is_made_anew_and_what_git_dropped_meanwhile_stays_until_it_is_declared_once_more() {
    let ns = "uncounted";
    let mut world = World::start();
    let repo = start(&world, ns);
    repo.write("dropped.yaml", &config_map(ns, "dropped", "green"));
    let commit = repo.push("One more");
    world.wait_applied(ns, &commit);
    let objects = ["deployment/web", "configmap/settings", "configmap/dropped"];
    let before = objects.map(|object| uid(&world, object, ns));

    world.gitward.stop_reconciler();
    let mine = format!("gitward.dev/inventory={ns}");
    world.cluster.kubectl("admin", &["delete", "configmaps", "-n", "gitward-system", "-l", &mine]).ok();
    repo.remove("dropped.yaml");
    let commit = repo.push("One less");
    world.gitward.start_reconciler();
    world.wait_applied(ns, &commit);
    assert_eq!(objects.map(|object| uid(&world, object, ns)), before, "nothing is made anew or pruned");
    let inventory = world.cluster.get(&["configmaps", "-n", "gitward-system", "-l", &mine]).unwrap();
    let lines = inventory["items"][0]["data"]["objects"].as_str().unwrap().to_owned();
    assert!(lines.contains("Deployment:uncounted/web") && !lines.contains("dropped"), "{lines}");
    let delete = ["delete", "configmap/dropped", "-n", ns];
    assert!(world.cluster.kubectl("dev", &delete).refused().contains("is pinned to git"), "it is still guarded");

    repo.write("dropped.yaml", &config_map(ns, "dropped", "green"));
    let commit = repo.push("Once more");
    world.wait_applied(ns, &commit);
    repo.remove("dropped.yaml");
    let commit = repo.push("And off");
    world.wait_applied(ns, &commit);
    assert!(world.cluster.get(&["configmap/dropped", "-n", ns]).is_none(), "it is pruned");
}
