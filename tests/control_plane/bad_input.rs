//! Whatever git holds or lacks: a clear message, nothing removed, and the other objects go on.

use serde_json::json;

use crate::support::{World, condition, config_map, sync};

fn followed(ns: &str) -> (&'static World, gitward_test_cluster::Repo) {
    let world = World::shared();
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.write("other.yaml", &config_map(ns, "other", "green"));
    let commit = repo.push("Good");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    (world, repo)
}

fn message(world: &World, sync: &str, reason: &str) -> String {
    let status = world.wait_reason(sync, reason);
    condition(&status, "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_repository_that_cannot_be_reached_is_named() {
    let (world, ns) = (World::shared(), "unreachable");
    world.apply("admin", &sync(ns, "file:///nowhere/at-all", json!({})));
    let text = message(world, ns, "ArtifactFailed");
    assert!(text.contains("file:///nowhere/at-all cannot be fetched"), "{text}");
    world.apply(
        "admin",
        &sync(
            "unreachable-https",
            "https://127.0.0.1:1/ops",
            json!({"source": {"url": "https://127.0.0.1:1/ops", "interval": "1s"}}),
        ),
    );
    let text = message(world, "unreachable-https", "ArtifactFailed");
    assert!(text.contains("https://127.0.0.1:1/ops cannot be fetched"), "{text}");
}

#[test]
fn a_server_that_never_answers_is_reported_and_holds_up_nobody_else() {
    let world = World::shared();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://127.0.0.1:{}/ops", silent.local_addr().unwrap().port());
    world.apply("admin", &sync("silent", &url, json!({"source": {"url": url, "interval": "1s"}})));
    let (_, repo) = followed("beside-silent");
    repo.write("settings.yaml", &config_map("beside-silent", "settings", "blue"));
    let commit = repo.push("Meanwhile");
    world.wait_applied("beside-silent", &commit);
    assert!(message(world, "silent", "ArtifactFailed").contains("not through after"));
}

#[test]
fn a_server_of_an_unknown_authority_is_not_trusted() {
    let (world, ns) = (World::shared(), "untrusted");
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map("default", "untrusted", "green"));
    repo.push("Something");
    world.apply("admin", &sync(ns, repo.url(), json!({"source": {"url": repo.url(), "interval": "1s"}})));
    let text = message(world, ns, "ArtifactFailed");
    assert!(text.contains("certificate"), "{text}");
    assert!(world.cluster.get(&["configmap/untrusted", "-n", "default"]).is_none());
}

#[test]
fn a_missing_branch_is_named_with_what_there_is() {
    let (world, ns) = (World::shared(), "no-branch");
    let repo = world.git.repo(ns);
    repo.write("settings.yaml", &config_map("default", "settings", "green"));
    repo.push("Something");
    let url = repo.file_url();
    world.apply("admin", &sync(ns, &url, json!({"source": {"url": url, "ref": {"branch": "production"}}})));
    let text = message(world, ns, "ArtifactFailed");
    assert!(text.contains("no branch production; it has main"), "{text}");
}

#[test]
fn broken_yaml_is_named_with_file_and_line_and_removes_nothing() {
    let (world, repo) = followed("broken");
    repo.write("settings.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [settings\n");
    repo.remove("other.yaml");
    repo.push("Broken");
    let text = message(world, "broken", "BuildFailed");
    assert!(text.starts_with("settings.yaml:"), "{text}");
    assert_eq!(world.field("configmap/settings", "broken", "/data/color"), "green");
    assert_eq!(world.field("configmap/other", "broken", "/data/color"), "green");
    repo.write("settings.yaml", &config_map("broken", "settings", "blue"));
    let mended = repo.push("Mended");
    world.wait_applied("broken", &mended);
    assert_eq!(world.field("configmap/settings", "broken", "/data/color"), "blue");
    assert!(world.cluster.get(&["configmap/other", "-n", "broken"]).is_none());
}

#[test]
fn an_object_of_an_unknown_kind_does_not_stop_the_others() {
    let (world, repo) = followed("unknown");
    repo.write("gadget.yaml", "apiVersion: example.com/v1\nkind: Gadget\nmetadata: {name: g, namespace: unknown}\n");
    repo.write("settings.yaml", &config_map("unknown", "settings", "blue"));
    repo.remove("other.yaml");
    repo.push("A gadget");
    let text = message(world, "unknown", "ReconciliationFailed");
    assert!(text.contains("gadget.yaml:1") && text.contains("serves no Gadget of example.com/v1"), "{text}");
    assert_eq!(world.field("configmap/settings", "unknown", "/data/color"), "blue");
    assert_eq!(world.field("configmap/other", "unknown", "/data/color"), "green", "nothing is pruned meanwhile");
}

#[test]
fn an_object_that_the_api_server_refuses_does_not_stop_the_others() {
    let (world, repo) = followed("refused");
    repo.write(
        "bad.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: refused}\nspec: {ports: [{port: 99999}]}\n",
    );
    repo.write("settings.yaml", &config_map("refused", "settings", "blue"));
    repo.push("A bad port");
    let text = message(world, "refused", "ReconciliationFailed");
    assert!(text.contains("bad.yaml:1") && text.contains("spec.ports[0].port"), "{text}");
    assert_eq!(world.status("refused")["failed"][0]["object"], "/Service:refused/bad");
    assert_eq!(world.field("configmap/settings", "refused", "/data/color"), "blue");
}

#[test]
fn an_emptied_folder_prunes_nothing() {
    let (world, repo) = followed("emptied");
    repo.remove("settings.yaml");
    repo.remove("other.yaml");
    repo.write("README.md", "Nothing here");
    repo.push("Empty");
    let text = message(world, "emptied", "BuildFailed");
    assert!(text.contains("declares no object"), "{text}");
    repo.write("new.yaml", &config_map("emptied", "new", "green"));
    repo.push("All replaced");
    let text = message(world, "emptied", "PruneFailed");
    assert!(text.contains("every one of the 2 objects"), "{text}");
    assert_eq!(world.field("configmap/settings", "emptied", "/data/color"), "green");
}

#[test]
fn an_object_that_two_gitsyncs_declare_stays_with_the_first() {
    let (world, _) = followed("twice");
    let repo = world.git.repo("twice-again");
    repo.write("settings.yaml", &config_map("twice", "settings", "red"));
    repo.push("Mine");
    world.apply("admin", &sync("twice-again", &repo.file_url(), json!({})));
    let text = message(world, "twice-again", "ReconciliationFailed");
    assert!(text.contains("GitSync gitward-system/twice declares it already"), "{text}");
    assert_eq!(world.field("configmap/settings", "twice", "/data/color"), "green");
}
