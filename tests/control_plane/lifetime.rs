//! What is and what happens while no reconciler runs: GitSyncs go, definitions are of another version.

use gitward_test_cluster::{Repo, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, sync};

const OWN: &str = "gitward-system";
const DEFINITION: &str = "customresourcedefinition/gitsyncs.gitward.dev";

#[test]
fn nothing_waits_for_a_reconciler_that_is_not_there_and_the_next_one_makes_up_for_it() {
    let mut world = World::start();
    for (ns, policy) in [("kept", "Orphan"), ("deleted", "Delete"), ("unseen", "Delete")] {
        world.namespace(ns);
        let repo = world.git.repo(ns);
        repo.write("settings.yaml", &config_map(ns, "settings", "green"));
        let commit = repo.push("Something");
        world.apply("admin", &sync(ns, &repo.file_url(), json!({"deletionPolicy": policy})));
        world.wait_applied(ns, &commit);
    }
    none_has_a_finalizer(&world);
    world.namespace("anew");
    let repo = world.git.repo("anew");
    repo.write("a/old.yaml", &config_map("anew", "old", "green"));
    repo.write("b/new.yaml", &config_map("anew", "new", "green"));
    let commit = repo.push("Two folders");
    follow(&world, &repo, "a");
    world.wait_applied("anew", &commit);
    world.gitward.stop_reconciler();
    let delete = |name: &str| world.cluster.kubectl("admin", &["delete", "gitsync", name, "-n", OWN, "--timeout=30s"]);
    delete("kept").ok();
    delete("anew").ok();
    delete("unseen").ok();
    follow(&world, &repo, "b");
    // As gitward 0.1.0 left it.
    let held = r#"{"metadata": {"finalizers": ["gitward.dev/gitsync"]}}"#;
    world.cluster.kubectl("admin", &["patch", "gitsync/deleted", "-n", OWN, "--type=merge", "-p", held]).ok();
    world.cluster.kubectl("admin", &["delete", "gitsync", "deleted", "-n", OWN, "--wait=false"]).ok();
    definitions_are_of_other_versions(&world);
    world.gitward.start_reconciler();
    eventually("the objects are released or deleted", PATIENCE, || {
        let label = |ns| world.field("configmap/settings", ns, "/metadata/labels/gitward.dev~1sync-name");
        let (kept, unseen) = (label("kept"), label("unseen"));
        let deleted = world.cluster.get(&["configmap/settings", "-n", "deleted"]);
        let is = kept.is_null() && unseen.is_null() && deleted.is_none();
        if is { Ok(()) } else { Err(format!("{kept} {unseen} {deleted:?}")) }
    });
    for ns in ["kept", "unseen"] {
        assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green");
        world.cluster.kubectl("dev", &["delete", "configmap", "settings", "-n", ns]).ok();
    }
    definitions_are_brought_up_to_date(&world);
    world.wait_applied("anew", &commit);
    assert_eq!(world.field("configmap/new", "anew", "/data/color"), "green");
    assert_eq!(world.field("configmap/old", "anew", "/data/color"), "green", "another one made it, which left it");
    assert_eq!(world.field("configmap/old", "anew", "/metadata/labels/gitward.dev~1sync-name"), Value::Null);
}

/// Always under the same name.
fn follow(world: &World, repo: &Repo, path: &str) {
    let mut anew = sync("anew", &repo.file_url(), json!({}));
    anew["spec"]["source"]["path"] = path.into();
    world.apply("admin", &anew);
}

fn none_has_a_finalizer(world: &World) {
    let finalizers = |name: &str| world.field(&format!("gitsync/{name}"), OWN, "/metadata/finalizers");
    for name in ["kept", "deleted", "unseen"] {
        assert_eq!(finalizers(name), Value::Null);
    }
    let held = r#"{"metadata": {"finalizers": ["gitward.dev/gitsync"]}}"#;
    world.cluster.kubectl("admin", &["patch", "gitsync/unseen", "-n", OWN, "--type=merge", "-p", held]).ok();
    eventually("the finalizer of an older gitward is off", PATIENCE, || match finalizers("unseen") {
        Value::Null => Ok(()),
        some => Err(some.to_string()),
    });
}

/// As an upgrade finds them, and as a rollback does.
fn definitions_are_of_other_versions(world: &World) {
    let older = json!([
        {"op": "remove", "path": "/metadata/annotations/gitward.dev~1version"},
        {"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"},
    ]);
    let newer = json!([{"op": "replace", "path": "/metadata/annotations/gitward.dev~1version", "value": "99.0.0"},
        {"op": "remove", "path": "/spec/versions/0/additionalPrinterColumns"}]);
    for (name, patch) in [(DEFINITION, older), ("customresourcedefinition/blockedchanges.gitward.dev", newer)] {
        world.cluster.kubectl("admin", &["patch", name, "--type=json", "-p", &patch.to_string()]).ok();
    }
}

fn definitions_are_brought_up_to_date(world: &World) {
    let columns = |name: &str| world.field(name, "", "/spec/versions/0/additionalPrinterColumns");
    eventually("the older one is as this version needs it", PATIENCE, || {
        if columns(DEFINITION).is_array() { Ok(()) } else { Err(world.gitward.reconciler_log()) }
    });
    let version = world.field(DEFINITION, "", "/metadata/annotations/gitward.dev~1version");
    assert_eq!(version, env!("CARGO_PKG_VERSION"));
    eventually("the newer one was looked at", PATIENCE, || {
        let log = world.gitward.reconciler_log();
        if log.contains("left a CustomResourceDefinition") { Ok(()) } else { Err(log) }
    });
    assert_eq!(columns("customresourcedefinition/blockedchanges.gitward.dev"), Value::Null);
}
