//! Whether an object does what it is there for, from its status (the rules of kstatus, sigs.k8s.io/cli-utils).

use serde_json::Value;

/// The health of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It does, or has nothing to tell.
    #[default]
    Healthy,
    /// Not yet, and why.
    Progressing(String),
    /// It will not by itself, and why.
    Failed(String),
}

impl Health {
    /// Why it is not healthy; empty where it is.
    pub fn why(&self) -> &str {
        match self {
            Health::Healthy => "",
            Health::Progressing(why) | Health::Failed(why) => why,
        }
    }
}

/// The health of a live object.
pub fn health(object: &Value) -> Health {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Health::Progressing("it is being deleted".to_owned());
    }
    let (generation, observed) = (number(object, "/metadata/generation"), number(object, "/status/observedGeneration"));
    if observed.is_some() && observed < generation {
        return Health::Progressing("its controller has not seen its newest version".to_owned());
    }
    let group =
        object["apiVersion"].as_str().and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
    match (group, object["kind"].as_str().unwrap_or_default()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => reached(
            object,
            "/status/readyReplicas",
            number(object, "/spec/replicas").unwrap_or(1),
            "replicas are ready",
        ),
        ("batch", "Job") => job(object),
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => phase(object, "Bound"),
        ("", "Namespace") => phase(object, "Active"),
        ("", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => condition(object, "Established"),
        ("apiregistration.k8s.io", "APIService") => condition(object, "Available"),
        // These have conditions that are not about themselves.
        (
            "autoscaling" | "policy" | "networking.k8s.io" | "certificates.k8s.io" | "flowcontrol.apiserver.k8s.io",
            _,
        ) => Health::Healthy,
        _ => generic(object),
    }
}

/// Conditions as the API conventions and kstatus have them.
fn generic(object: &Value) -> Health {
    if let Some(stalled) = find(object, "Stalled").filter(|c| c["status"] == "True") {
        return Health::Failed(said(stalled));
    }
    if let Some(busy) = find(object, "Reconciling").filter(|c| c["status"] == "True") {
        return Health::Progressing(said(busy));
    }
    match find(object, "Ready") {
        Some(ready) if ready["status"] != "True" => Health::Progressing(said(ready)),
        _ => Health::Healthy,
    }
}

fn deployment(object: &Value) -> Health {
    if let Some(late) = find(object, "Progressing").filter(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return Health::Failed(said(late));
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let all = number(object, "/status/replicas").unwrap_or(0);
    let updated = reached(object, "/status/updatedReplicas", wanted, "replicas are of the newest version");
    if updated != Health::Healthy {
        return updated;
    }
    if all > wanted {
        return Health::Progressing(format!("{} replicas of an older version are still there", all - wanted));
    }
    reached(object, "/status/availableReplicas", wanted, "replicas are available")
}

fn stateful_set(object: &Value) -> Health {
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    let ready = reached(object, "/status/readyReplicas", wanted, "replicas are ready");
    if ready != Health::Healthy || object.pointer("/spec/updateStrategy/type").is_some_and(|t| t == "OnDelete") {
        return ready;
    }
    reached(object, "/status/updatedReplicas", (wanted - partition).max(0), "replicas are of the newest version")
}

fn daemon_set(object: &Value) -> Health {
    if object.get("status").is_none() {
        return Health::Progressing("its controller has not seen it".to_owned());
    }
    let wanted = number(object, "/status/desiredNumberScheduled").unwrap_or(0);
    if object.pointer("/spec/updateStrategy/type").is_none_or(|t| t != "OnDelete") {
        let updated = reached(object, "/status/updatedNumberScheduled", wanted, "pods are of the newest version");
        if updated != Health::Healthy {
            return updated;
        }
    }
    reached(object, "/status/numberAvailable", wanted, "pods are available")
}

fn job(object: &Value) -> Health {
    if let Some(failed) = find(object, "Failed").filter(|c| c["status"] == "True") {
        return Health::Failed(said(failed));
    }
    match find(object, "Complete").filter(|c| c["status"] == "True") {
        Some(_) => Health::Healthy,
        None if object.pointer("/spec/suspend").is_some_and(|s| s == true) => Health::Healthy,
        None => Health::Progressing("it is not complete".to_owned()),
    }
}

fn pod(object: &Value) -> Health {
    match object.pointer("/status/phase").and_then(Value::as_str).unwrap_or("Pending") {
        "Succeeded" => Health::Healthy,
        "Failed" => Health::Failed("its containers have failed".to_owned()),
        "Running" => condition(object, "Ready"),
        phase => Health::Progressing(format!("it is {phase}")),
    }
}

fn service(object: &Value) -> Health {
    let balanced = object.pointer("/spec/type").is_some_and(|t| t == "LoadBalancer");
    let addresses = object.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    if balanced && addresses.is_none_or(Vec::is_empty) {
        return Health::Progressing("its load balancer has no address yet".to_owned());
    }
    Health::Healthy
}

fn phase(object: &Value, wanted: &str) -> Health {
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some(phase) if phase == wanted => Health::Healthy,
        phase => Health::Progressing(format!("it is {}", phase.unwrap_or("not looked at yet"))),
    }
}

/// Whether a condition is true that has to be.
fn condition(object: &Value, kind: &str) -> Health {
    match find(object, kind) {
        Some(condition) if condition["status"] == "True" => Health::Healthy,
        Some(condition) => Health::Progressing(said(condition)),
        None => Health::Progressing(format!("it is not {kind} yet")),
    }
}

fn reached(object: &Value, pointer: &str, wanted: i64, what: &str) -> Health {
    match number(object, pointer).unwrap_or(0) {
        is if is >= wanted => Health::Healthy,
        is => Health::Progressing(format!("{is} of {wanted} {what}")),
    }
}

fn find<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn said(condition: &Value) -> String {
    let text = |key: &str| condition[key].as_str().filter(|text| !text.is_empty());
    text("message").or_else(|| text("reason")).unwrap_or("its status says so").chars().take(300).collect()
}

fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(api_version: &str, kind: &str, spec: Value, status: Value) -> Health {
        health(
            &json!({"apiVersion": api_version, "kind": kind, "metadata": {"generation": 2}, "spec": spec, "status": status}),
        )
    }

    fn words(health: &Health) -> &str {
        match health {
            Health::Healthy => "healthy",
            Health::Progressing(why) | Health::Failed(why) => why,
        }
    }

    #[test]
    fn a_deployment_is_healthy_when_the_newest_version_is_available_alone() {
        let of = |status: Value| of("apps/v1", "Deployment", json!({"replicas": 2}), status);
        assert!(words(&of(json!({"observedGeneration": 1}))).contains("has not seen"));
        assert_eq!(words(&of(json!({"updatedReplicas": 1}))), "1 of 2 replicas are of the newest version");
        let old = json!({"updatedReplicas": 2, "replicas": 3, "availableReplicas": 3});
        assert!(words(&of(old)).starts_with("1 replicas of an older"));
        let done = json!({"observedGeneration": 2, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2});
        assert_eq!(of(done), Health::Healthy);
        let late =
            json!({"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "late"}]});
        assert_eq!(of(late), Health::Failed("late".into()));
    }

    #[test]
    fn a_job_is_healthy_when_it_is_complete() {
        let of = |status: Value| of("batch/v1", "Job", json!({}), status);
        assert_eq!(words(&of(json!({}))), "it is not complete");
        assert_eq!(of(json!({"conditions": [{"type": "Complete", "status": "True"}]})), Health::Healthy);
        let failed = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]});
        assert_eq!(of(failed), Health::Failed("BackoffLimitExceeded".into()));
    }

    #[test]
    fn a_custom_resource_says_it_in_its_conditions() {
        let of = |status: Value| of("example.com/v1", "Widget", json!({}), status);
        assert_eq!(of(Value::Null), Health::Healthy);
        assert_eq!(
            of(json!({"conditions": [{"type": "Ready", "status": "False", "message": "no"}]})),
            Health::Progressing("no".into())
        );
        assert_eq!(
            of(json!({"conditions": [{"type": "Stalled", "status": "True", "message": "no"}]})),
            Health::Failed("no".into())
        );
        assert_eq!(of(json!({"conditions": [{"type": "Ready", "status": "True"}]})), Health::Healthy);
    }

    #[test]
    fn what_has_nothing_to_tell_is_healthy() {
        assert_eq!(of("v1", "ConfigMap", Value::Null, Value::Null), Health::Healthy);
        let hpa = json!({"conditions": [{"type": "AbleToScale", "status": "False"}]});
        assert_eq!(of("autoscaling/v2", "HorizontalPodAutoscaler", Value::Null, hpa), Health::Healthy);
        assert_ne!(of("v1", "PersistentVolumeClaim", Value::Null, json!({"phase": "Pending"})), Health::Healthy);
    }
}
