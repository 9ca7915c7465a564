//! Charts from an OCI registry.

use std::path::Path;

use gitward_test_cluster::{Registry, Repo};
use serde_json::{Value, json};

use crate::support::{World, condition, sync};

/// A chart with one ConfigMap.
fn write_chart(folder: &Path, color: &str) {
    std::fs::create_dir_all(folder.join("templates")).unwrap();
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: shop\nversion: 0.0.0\n").unwrap();
    let settings = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {{color: {color}, version: {{{{ \
         .Chart.Version }}}}}}\n"
    );
    std::fs::write(folder.join("templates/settings.yaml"), settings).unwrap();
}

/// The Secret by which the registry lets us in.
fn login(name: &str, registry: &Registry, password: &str, ca: &str) -> Value {
    let data = json!({"username": registry.login().0, "password": password, "ca.crt": ca});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "gitward-system"},
        "stringData": data})
}

/// A GitSync whose repository holds nothing but a note.
fn follow(world: &World, ns: &str, chart: Value) -> (Repo, String) {
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("app/README.md", "The chart is in the registry\n");
    let commit = repo.push("First");
    let source = json!({"url": repo.file_url(), "path": "app", "interval": "1s"});
    let spec = json!({"source": source, "targetNamespace": ns, "render": {"helm": {"chart": chart}}});
    world.apply("admin", &sync(ns, &repo.file_url(), spec));
    (repo, commit)
}

/// Ends the GitSync before its registry ends: it would go on asking beside the other tests.
fn end(world: &World, name: &str) {
    world.cluster.kubectl("admin", &["delete", "gitsync", name, "-n", "gitward-system"]).ok();
}

fn failure(world: &World, name: &str) -> String {
    condition(&world.wait_reason(name, "BuildFailed"), "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_chart_of_a_registry_is_followed_by_a_range_of_versions() {
    let (world, ns) = (World::shared(), "registered");
    let registry = Registry::start();
    let source = tempfile::tempdir().unwrap();
    for (version, color) in [("1.0.0", "red"), ("1.1.0", "green"), ("2.0.0", "blue")] {
        write_chart(source.path(), color);
        registry.push(source.path(), version, "team/charts");
    }
    world.apply("admin", &login(ns, &registry, registry.login().1, registry.ca()));
    let url = registry.url("team/charts");
    let chart = json!({"repository": url, "name": "shop", "version": "1.x", "secretRef": {"name": ns}});
    let (_repo, commit) = follow(world, ns, chart);
    world.wait_applied(ns, &commit);
    let settings = "configmap/settings";
    assert_eq!(world.field(settings, ns, "/data"), json!({"color": "green", "version": "1.1.0"}));
    let origin = world.field(settings, ns, "/metadata/annotations/gitward.dev~1origin");
    assert_eq!(origin, "chart shop 1.x: templates/settings.yaml");

    write_chart(source.path(), "yellow");
    registry.push(source.path(), "1.2.0", "team/charts");
    world.wait_field(settings, ns, "/data", &json!({"color": "yellow", "version": "1.2.0"}));
    end(world, ns);
}

#[test]
fn a_registry_that_lets_us_not_in_is_named_with_what_to_mend() {
    let (world, ns) = (World::shared(), "unregistered");
    let registry = Registry::start();
    let source = tempfile::tempdir().unwrap();
    write_chart(source.path(), "red");
    registry.push(source.path(), "1.0.0", "charts");
    let (url, secret) = (registry.url("charts"), format!("Secret {ns}"));
    world.apply("admin", &login(ns, &registry, "a-wrong-one", registry.ca()));
    let chart = json!({"repository": url, "name": "shop", "version": "1.0.0", "secretRef": {"name": ns}});
    let (_repo, commit) = follow(world, ns, chart);

    let text = failure(world, ns);
    assert!(text.starts_with(&format!("{url}/shop:")) && text.contains("401") && text.contains(&secret), "{text}");
    assert!(!text.contains("a-wrong-one"), "{text}");

    world.apply("admin", &login(ns, &registry, registry.login().1, world.git.ca()));
    gitward_test_cluster::eventually("the message speaks of the authority", crate::support::PATIENCE, || {
        let text = failure(world, ns);
        if text.contains("ca.crt") && text.contains(&secret) { Ok(()) } else { Err(text) }
    });

    world.apply("admin", &login(ns, &registry, registry.login().1, registry.ca()));
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("configmap/settings", ns, "/data/color"), "red");
    end(world, ns);
}
