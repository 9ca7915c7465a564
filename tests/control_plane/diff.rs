//! `gitward diff`: what a run would do, told before it does.

use serde_json::{Value, json};

use crate::support::{World, config_map, deployment, sync};

#[test]
fn what_a_commit_would_do_is_told_and_then_done() {
    let (world, ns) = (World::shared(), "differs");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("web.yaml", &deployment(ns, "web", 1));
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.write("old.yaml", &config_map(ns, "old", "green"));
    let secret = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: login, namespace: {ns}}}\nstringData: {{password: {value}}}\n"
        )
    };
    repo.write("login.yaml", &secret("first-value"));
    let commit = repo.push("First");
    world.apply("admin", &sync(ns, &repo.file_url(), json!({})));
    world.wait_applied(ns, &commit);
    let same = world.gitward.command("admin", &["diff", ns]);
    assert_eq!(
        (same.status, same.stdout.lines().last().unwrap()),
        (0, "0 to create or change, 0 to prune, 0 that cannot be applied, 4 unchanged"),
        "{}",
        same.stderr
    );

    world.apply("admin", &sync(ns, &repo.file_url(), json!({"suspend": true})));
    world.wait_reason(ns, "Suspended");
    repo.write("web.yaml", &format!("# moved\n{}", deployment(ns, "web", 4)));
    repo.write("new.yaml", &config_map(ns, "new", "green"));
    repo.write("login.yaml", &secret("second-value"));
    repo.write(
        "gadget.yaml",
        &format!("apiVersion: example.com/v1\nkind: Gadget\nmetadata: {{name: g, namespace: {ns}}}\n"),
    );
    repo.push("Second");
    let text = world.gitward.command("admin", &["diff", ns]);
    assert_eq!(text.status, 1, "{}", text.stderr);
    for line in [
        "create ConfigMap differs/new (new.yaml:1)",
        "change Deployment differs/web (web.yaml:2)",
        "  spec.replicas: 1 -> 4",
        "change Secret differs/login (login.yaml:1)",
        "  data.password: (hidden) -> (hidden)",
    ] {
        assert!(text.stdout.lines().any(|is| is == line), "{line}\n{}", text.stdout);
    }
    assert!(
        text.stdout.contains("cannot apply Gadget g (gadget.yaml:1): the cluster serves no Gadget"),
        "{}",
        text.stdout
    );
    assert!(
        !text.stdout.lines().any(|line| line.starts_with("prune ")),
        "what cannot be identified may be what is in the inventory: {}",
        text.stdout
    );

    repo.remove("gadget.yaml");
    repo.remove("old.yaml");
    let commit = repo.push("Third");
    let text = world.gitward.command("admin", &["diff", ns]);
    assert!(text.stdout.contains("prune ConfigMap differs/old: this GitSync has created it"), "{}", text.stdout);
    let patches = world.gitward.command("admin", &["diff", ns, "-o", "json-patch"]);
    let patches: Vec<Value> = patches.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of =
        |id: &str| patches.iter().find(|patch| patch["object"] == id).unwrap_or_else(|| panic!("{id}: {patches:?}"));
    let replicas = json!({"op": "replace", "path": "/spec/replicas", "value": 4});
    assert!(of("apps/Deployment:differs/web")["patch"].as_array().unwrap().contains(&replicas), "{patches:?}");
    assert_eq!(of("/ConfigMap:differs/old")["action"], "prune");
    let said = format!("{}{patches:?}", text.stdout);
    assert!(!said.contains("second-value") && !said.contains("c2Vjb25k"), "{said}");

    world.apply("admin", &sync(ns, &repo.file_url(), json!({})));
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("deployment/web", ns, "/spec/replicas"), 4);
    assert_eq!(world.gitward.command("admin", &["diff", ns]).status, 0);
}

#[test]
fn what_cannot_be_told_is_an_error_with_its_reason() {
    let (world, ns) = (World::shared(), "differs-not");
    let missing = world.gitward.command("admin", &["diff", ns]);
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.contains("there is no GitSync gitward-system/differs-not"), "{}", missing.stderr);
    world.apply("admin", &sync(ns, "file:///nowhere", json!({})));
    let broken = world.gitward.command("admin", &["diff", ns]);
    assert_eq!(broken.status, 2);
    assert!(
        broken.stderr.contains("ArtifactFailed: repository file:///nowhere cannot be fetched"),
        "{}",
        broken.stderr
    );
}
