//! What git declares is changed by nobody but git.

use std::io::Write;
use std::process::{Command, Stdio};

use gitward_test_cluster::eventually;
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment};

fn with_web(namespace: &str) -> &'static World {
    let world = World::shared();
    world.namespace(namespace);
    let repo = world.git.repo(namespace);
    repo.write("web.yaml", &deployment(namespace, "web", 3));
    repo.write("settings.yaml", &config_map(namespace, "settings", "green"));
    let commit = repo.push("The web shop");
    world.follow(namespace, &repo);
    world.wait_applied(namespace, &commit);
    world
}

fn records(world: &World, namespace: &str) -> Vec<Value> {
    let list = world.cluster.get(&["blockedchanges", "-n", namespace]).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

#[test]
fn people_with_admin_rights_cannot_change_a_pinned_object_and_are_told_the_line() {
    let ns = "people";
    let world = with_web(ns);
    let dev = |args: &[&str]| world.cluster.kubectl("dev", &[args, &["-n", ns]].concat());
    let web = "deployment/web";
    let tries: [(&[&str], &str); 7] = [
        (&["scale", web, "--replicas=5"], "spec.replicas: 3 -> 5"),
        (&["set", "image", web, "web=evil:1"], "spec.template.spec.containers[web].image: example.com/web:1 -> evil:1"),
        (&["patch", web, "--type=merge", "-p", r#"{"spec":{"replicas":0}}"#], "spec.replicas: 3 -> 0"),
        (&["delete", web], "cannot be deleted"),
        (&["label", web, "team=mine"], "metadata.labels.team: (none) -> mine"),
        (&["label", web, "gitward.dev/sync-name-"], "metadata.labels[gitward.dev/sync-name]"),
        (&["annotate", web, "note=mine"], "metadata.annotations.note: (none) -> mine"),
    ];
    for (args, expected) in tries {
        let output = dev(args);
        let message = output.refused();
        assert!(message.contains(expected), "{args:?}: {message}");
        assert!(
            message.contains(&format!("Deployment {ns}/web is pinned to git (GitSync gitward-system/{ns}, main@")),
            "{message}"
        );
        assert!(message.contains("Declared in web.yaml:1 — change it there: https://127.0.0.1:"), "{message}");
    }
    assert_eq!(world.field(web, ns, "/spec/replicas"), 3);
    assert_eq!(world.field(web, ns, "/metadata/labels/team"), Value::Null);
}

#[test]
fn a_forged_label_is_refused() {
    let world = with_web("forged");
    let mut forged =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "forged"}});
    forged["metadata"]["labels"] =
        json!({"gitward.dev/sync-name": "forged", "gitward.dev/sync-namespace": "gitward-system"});
    let output = world.try_apply("dev", &forged);
    assert!(output.refused().contains("only the reconciler may mark an object as declared"), "{}", output.stderr);
}

#[test]
fn the_name_of_the_reconciler_is_worth_nothing_without_its_token() {
    let world = with_web("borrowed");
    let account = "system:serviceaccount:gitward-system:gitward-reconciler";
    let scale = ["scale", "deployment/web", "--replicas=9", "-n", "borrowed"];
    let output = world.cluster.kubectl("admin", &[&scale[..], &["--as", account]].concat());
    assert!(output.refused().contains("is pinned to git"), "{}", output.stderr);

    let token = world.cluster.kubectl("admin", &["create", "token", "gitward-reconciler", "-n", "gitward-system"]);
    let file = world.cluster.dir().join("unbound.token");
    std::fs::write(&file, token.ok()).unwrap();
    world.cluster.kubeconfig_with_token_file("unbound", &file);
    let output = world.cluster.kubectl("unbound", &scale);
    assert!(output.refused().contains("is pinned to git"), "{}", output.stderr);
}

#[test]
fn a_namespace_that_holds_pinned_objects_cannot_be_deleted() {
    let world = with_web("held");
    let output = world.cluster.kubectl("admin", &["delete", "namespace", "held", "--wait=false"]);
    assert!(output.refused().contains("holds objects that are pinned to git"), "{}", output.stderr);
    let output = world.cluster.kubectl("admin", &["label", "namespace", "held", "gitward.dev/guarded-"]);
    assert!(output.refused().contains("holds objects that are pinned to git"), "{}", output.stderr);
}

#[test]
fn every_refusal_is_recorded_and_counted_but_not_a_dry_run() {
    let ns = "recorded";
    let world = with_web(ns);
    let scale = ["scale", "deployment/web", "--replicas=5", "-n", ns];
    world.cluster.kubectl("dev", &[&scale[..], &["--dry-run=server"]].concat()).refused();
    for _ in 0..3 {
        world.cluster.kubectl("dev", &scale).refused();
    }
    let record = eventually("the scale is recorded three times", PATIENCE, || {
        let found = records(world, ns);
        found.iter().find(|r| r["spec"]["count"] == 3).cloned().ok_or_else(|| format!("{found:?}"))
    });
    let spec = &record["spec"];
    assert_eq!(spec["user"], "dev");
    assert_eq!(spec["verb"], "update scale");
    assert_eq!(spec["summary"], format!("Deployment {ns}/web"));
    assert_eq!(spec["fields"][0], json!({"path": "/spec/replicas", "before": "3", "after": "5"}));
    assert_eq!(spec["origin"], "web.yaml:1");
    assert_eq!(spec["gitSync"], format!("gitward-system/{ns}"));
    assert!(spec["firstTime"].as_str() <= spec["lastTime"].as_str());
    assert_eq!(records(world, ns).len(), 1, "the dry run left no record of its own");
    world.cluster.kubectl("dev", &["scale", "deployment/web", "--replicas=7", "-n", ns]).refused();
    let fields = eventually("another value is counted in the same record", PATIENCE, || {
        let found = records(world, ns);
        found.iter().find(|r| r["spec"]["count"] == 4).map(|r| r["spec"]["fields"].clone()).ok_or(format!("{found:?}"))
    });
    assert_eq!(fields[0], json!({"path": "/spec/replicas", "before": "3", "after": "7", "firstAfter": "5"}));
    world.cluster.kubectl("dev", &["delete", "blockedchanges", "--all", "-n", ns]).refused();
    // Entries of the webhook configuration for pinned objects and for what stands beside them would both ask about these.
    for change in [&["label", "deployment/web", "team=mine"][..], &["delete", "deployment/web"]] {
        world.cluster.kubectl("dev", &[change, &["-n", ns]].concat()).refused();
    }
    let counts = eventually("both are recorded", PATIENCE, || {
        let found = records(world, ns);
        let others = found.iter().filter(|r| r["spec"]["verb"] != "update scale");
        let counts: Vec<_> = others.map(|r| r["spec"]["count"].clone()).collect();
        if counts.len() == 2 { Ok(counts) } else { Err(format!("{found:?}")) }
    });
    assert_eq!(counts, [1, 1], "each was tried once");
}

#[test]
fn what_git_leaves_alone_stays_free() {
    let ns = "free";
    let world = with_web(ns);
    let dev = |args: &[&str]| world.cluster.kubectl("dev", &[args, &["-n", ns]].concat());
    dev(&["create", "configmap", "mine", "--from-literal=a=1"]).ok();
    dev(&["label", "configmap", "mine", "team=mine"]).ok();
    dev(&["create", "deployment", "other", "--image=example.com/other:1"]).ok();
    dev(&["scale", "deployment/other", "--replicas=2"]).ok();
    dev(&["delete", "deployment", "other"]).ok();
    assert!(records(world, ns).is_empty());
}

#[test]
fn what_is_no_review_gets_a_clear_answer() {
    let world = World::shared();
    assert_eq!(post(world, b"{"), (400, "the body is no AdmissionReview: ".to_owned()));
    assert_eq!(post(world, br#"{"apiVersion":"v1","kind":"Pod"}"#), (400, "the body is \"Pod\" of \"v1\"".to_owned()));
}

/// Posts a body to the guard; gives the status and the beginning of the answer.
fn post(world: &World, body: &[u8]) -> (u16, String) {
    let url = format!("https://127.0.0.1:{}/review", world.gitward.guard_port());
    let args =
        ["--silent", "--insecure", "--data-binary", "@-", "--write-out", "\n%{http_code}", "-H", "Expect:", &url];
    let mut curl = Command::new("curl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl: install curl");
    let mut stdin = curl.stdin.take().unwrap();
    let body = body.to_vec();
    let feed = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = curl.wait_with_output().unwrap();
    feed.join().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (answer, status) = text.rsplit_once('\n').unwrap();
    let known = ["the body is no AdmissionReview: ", "the body is \"Pod\" of \"v1\""];
    let begin = known.iter().find(|known| answer.starts_with(**known)).map_or(answer, |known| known);
    (status.parse().unwrap(), begin.to_owned())
}
