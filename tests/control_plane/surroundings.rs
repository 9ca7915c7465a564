//! Ways around the guard that no webhook sees are reported while they are there.

use gitward_test_cluster::{Tools, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

const GROUP: &str = "around.example.com";

/// A kind of our own, so that nothing that is made here touches the other tests.
fn with_pinned_kind() -> &'static World {
    let (ns, world) = ("around", World::shared());
    world.namespace(ns);
    let repo = world.git.repo(ns);
    let crd = format!(
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{GROUP}}}\nspec:\n  \
         group: {GROUP}\n  scope: Namespaced\n  names: {{plural: things, kind: Thing}}\n  versions:\n    - name: v1\n      served: \
         true\n      storage: true\n      schema: {{openAPIV3Schema: {{type: object}}}}\n"
    );
    repo.write("crd.yaml", &crd);
    repo.write("thing.yaml", &format!("apiVersion: {GROUP}/v1\nkind: Thing\nmetadata: {{name: t, namespace: {ns}}}\n"));
    let commit = repo.push("A thing");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    world
}

fn objects() -> Vec<(&'static str, Vec<Value>)> {
    let meta = || json!({"name": "around-test"});
    let rules =
        json!([{"apiGroups": [GROUP], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["things"]}]);
    let webhook = json!([{"name": "around.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
        "clientConfig": {"url": "https://127.0.0.1:1/x"}, "rules": rules, "matchConditions": [{"name": "never", "expression": "false"}]}]);
    let registration = "admissionregistration.k8s.io/v1";
    let mutating = format!("admissionregistration.k8s.io/{}", Tools::mutating_policies());
    let version = |kind: &str| if kind.starts_with("MutatingAdmission") { mutating.as_str() } else { registration };
    let policy = |kind: &str, more: Value| {
        let mut spec = json!({"failurePolicy": "Ignore", "matchConstraints": {"resourceRules": rules}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"apiVersion": version(kind), "kind": kind, "metadata": meta(), "spec": spec})
    };
    let binding = |kind: &str, more: Value| {
        let mut spec = json!({"policyName": "around-test"});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"apiVersion": version(kind), "kind": kind, "metadata": meta(), "spec": spec})
    };
    vec![
        (
            "MutatingWebhookConfiguration",
            vec![
                json!({"apiVersion": registration, "kind": "MutatingWebhookConfiguration", "metadata": meta(), "webhooks": webhook}),
            ],
        ),
        (
            "ValidatingWebhookConfiguration",
            vec![
                json!({"apiVersion": registration, "kind": "ValidatingWebhookConfiguration", "metadata": meta(), "webhooks": webhook}),
            ],
        ),
        (
            "ValidatingAdmissionPolicy",
            vec![
                policy("ValidatingAdmissionPolicy", json!({"validations": [{"expression": "true"}]})),
                binding("ValidatingAdmissionPolicyBinding", json!({"validationActions": ["Audit"]})),
            ],
        ),
        (
            "MutatingAdmissionPolicy",
            vec![
                policy(
                    "MutatingAdmissionPolicy",
                    json!({"reinvocationPolicy": "Never", "matchConditions": [{"name": "never", "expression": "false"}],
                    "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}),
                ),
                binding("MutatingAdmissionPolicyBinding", json!({})),
            ],
        ),
        (
            "FlowSchema",
            vec![
                json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": meta(), "spec": {
                "matchingPrecedence": 8999, "priorityLevelConfiguration": {"name": "workload-high"}, "rules": [{"subjects": [
                {"kind": "ServiceAccount", "serviceAccount": {"namespace": "gitward-system", "name": "gitward-guard"}}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/around"]}]}]}}),
            ],
        ),
        (
            "APIService",
            vec![
                json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": format!("v9.{GROUP}")},
                "spec": {"group": GROUP, "version": "v9", "groupPriorityMinimum": 1, "versionPriority": 1, "insecureSkipTLSVerify": true,
                "service": {"name": "x", "namespace": "around"}}}),
            ],
        ),
    ]
}

fn gauge(world: &World, kind: &str) -> i64 {
    let metrics = world.gitward.reconciler_metrics();
    let line = format!("gitward_ways_around{{kind=\"{kind}\"}} ");
    metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse().ok()).unwrap_or(-1)
}

#[test]
fn every_way_around_that_can_be_seen_is_reported_while_it_is_there() {
    let world = with_pinned_kind();
    // What the chart and the API server make is none. No other test makes such.
    for kind in ["FlowSchema", "APIService", "ValidatingAdmissionPolicy"] {
        eventually(&format!("no {kind} is counted"), PATIENCE, || match gauge(world, kind) {
            0 => Ok(()),
            other => Err(other.to_string()),
        });
    }
    for (kind, objects) in objects() {
        let before = gauge(world, kind);
        assert!(before >= 0, "{kind} has no gauge");
        objects.iter().for_each(|object| world.apply("admin", object));
        let name = objects[0]["metadata"]["name"].as_str().unwrap();
        eventually(&format!("{kind} is counted"), PATIENCE, || match gauge(world, kind) {
            count if count == before + 1 => Ok(()),
            other => Err(other.to_string()),
        });
        eventually(&format!("{kind} has its Event"), PATIENCE, || {
            let selector =
                format!("--field-selector=reason=WayAroundGuard,involvedObject.kind={kind},involvedObject.name={name}");
            let events = world.cluster.get(&["events", "-n", "default", &selector]).unwrap_or_default();
            let notes = events["items"].as_array().into_iter().flatten();
            if notes.clone().any(|event| event["type"] == "Warning") { Ok(()) } else { Err(events.to_string()) }
        });
        for object in objects.iter().rev() {
            world.cluster.kubectl_in("admin", &["delete", "-f", "-"], Some(&object.to_string())).ok();
        }
        eventually(&format!("{kind} is counted no more"), PATIENCE, || match gauge(world, kind) {
            count if count == before => Ok(()),
            other => Err(other.to_string()),
        });
    }
}
