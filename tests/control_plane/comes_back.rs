//! A cluster whose guards are all dead, or that cold-starts with them dead, comes back by itself; and with a living
//! guard, not one of Kubernetes' own controllers is refused.

use gitward_test_cluster::{Repo, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment};

const NS: &str = "life";

fn autoscaled(least: u32) -> String {
    let worker = deployment(NS, "worker", 1).replace("  replicas: 1\n", "");
    format!(
        "{worker}---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: worker, namespace: {NS}}}\n\
         spec:\n  minReplicas: {least}\n  maxReplicas: 9\n  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: worker}}\n"
    )
}

fn pods(world: &World, selector: &str) -> Vec<Value> {
    let pods = world.cluster.get(&["pods", "-n", NS, "-l", selector]).unwrap_or_default();
    pods["items"].as_array().cloned().unwrap_or_default()
}

fn wait_pods(world: &World, selector: &str, count: usize) {
    eventually(&format!("{count} Pods of {selector}"), PATIENCE, || match pods(world, selector).len() {
        found if found == count => Ok(()),
        found => Err(found.to_string()),
    });
}

#[test]
fn a_cluster_comes_back_without_its_guards_and_no_controller_is_ever_refused() {
    let mut world = World::start();
    world.namespace(NS);
    let repo = world.git.repo(NS);
    repo.write("web.yaml", &deployment(NS, "web", 2));
    repo.write("worker.yaml", &autoscaled(2));
    repo.write("settings.yaml", &config_map(NS, "settings", "green"));
    let commit = repo.push("A shop");
    world.follow(NS, &repo);
    world.wait_applied(NS, &commit);
    wait_pods(&world, "app=web", 2);
    world.cluster.kubectl("dev", &["create", "deployment", "plain", "--image=x:1", "-n", NS]).ok();
    wait_pods(&world, "app=plain", 1);

    world.gitward.stop_guard();
    world.cluster.restart();
    people_are_refused_with_a_reason(&world);
    a_life(&world, &repo, 3);

    world.gitward.start_guard();
    a_life(&world, &repo, 4);
    no_controller_was_refused(&world);
}

fn people_are_refused_with_a_reason(world: &World) {
    let scale = ["scale", "deployment/web", "--replicas=9", "-n", NS];
    let output = world.cluster.kubectl("dev", &scale);
    assert!(
        output.refused().contains("failed calling webhook") && output.stderr.contains("gitward.dev"),
        "{}",
        output.stderr
    );
    // What git does not declare and what no Pod is made from stays free.
    let name = format!("--from-literal=now={}", std::process::id());
    world.cluster.kubectl("dev", &["create", "configmap", "mine", &name, "-n", NS, "--dry-run=server"]).ok();
}

/// What goes on in a cluster: a rollout, autoscaling, garbage collection, a namespace's end, a node, healing.
fn a_life(world: &World, repo: &Repo, round: u32) {
    // From git: a rollout, and more replicas by the autoscaler.
    repo.write("web.yaml", &deployment(NS, "web", 2).replace("example.com/web:1", &format!("example.com/web:{round}")));
    repo.write("worker.yaml", &autoscaled(round));
    repo.write(&format!("new-{round}.yaml"), &deployment(NS, &format!("new-{round}"), 1));
    let commit = repo.push("A new version");
    world.wait_applied(NS, &commit);
    eventually("the new version is rolled out", PATIENCE, || {
        let image = format!("example.com/web:{round}");
        let images: Vec<Value> =
            pods(world, "app=web").iter().map(|p| p["spec"]["containers"][0]["image"].clone()).collect();
        if images.iter().any(|found| *found == image) { Ok(()) } else { Err(format!("{images:?}")) }
    });
    world.wait_field("deployment/worker", NS, "/spec/replicas", &json!(round));
    wait_pods(world, "app=worker", round as usize);
    wait_pods(world, &format!("app=new-{round}"), 1);

    // Garbage collection: git drops a Deployment, its ReplicaSet and Pods follow.
    repo.remove(&format!("new-{round}.yaml"));
    let commit = repo.push("Not needed any more");
    world.wait_applied(NS, &commit);
    wait_pods(world, &format!("app=new-{round}"), 0);

    // A namespace ends with all that is in it.
    let gone = format!("gone-{round}");
    world.namespace(&gone);
    world.cluster.kubectl("admin", &["create", "deployment", "x", "--image=x:1", "-n", &gone]).ok();
    world.cluster.kubectl("admin", &["delete", "namespace", &gone, "--timeout=60s"]).ok();

    a_node(world, round);

    // Healing: somebody who looks like the reconciler edits around the guard.
    world.heals_settings(NS);
}

/// A node registers, renews its lease and says that it is ready. There is no kubelet: its requests are made in its name.
fn a_node(world: &World, round: u32) {
    let name = format!("node-{round}");
    let node_user = format!("--as=system:node:{name}");
    let as_node = [node_user.as_str(), "--as-group=system:nodes", "--as-group=system:masters"];
    let node = |args: &[&str], input: Option<&Value>| {
        let input = input.map(Value::to_string);
        world.cluster.kubectl_in("admin", &[args, &as_node].concat(), input.as_deref()).ok().to_owned()
    };
    node(&["create", "-f", "-"], Some(&json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})));
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40}});
    node(&["create", "-f", "-"], Some(&lease));
    let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KubeletReady"}]}}"#;
    node(&["patch", "node", &name, "--subresource=status", "--type=merge", "-p", ready], None);
    // It rotates the token of a Pod's account, and reports on a Pod of a pinned Deployment.
    node(&["create", "token", "default", "-n", NS], None);
    let pod = pods(world, "app=web")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let running = r#"{"status":{"phase":"Running"}}"#;
    node(&["patch", "pod", &pod, "-n", NS, "--subresource=status", "--type=merge", "-p", running], None);
    node(&["delete", "node", &name], None);
}

fn no_controller_was_refused(world: &World) {
    let records = world.cluster.get(&["blockedchanges", "-A"]).unwrap_or_default();
    let of_system: Vec<&Value> = records["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|r| {
            r["spec"]["decision"] == "deny" && r["spec"]["user"].as_str().is_some_and(|u| u.starts_with("system:"))
        })
        .collect();
    assert!(of_system.is_empty(), "{of_system:?}");
    let log = world.gitward.guard_log();
    let refused: Vec<&str> =
        log.lines().filter(|line| line.contains("refused a change") && line.contains("\"user\":\"system:")).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
