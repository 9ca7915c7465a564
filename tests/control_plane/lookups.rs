//! Names that somebody writes into owner references never become another path at the API server.

use gitward_test_cluster::Output;
use serde_json::json;

use crate::support::{World, deployment};

/// Tries to create a Pod with this owner.
fn owned_by(world: &World, namespace: &str, api_version: &str, name: &str, pod: &str) -> Output {
    let owner = json!({"apiVersion": api_version, "kind": "Deployment", "name": name, "uid": "1"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod, "namespace": namespace, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "a", "image": "example.com/a:1"}]}});
    world.cluster.kubectl_in("dev", &["create", "-f", "-"], Some(&pod.to_string()))
}

#[test]
fn names_of_owners_are_checked_and_escaped() {
    let (world, ns) = (World::shared(), "paths");
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("web.yaml", &deployment(ns, "web", 1));
    let commit = repo.push("The web shop");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    assert!(owned_by(world, ns, "apps/v1", "web", "a").refused().contains("would become part of Deployment paths/web"));
    // No Deployment has that name: it must not be taken for `web`.
    owned_by(world, ns, "apps/v1", "web?resourceVersion=0", "b").ok();
    for name in ["a/../web", "..", "web%3Fx"] {
        let output = owned_by(world, ns, "apps/v1", name, "c");
        assert!(output.refused().contains("is not valid"), "{name}: {}", output.stderr);
    }
    // The version of an owner is never a part of a URL: its kind is looked up in the version that is served.
    for api_version in ["apps/v1?x=1", "apps/v1beta9"] {
        let output = owned_by(world, ns, api_version, "web", "d");
        assert!(output.refused().contains("would become part of Deployment paths/web"), "{}", output.stderr);
    }
    let metrics = world.gitward.guard_metrics();
    for counted in [
        "gitward_lookups_total{result=\"found\"}",
        "gitward_lookups_total{result=\"absent\"}",
        "gitward_lookups_total{result=\"failed\"}",
        "gitward_lookup_duration_seconds_count",
        "gitward_lookup_rounds_count",
    ] {
        assert!(metrics.contains(counted), "{counted}: {metrics}");
    }
    let bytes = metrics.lines().find_map(|line| line.strip_prefix("gitward_lookup_bytes_total ")).unwrap();
    assert!(bytes.parse::<u64>().unwrap() > 0, "{bytes}");
}
