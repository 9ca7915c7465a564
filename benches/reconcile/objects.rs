//! The objects: ConfigMaps of some 500 bytes, and Deployments.

use serde_json::{Value, json};

/// How many objects stand in one file.
const PER_FILE: usize = 10;
const FILLER: &str = "a line of a settings file, as long as such lines are in a real one\n";

/// Every tenth is a Deployment.
pub(crate) fn is_deployment(number: usize) -> bool {
    number % 10 == 9
}

/// The object of a number, as git declares it.
pub(crate) fn mixed(namespace: &str, number: usize) -> Value {
    if is_deployment(number) { deployment(namespace, number) } else { config_map(namespace, number) }
}

pub(crate) fn config_map(namespace: &str, number: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name(number), "namespace": namespace},
        "data": {"color": "green", "settings": FILLER.repeat(6)}})
}

/// Without replicas: nothing here runs them.
fn deployment(namespace: &str, number: usize) -> Value {
    let labels = json!({"app": name(number)});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name(number), "namespace": namespace},
        "spec": {"replicas": 0, "minReadySeconds": 1, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "example.com/web:1",
                "env": [{"name": "COLOR", "value": "green"}], "ports": [{"containerPort": 80}]}]}}}})
}

pub(crate) fn name(number: usize) -> String {
    format!("object-{number:05}")
}

/// The path in the API.
pub(crate) fn path(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    match text("/kind") {
        "ConfigMap" => format!("/api/v1/namespaces/{namespace}/configmaps/{name}"),
        _ => format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
    }
}

/// Files of these objects: path and text. JSON is YAML.
pub(crate) fn files(objects: impl IntoIterator<Item = Value>) -> Vec<(String, String)> {
    let objects: Vec<Value> = objects.into_iter().collect();
    let text = |chunk: &[Value]| chunk.iter().map(|object| format!("---\n{object:#}\n")).collect();
    objects.chunks(PER_FILE).enumerate().map(|(index, chunk)| (format!("part-{index:04}.yaml"), text(chunk))).collect()
}
