//! What waits for what: waves, dependencies, hooks, health, and going back to what was healthy. KWOK makes pods ready.

use std::sync::OnceLock;

use gitward_test_cluster::{Process, Repo, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, condition, config_map, sync};

/// The shared world with a node on which pods become ready.
pub(crate) fn world() -> &'static World {
    static NODE: OnceLock<Process> = OnceLock::new();
    let world = World::shared();
    NODE.get_or_init(|| world.cluster.simulate_node());
    world
}

fn start(ns: &str) -> (&'static World, Repo) {
    let world = world();
    world.namespace(ns);
    (world, world.git.repo(ns))
}

/// Pods of no node are pending for ever, and go at once when they are deleted.
fn on(node: &str) -> String {
    if node == "nowhere" { "tolerations: []".to_owned() } else { format!("nodeName: {node}") }
}

/// A Deployment whose pods become ready where it has a node, and never where it has none.
fn app(ns: &str, name: &str, node: &str, annotations: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: {ns}\n  annotations: \
         {{{annotations}}}\nspec:\n  replicas: 2\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: \
         {{labels: {{app: {name}}}}}\n    spec:\n      {}\n      containers: [{{name: a, image: example.com/a:1}}]\n",
        on(node)
    )
}

fn job(ns: &str, name: &str, node: &str, annotations: &str, arg: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, namespace: {ns}, annotations: {{{annotations}}}}}\nspec:\n  \
         template:\n    spec:\n      {}\n      restartPolicy: Never\n      containers: [{{name: a, image: \
         example.com/a:1, args: [{arg}]}}]\n",
        on(node)
    )
}

fn apply(world: &World, name: &str, repo: &Repo, more: Value) {
    world.apply("admin", &sync(name, &repo.file_url(), more));
}

fn message(status: &Value, kind: &str) -> String {
    condition(status, kind)["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_wave_begins_when_the_one_before_is_healthy() {
    let ns = "waves";
    let (world, repo) = start(ns);
    repo.write("db.yaml", &app(ns, "db", "nowhere", "argocd.argoproj.io/sync-wave: '-1'"));
    repo.write("web.yaml", &config_map(ns, "web", "green"));
    repo.push("Two waves");
    apply(world, ns, &repo, json!({}));
    let status = world.wait_reason(ns, "Progressing");
    eventually("it says whom it waits for", PATIENCE, || {
        let text = message(&world.status(ns), "Ready");
        if text.starts_with("Waits for Deployment waves/db: 0 of 2") { Ok(()) } else { Err(text) }
    });
    assert_eq!(condition(&status, "Reconciling")["status"], "True");
    assert!(world.cluster.get(&["configmap/web", "-n", ns]).is_none());
    repo.write("db.yaml", &app(ns, "db", "kwok", "argocd.argoproj.io/sync-wave: '-1'"));
    let commit = repo.push("A database that runs");
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("configmap/web", ns, "/data/color"), "green");
}

#[test]
fn what_depends_on_another_object_waits_for_it_and_a_circle_is_named() {
    let ns = "depends";
    let (world, repo) = start(ns);
    repo.write("db.yaml", &app(ns, "db", "nowhere", ""));
    let after = "config.kubernetes.io/depends-on: apps/namespaces/depends/Deployment/db";
    repo.write("web.yaml", &app(ns, "web", "kwok", after));
    repo.push("One after the other");
    apply(world, ns, &repo, json!({}));
    eventually("it waits", PATIENCE, || {
        let text = message(&world.status(ns), "Ready");
        if text.contains("depends/db") { Ok(()) } else { Err(text) }
    });
    assert!(world.cluster.get(&["deployment/web", "-n", ns]).is_none());
    repo.write(
        "db.yaml",
        &app(ns, "db", "kwok", "config.kubernetes.io/depends-on: apps/namespaces/depends/Deployment/web"),
    );
    repo.push("A circle");
    let text = message(&world.wait_reason(ns, "ReconciliationFailed"), "Ready");
    assert!(text.contains("it depends on itself, through Deployment depends/"), "{text}");
    repo.write("db.yaml", &app(ns, "db", "kwok", ""));
    let commit = repo.push("Good");
    world.wait_applied(ns, &commit);
    assert!(world.cluster.get(&["deployment/web", "-n", ns]).is_some());
}

#[test]
fn hooks_run_once_for_what_is_declared() {
    let ns = "hooks";
    let (world, repo) = start(ns);
    let hook = "argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/hook-delete-policy: BeforeHookCreation";
    repo.write("migrate.yaml", &job(ns, "migrate", "kwok", hook, "one"));
    let clean = "helm.sh/hook: 'post-install,post-upgrade', helm.sh/hook-delete-policy: hook-succeeded";
    repo.write("clean.yaml", &job(ns, "clean", "kwok", clean, "one"));
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let first = repo.push("With hooks");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &first);
    let uid = world.field("job/migrate", ns, "/metadata/uid");
    assert_ne!(uid, Value::Null);
    assert!(world.cluster.get(&["job/clean", "-n", ns]).is_none(), "it has succeeded and is gone");
    assert_eq!(world.status(ns)["objects"], 1, "hooks do not count");

    repo.write("README.md", "Nothing that is declared");
    let second = repo.push("A word");
    world.wait_applied(ns, &second);
    assert_eq!(world.field("job/migrate", ns, "/metadata/uid"), uid, "nothing else is declared: it does not run again");

    repo.write("settings.yaml", &config_map(ns, "settings", "blue"));
    let third = repo.push("Something else");
    world.wait_applied(ns, &third);
    assert_ne!(world.field("job/migrate", ns, "/metadata/uid"), uid);

    repo.write("migrate.yaml", &job(ns, "migrate", "nowhere", hook, "two"));
    repo.write("settings.yaml", &config_map(ns, "settings", "white"));
    repo.push("A hook that never ends");
    eventually("the hook is waited for", PATIENCE, || {
        let text = message(&world.status(ns), "Ready");
        if text.contains("Job hooks/migrate") { Ok(()) } else { Err(text) }
    });
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "blue", "what comes after it waits");
}

#[test]
fn a_gitsync_waits_until_those_that_it_depends_on_are_ready() {
    let (world, first) = start("first-sync");
    let (_, second) = start("second-sync");
    second.write("settings.yaml", &config_map("second-sync", "settings", "green"));
    let commit = second.push("After the first");
    let depends = json!({"dependsOn": [{"name": "first-sync"}]});
    apply(world, "second-sync", &second, depends);
    let text = message(&world.wait_reason("second-sync", "DependencyNotReady"), "Ready");
    assert!(text.contains("there is no GitSync gitward-system/first-sync"), "{text}");
    first.write("db.yaml", &app("first-sync", "db", "nowhere", ""));
    first.push("Not healthy");
    apply(world, "first-sync", &first, json!({"wait": true}));
    eventually("it waits for the first", PATIENCE, || {
        let text = message(&world.status("second-sync"), "Ready");
        if text.contains("until GitSync gitward-system/first-sync is Ready") { Ok(()) } else { Err(text) }
    });
    assert!(world.cluster.get(&["configmap/settings", "-n", "second-sync"]).is_none());
    first.write("db.yaml", &app("first-sync", "db", "kwok", ""));
    world.wait_applied("first-sync", &first.push("Healthy"));
    world.wait_applied("second-sync", &commit);
}

#[test]
fn a_revision_that_does_not_become_healthy_goes_back_to_the_last_healthy_one_until_git_moves_on() {
    let ns = "rollback";
    let (world, repo) = start(ns);
    repo.write("web.yaml", &app(ns, "web", "kwok", ""));
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let good = repo.push("Good");
    apply(world, ns, &repo, json!({"onFailure": "Rollback", "timeout": "3s"}));
    world.wait_applied(ns, &good);
    eventually("it is healthy", PATIENCE, || {
        let status = world.status(ns);
        let is = status["lastHealthyRevision"].as_str().is_some_and(|revision| revision.ends_with(&good));
        if is { Ok(()) } else { Err(status.to_string()) }
    });
    repo.write("web.yaml", &app(ns, "web", "nowhere", ""));
    repo.write("settings.yaml", &config_map(ns, "settings", "red"));
    let bad = repo.push("Bad");
    let status = world.wait_reason(ns, "RollbackSucceeded");
    assert!(status["lastAppliedRevision"].as_str().unwrap().ends_with(&good), "{status}");
    assert!(status["hold"]["insteadOf"].as_str().unwrap().ends_with(&bad), "{status}");
    assert!(message(&status, "Ready").contains("until git moves on"), "{status}");
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "green");
    let outcomes: Vec<&Value> = status["history"].as_array().unwrap().iter().map(|past| &past["outcome"]).collect();
    assert_eq!(outcomes[1..], ["RolledBack", "Healthy"], "{status}");
    assert_eq!(status["history"][1]["message"], "Bad");
    assert_eq!(status["history"][1]["author"], "Sam");

    repo.write("web.yaml", &app(ns, "web", "kwok", ""));
    let better = repo.push("Better");
    world.wait_applied(ns, &better);
    assert_eq!(world.status(ns)["hold"], Value::Null);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "red");
}

#[test]
fn any_revision_of_the_history_can_be_asked_for_until_git_moves_on() {
    let ns = "repinned";
    let (world, repo) = start(ns);
    let mut commits = Vec::new();
    apply(world, ns, &repo, json!({}));
    for color in ["green", "blue"] {
        repo.write("settings.yaml", &config_map(ns, "settings", color));
        commits.push(repo.push(color));
        world.wait_applied(ns, commits.last().unwrap());
    }
    let annotate = |value: &str| {
        let annotation = format!("gitward.dev/rollback-to={value}");
        world
            .cluster
            .kubectl("admin", &["annotate", "--overwrite", "gitsync", ns, "-n", "gitward-system", &annotation])
            .ok();
    };
    annotate("nonsense");
    let text = message(&world.wait_reason(ns, "RollbackFailed"), "Ready");
    assert!(text.contains("none of the revisions in status.history"), "{text}");
    annotate(&commits[0]);
    world.wait_field("configmap/settings", ns, "/data/color", &json!("green"));
    world.wait_reason(ns, "RollbackSucceeded");
    repo.write("settings.yaml", &config_map(ns, "settings", "white"));
    let third = repo.push("white");
    world.wait_applied(ns, &third);
    world.wait_field("configmap/settings", ns, "/data/color", &json!("white"));
    let annotations = world.field(&format!("gitsync/{ns}"), "gitward-system", "/metadata/annotations");
    assert_eq!(annotations["gitward.dev/rollback-to"], Value::Null, "it is over");
}

#[test]
fn health_of_everything_is_in_the_status() {
    let ns = "healthy";
    let (world, repo) = start(ns);
    repo.write("web.yaml", &app(ns, "web", "nowhere", ""));
    let commit = repo.push("Not healthy");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    let healthy = |value: &str| {
        eventually(&format!("Healthy is {value}"), PATIENCE, || {
            let status = world.status(ns);
            let is = condition(&status, "Healthy");
            if is["status"] == value { Ok(is["message"].as_str().unwrap().to_owned()) } else { Err(status.to_string()) }
        })
    };
    let text = healthy("False");
    assert!(text.starts_with("Deployment healthy/web: 0 of 2 replicas"), "{text}");
    repo.write("web.yaml", &app(ns, "web", "kwok", ""));
    repo.push("Healthy");
    assert_eq!(healthy("True"), "All 1 objects are healthy");
}

#[test]
fn what_no_hook_has_made_is_not_deleted_for_a_hook() {
    let ns = "no-hook";
    let (world, repo) = start(ns);
    world.cluster.kubectl("dev", &["create", "configmap", "precious", "--from-literal=a=b", "-n", ns]).ok();
    let hook = config_map(ns, "precious", "green");
    repo.write(
        "hook.yaml",
        &hook.replace("metadata:\n", "metadata:\n  annotations: {argocd.argoproj.io/hook: PreSync}\n"),
    );
    repo.push("A hook of that name");
    apply(world, ns, &repo, json!({}));
    let text = message(&world.wait_reason(ns, "ReconciliationFailed"), "Ready");
    assert!(text.contains("no hook has made"), "{text}");
    assert_eq!(world.field("configmap/precious", ns, "/data"), json!({"a": "b"}));
}
