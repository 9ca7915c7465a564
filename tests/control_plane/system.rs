//! Kubernetes itself goes on: its controllers do their work on and beside pinned objects.

use gitward_test_cluster::{eventually, workspace};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

#[test]
fn controllers_work_on_what_git_declares() {
    let world = World::shared();
    let repo = world.git.repo("shop");
    repo.copy(&workspace().join("examples/shop"));
    let commit = repo.push("The whole sample");
    world.follow("shop", &repo);
    world.wait_applied("shop", &commit);
    let shop = |args: &[&str]| world.cluster.get(&[args, &["-n", "shop"]].concat()).unwrap_or_default();

    eventually("the Service has its EndpointSlice", PATIENCE, || {
        let slices = shop(&["endpointslices", "-l", "kubernetes.io/service-name=web"]);
        if slices["items"].as_array().is_some_and(|s| !s.is_empty()) { Ok(()) } else { Err(slices.to_string()) }
    });
    world.wait_field("deployment/worker", "shop", "/spec/replicas", &json!(2));
    eventually("the Deployment has its Pods", PATIENCE, || {
        let pods = shop(&["pods", "-l", "app=web"]);
        if pods["items"].as_array().map(Vec::len) == Some(3) { Ok(()) } else { Err(pods.to_string()) }
    });

    // The autoscaler's replicas are not git's: the next revision leaves them alone.
    repo.remove("apps/web/deployment.yaml");
    let commit = repo.push("No web any more");
    world.wait_applied("shop", &commit);
    eventually("the garbage collector removes the ReplicaSet and Pods", PATIENCE, || {
        // Where nothing of several kinds is left, kubectl prints nothing at all.
        let left = shop(&["replicasets,pods", "-l", "app=web"]);
        if left.is_null() { Ok(()) } else { Err(left.to_string()) }
    });
    assert_eq!(world.field("deployment/worker", "shop", "/spec/replicas"), 2);
    let metrics = world.gitward.reconciler_log();
    assert!(!metrics.contains("drifts again and again"), "no controller is fought");
    namespace_deletion_works(world, &repo);
}

/// The namespace leaves git with all that is in it.
fn namespace_deletion_works(world: &World, repo: &gitward_test_cluster::Repo) {
    for file in ["namespace.yaml", "apps/widget.yaml", "apps/web/service.yaml", "apps/web/configmap.yaml"] {
        repo.remove(file);
    }
    for file in ["apps/web/secret.yaml", "apps/worker/deployment.yaml", "apps/worker/hpa.yaml"] {
        repo.remove(file);
    }
    let commit = repo.push("Only the CRD stays");
    world.wait_applied("shop", &commit);
    eventually("the namespace is gone", PATIENCE, || match world.field("namespace/shop", "", "/status") {
        Value::Null => Ok(()),
        status => Err(status.to_string()),
    });
}
