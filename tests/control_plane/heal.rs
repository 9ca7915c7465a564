//! What went around the guard is undone, and what was lost in a crash is caught up. Each with a control plane of its
//! own: the others must not lose their guard.

use gitward_test_cluster::{ControlPlane, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment};

#[test]
fn a_change_around_the_guard_is_undone_and_the_guard_is_put_back() {
    let ns = "heal";
    let mut world = World::start();
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("web.yaml", &deployment(ns, "web", 3));
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("The web shop");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);

    world.gitward.stop_guard();
    let output = world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=5", "-n", ns]);
    assert!(output.refused().contains("failed calling webhook"), "a dead guard refuses: {}", output.stderr);

    for (object, path, patch) in [
        ("deployment/web", "/spec/replicas", r#"{"spec":{"replicas":7}}"#),
        ("configmap/settings", "/data/color", r#"{"data":{"color":"red"}}"#),
    ] {
        let before = world.field(object, ns, path);
        world.cluster.around_the_guard(&["patch", object, "-n", ns, "--type=merge", "-p", patch]);
        world.wait_field(object, ns, path, &before);
        eventually("the webhook configuration is back", PATIENCE, || {
            let live = world.cluster.get(&["validatingwebhookconfiguration/gitward"]).unwrap_or_default();
            let bundle = live.pointer("/webhooks/0/clientConfig/caBundle").and_then(Value::as_str);
            if bundle.is_some() { Ok(()) } else { Err(live.to_string()) }
        });
    }
    forged_identities_are_undone(&world, ns);
    world.gitward.start_guard();
    let output = world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=5", "-n", ns]);
    assert!(output.refused().contains("is pinned to git"), "{}", output.stderr);
    loosened_webhook_is_tightened(&world);
    upgrade_goes_on(&world);
    secrets_are_healed_every_time(&world, &repo, ns);
    converges_after_a_crash(&mut world, &repo, ns);
    uninstalling_leaves_no_lock_behind(&world, ns);
}

/// As that of Kubernetes 1.33, and any other where it is switched off.
#[test]
fn drift_is_healed_where_the_api_server_streams_no_lists() {
    let cluster = ControlPlane::for_tests_with(&["--feature-gates=WatchList=false"]);
    let (ns, world) = ("listed", World::on(cluster, &[]));
    world.declare_settings(ns);
    world.heals_settings(ns);
}

/// A cluster admin may forge the pod of the reconciler: a way around that remains, so what it changes is undone.
fn forged_identities_are_undone(world: &World, ns: &str) {
    world.heals_settings(ns);
    world.cluster.kubectl(ControlPlane::FORGER, &["delete", "configmap/settings", "-n", ns]).ok();
    world.wait_field("configmap/settings", ns, "/data/color", &json!("green"));
}

/// The same edit by the same manager twice: ownership looks the same the second time.
fn secrets_are_healed_every_time(world: &World, repo: &gitward_test_cluster::Repo, ns: &str) {
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: heal}\nstringData: {password: green}\n";
    repo.write("login.yaml", secret);
    let commit = repo.push("A login");
    world.wait_applied(ns, &commit);
    for _ in 0..2 {
        let edit = ["patch", "secret/login", "-n", ns, "-p", r#"{"data":{"password":"cmVk"}}"#];
        world.cluster.kubectl(ControlPlane::FORGER, &edit).ok();
        world.wait_field("secret/login", ns, "/data/password", &json!("Z3JlZW4="));
    }
    let log = world.gitward.reconciler_log();
    assert!(!log.contains("green") && !log.contains("Z3JlZW4="), "no value of a Secret is logged");
}

/// After `helm uninstall` everybody may change everything again, and what was applied is still there.
fn uninstalling_leaves_no_lock_behind(world: &World, ns: &str) {
    world.cluster.helm(&["uninstall", "gitward", "-n", "gitward-system"]).ok();
    eventually("the webhook configuration is gone for good", PATIENCE, || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        let live = world.cluster.get(&["validatingwebhookconfiguration/gitward"]);
        live.map_or(Ok(()), |live| Err(live["metadata"].to_string()))
    });
    assert_eq!(world.field("deployment/web", ns, "/spec/replicas"), 3);
    world.cluster.kubectl("dev", &["label", "deployment/web", "free=again", "-n", ns]).ok();
}

/// A match condition that keeps the guard from being called, and a webhook that is gone.
fn loosened_webhook_is_tightened(world: &World) {
    let never = json!([
        {"op": "add", "path": "/webhooks/0/matchConditions/-", "value": {"name": "never", "expression": "false"}},
        {"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"},
        {"op": "remove", "path": "/webhooks/2"},
    ]);
    let webhook = "validatingwebhookconfiguration/gitward";
    let before = world.field(webhook, "", "/webhooks");
    world.cluster.kubectl("admin", &["patch", webhook, "--type=json", "-p", &never.to_string()]).ok();
    world.wait_field(webhook, "", "/webhooks", &before);
}

/// What the reconciler put back must not be in Helm's way.
fn upgrade_goes_on(world: &World) {
    let chart = gitward_test_cluster::workspace().join("charts/gitward").display().to_string();
    let mut args = vec!["upgrade".to_owned(), "gitward".into(), chart, "-n".into(), "gitward-system".into()];
    args.extend(world.gitward.values());
    args.extend(["--set".to_owned(), "webhook.timeoutSeconds=4".to_owned()]);
    world.cluster.helm(&args.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    let timeout = "/webhooks/0/timeoutSeconds";
    world.wait_field("validatingwebhookconfiguration/gitward", "", timeout, &json!(4));
    let bundle = world.field("validatingwebhookconfiguration/gitward", "", "/webhooks/0/clientConfig/caBundle");
    assert!(bundle.as_str().is_some_and(|bundle| !bundle.is_empty()), "Helm leaves the caBundle alone");
}

/// While the reconciler is dead, git moves on and an object is edited and another deleted.
fn converges_after_a_crash(world: &mut World, repo: &gitward_test_cluster::Repo, ns: &str) {
    world.gitward.kill_reconciler();
    world.cluster.kubectl("admin", &["delete", "validatingwebhookconfiguration", "gitward"]).ok();
    world.cluster.kubectl("admin", &["delete", "deployment", "web", "-n", ns]).ok();
    repo.write("new.yaml", &config_map(ns, "new", "green"));
    repo.remove("settings.yaml");
    let commit = repo.push("While nobody looked");
    world.gitward.start_reconciler();
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("deployment/web", ns, "/spec/replicas"), 3);
    assert_eq!(world.field("configmap/new", ns, "/data/color"), "green");
    assert!(world.cluster.get(&["configmap/settings", "-n", ns]).is_none(), "what it created before is not forgotten");
}

/// Where the guard only watches, its record says who it was. The first change may be healed before it is written.
#[test]
fn a_drift_that_the_guard_let_through_is_told_with_its_user() {
    let ns = "watched";
    let world = World::start_with(&["guardPolicy.mode=Audit"]);
    world.declare_settings(ns);
    for color in ["red", "blue"] {
        let patch = format!(r#"{{"data":{{"color":"{color}"}}}}"#);
        world.cluster.kubectl("dev", &["patch", "configmap", "settings", "-n", ns, "-p", &patch]).ok();
        world.wait_field("configmap/settings", ns, "/data/color", &json!("green"));
        eventually("the change is on record", PATIENCE, || {
            let records = world.cluster.get(&["blockedchanges", "-n", ns]).unwrap_or_default();
            let found = records["items"].as_array().into_iter().flatten().any(|record| record["spec"]["user"] == "dev");
            if found { Ok(()) } else { Err(records.to_string()) }
        });
    }
    eventually("the drift names its user", PATIENCE, || {
        let drifts = world.status(ns)["drifts"].clone();
        let told = drifts.as_array().into_iter().flatten().any(|drift| drift["user"] == "dev");
        if told { Ok(()) } else { Err(drifts.to_string()) }
    });
}
