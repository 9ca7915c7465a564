//! The chart on the node.

use gitward_test_cluster::{Node, eventually, workspace};
use serde_json::Value;

use crate::{PATIENCE, SYSTEM};

/// Installs the chart with its defaults; only the image is the one that the node was given.
pub(crate) fn install(node: &Node, (repository, tag): &(String, String)) {
    node.kubectl("admin", &["create", "namespace", SYSTEM]).ok();
    let strict = "pod-security.kubernetes.io/enforce=restricted";
    node.kubectl("admin", &["label", "namespace", SYSTEM, strict]).ok();
    let chart = workspace().join("charts/gitward").display().to_string();
    let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
    node.helm(&["install", "gitward", &chart, "-n", SYSTEM, "--set", &repository, "--set", &tag]).ok();
    ready(node);
    for pod in pods(node, SYSTEM, "app.kubernetes.io/part-of=gitward") {
        let container = &pod["spec"]["containers"][0];
        assert!(
            container["livenessProbe"]["httpGet"].is_object() && container["readinessProbe"]["httpGet"].is_object()
        );
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    }
}

/// Waits until every process of gitward is ready, as its probes tell the kubelet.
pub(crate) fn ready(node: &Node) {
    for name in ["gitward-guard", "gitward-reconciler"] {
        available(node, SYSTEM, name);
    }
}

/// Waits until a Deployment is what it declares, and its Pods are ready.
pub(crate) fn available(node: &Node, namespace: &str, name: &str) {
    eventually(&format!("{name} is available"), PATIENCE, || {
        let deployment = node.get(&["deployment", name, "-n", namespace]);
        let number = |pointer| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
        let [wanted, all] = ["/spec/replicas", "/status/replicas"].map(number);
        let [updated, available] = ["/status/updatedReplicas", "/status/availableReplicas"].map(number);
        let seen = number("/status/observedGeneration") == number("/metadata/generation");
        let is = seen && wanted > 0 && [all, updated, available] == [wanted; 3];
        if is { Ok(()) } else { Err(deployment["status"].to_string()) }
    });
}

/// The Pods of a selector that are not on their way out.
pub(crate) fn pods(node: &Node, namespace: &str, selector: &str) -> Vec<Value> {
    let list = node.get(&["pods", "-n", namespace, "-l", selector]);
    let all = list["items"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect()
}

pub(crate) fn helm_test(node: &Node) {
    let output = node.helm(&["test", "gitward", "-n", SYSTEM, "--timeout", "3m"]);
    assert!(output.ok().contains("Succeeded"), "{}", output.stdout);
    // It does fail: without guards nothing answers.
    let replicas = |count: &str| {
        node.kubectl("admin", &["scale", "deployment/gitward-guard", "-n", SYSTEM, "--replicas", count]).ok();
    };
    replicas("0");
    // One that is on its way out still serves.
    eventually("no guard runs", PATIENCE, || {
        let list = node.get(&["pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=gitward-guard"]);
        let left = list["items"].as_array().map_or(0, Vec::len);
        if left == 0 { Ok(()) } else { Err(format!("{left} guards")) }
    });
    node.helm(&["test", "gitward", "-n", SYSTEM, "--timeout", "30s"]).refused();
    // A test that failed leaves its Pod, whose log says why.
    eventually("the test says why it fails", PATIENCE, || {
        let log = node.kubectl("admin", &["logs", "gitward-test", "-n", SYSTEM]);
        if log.stdout.contains("the guard cannot be asked") { Ok(()) } else { Err(log.stdout + &log.stderr) }
    });
    node.kubectl("admin", &["delete", "pod/gitward-test", "-n", SYSTEM]).ok();
    replicas("2");
    ready(node);
}

/// Says what each process of gitward holds in memory, as the kubelet measures it: the chart's requests come from such numbers.
pub(crate) fn memory(node: &Node) {
    let measured = eventually("the kubelet has measured every process", PATIENCE, || {
        let summary = node.kubectl("admin", &["get", "--raw", "/api/v1/nodes/node/proxy/stats/summary"]);
        let summary: Value = serde_json::from_str(&summary.stdout).unwrap_or_default();
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let ours = pods.iter().filter(|pod| pod["podRef"]["namespace"] == SYSTEM);
        let bytes = |pod: &Value| {
            Some((pod["podRef"]["name"].to_string(), pod.pointer("/containers/0/memory/workingSetBytes")?.as_f64()?))
        };
        let measured: Vec<(String, f64)> = ours.filter_map(bytes).collect();
        if measured.len() == 4 { Ok(measured) } else { Err(format!("{measured:?}")) }
    });
    for (pod, bytes) in measured {
        println!("   {pod}: {:.1} MiB", bytes / f64::from(1 << 20));
    }
}
