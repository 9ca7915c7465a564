//! Who owns which field: what was there before git, what people add, what autoscalers and other controllers write.

use gitward_test_cluster::{ControlPlane, Repo, Tools, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, condition, config_map, deployment, sync};

fn start(ns: &str) -> (&'static World, Repo) {
    let world = World::shared();
    world.namespace(ns);
    (world, world.git.repo(ns))
}

fn apply(world: &World, name: &str, repo: &Repo, more: Value) {
    world.apply("admin", &sync(name, &repo.file_url(), more));
}

fn around(world: &World, args: &[&str]) {
    world.cluster.kubectl(ControlPlane::FORGER, args).ok();
}

fn ready(world: &World, name: &str) -> String {
    condition(&world.status(name), "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_was_applied_by_kubectl_before_goes_where_git_does_not_declare_it() {
    let ns = "client-side";
    let (world, repo) = start(ns);
    let before = format!("{}  extra: '1'\n", config_map(ns, "settings", "red"));
    world.cluster.kubectl_in("dev", &["apply", "-f", "-"], Some(&before)).ok();
    around(world, &["label", "configmap/settings", "by=hand", "-n", ns]);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("Ours now");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("configmap/settings", ns, "/data"), json!({"color": "green"}));
    let metadata = world.field("configmap/settings", ns, "/metadata");
    assert_eq!(metadata["labels"]["by"], Value::Null, "{metadata}");
    assert_eq!(metadata["annotations"]["kubectl.kubernetes.io/last-applied-configuration"], Value::Null, "{metadata}");
}

#[test]
fn what_people_add_around_the_guard_is_removed_and_what_controllers_add_stays() {
    let ns = "additions";
    let (world, repo) = start(ns);
    repo.write("web.yaml", &deployment(ns, "web", 1));
    let commit = repo.push("The web shop");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    around(world, &["patch", "deployment/web", "-n", ns, "-p", r#"{"spec":{"paused":true,"minReadySeconds":7}}"#]);
    world.wait_field("deployment/web", ns, "/spec/paused", &Value::Null);
    world.wait_field("deployment/web", ns, "/spec/minReadySeconds", &Value::Null);
    around(world, &["annotate", "deployment/web", "note=mine", "-n", ns]);
    world.wait_field("deployment/web", ns, "/metadata/annotations/note", &Value::Null);
    let revision = world.field("deployment/web", ns, "/metadata/annotations/deployment.kubernetes.io~1revision");
    assert_ne!(revision, Value::Null, "the deployment controller's");
    around(world, &["annotate", "deployment/web", "note=theirs", "-n", ns, "--field-manager=some-operator"]);
    repo.write("web.yaml", &deployment(ns, "web", 2));
    let commit = repo.push("Two");
    world.wait_applied(ns, &commit);
    assert_eq!(world.field("deployment/web", ns, "/metadata/annotations/note"), "theirs");
    eventually("the drifts are in the status", PATIENCE, || {
        let drifts = world.status(ns)["drifts"].clone();
        let found = drifts.as_array().into_iter().flatten().any(|drift| {
            drift["manager"] == "kubectl-annotate"
                && drift["what"].as_str().unwrap().contains("metadata.annotations.note")
        });
        if found { Ok(()) } else { Err(drifts.to_string()) }
    });
    eventually("nothing drifts any more", PATIENCE, || {
        let drifted = condition(&world.status(ns), "Drifted");
        if drifted["status"] == "False" { Ok(()) } else { Err(drifted.to_string()) }
    });
}

fn hpa(ns: &str, least: u32) -> String {
    format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web, namespace: {ns}}}\nspec:\n  \
         scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}\n  minReplicas: {least}\n  maxReplicas: 9\n  \
         metrics: [{{type: Resource, resource: {{name: cpu, target: {{type: Utilization, averageUtilization: 50}}}}}}]\n"
    )
}

#[test]
fn replicas_are_left_to_an_autoscaler_and_never_dip() {
    let ns = "autoscaled";
    let (world, repo) = start(ns);
    repo.write("web.yaml", &deployment(ns, "web", 8));
    let commit = repo.push("Eight");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    let seen = world.cluster.watch(&["deployment/web", "-n", ns, "-o", "jsonpath={.spec.replicas}{\"\\n\"}"]);
    repo.write("hpa.yaml", &hpa(ns, 2));
    let commit = repo.push("An autoscaler");
    world.wait_applied(ns, &commit);
    // From the HPA's own hand; without metrics it moves nothing by itself but the bounds.
    repo.write("hpa.yaml", &hpa(ns, 9));
    world.wait_applied(ns, &repo.push("At least nine"));
    world.wait_field("deployment/web", ns, "/spec/replicas", &json!(9));
    repo.write("web.yaml", &deployment(ns, "web", 3).replace("example.com/web:1", "example.com/web:2"));
    world.wait_applied(ns, &repo.push("Another image"));
    assert_eq!(world.field("deployment/web", ns, "/spec/template/spec/containers/0/image"), "example.com/web:2");
    assert_eq!(world.field("deployment/web", ns, "/spec/replicas"), 9);
    let counts: Vec<i64> = seen.lines().iter().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(!counts.is_empty() && counts.iter().all(|count| *count >= 8), "{counts:?}");

    repo.remove("hpa.yaml");
    world.wait_applied(ns, &repo.push("By hand again"));
    world.wait_field("deployment/web", ns, "/spec/replicas", &json!(3));
}

#[test]
fn what_a_gitsync_ignores_keeps_its_value_and_may_be_changed() {
    let ns = "ignored";
    let (world, repo) = start(ns);
    let settings = format!("{}  size: '1'\n", config_map(ns, "settings", "green"));
    repo.write("settings.yaml", &settings);
    let commit = repo.push("Two keys");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    let ignore = json!({"ignore": [{"kind": "ConfigMap", "name": "settings", "pointers": ["/data/size", "/metadata/labels/x"]}]});
    apply(world, ns, &repo, ignore);
    let owns_size = || {
        let fields = world.cluster.get(&["configmap/settings", "-n", ns, "--show-managed-fields"]).unwrap_or_default();
        let entries = fields["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        entries.iter().any(|e| e["manager"] == "gitward" && e["fieldsV1"]["f:data"].get("f:size").is_some())
    };
    eventually("the field is handed over", PATIENCE, || if owns_size() { Err("not yet".into()) } else { Ok(()) });
    assert_eq!(world.field("configmap/settings", ns, "/data/size"), "1", "its value stays");
    around(world, &["patch", "configmap/settings", "-n", ns, "-p", r#"{"data":{"size":"5","color":"red"}}"#]);
    around(world, &["label", "configmap/settings", "x=1", "-n", ns]);
    world.wait_field("configmap/settings", ns, "/data/color", &json!("green"));
    repo.write("settings.yaml", &settings.replace("green", "blue"));
    world.wait_applied(ns, &repo.push("Blue"));
    assert_eq!(world.field("configmap/settings", ns, "/data"), json!({"color": "blue", "size": "5"}));
    assert_eq!(world.field("configmap/settings", ns, "/metadata/labels/x"), "1");
}

fn job(ns: &str, arg: &str, annotation: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: task, namespace: {ns}, annotations: {{{annotation}}}}}\nspec:\n  \
         ttlSecondsAfterFinished: 1\n  template:\n    spec:\n      restartPolicy: Never\n      containers: [{{name: a, image: \
         example.com/a:1, args: [{arg}]}}]\n"
    )
}

#[test]
fn a_field_that_cannot_be_changed_needs_the_word_of_git() {
    let ns = "immutable";
    let (world, repo) = start(ns);
    repo.write("task.yaml", &job(ns, "one", ""));
    let commit = repo.push("A task");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    let uid = world.field("job/task", ns, "/metadata/uid");
    repo.write("task.yaml", &job(ns, "two", ""));
    repo.push("Another task");
    world.wait_reason(ns, "ReconciliationFailed");
    let text = ready(world, ns);
    assert!(text.contains("field is immutable") && text.contains("gitward.dev/replace: allow"), "{text}");
    assert_eq!(world.field("job/task", ns, "/metadata/uid"), uid);
    repo.write("task.yaml", &job(ns, "two", "gitward.dev/replace: allow"));
    world.wait_applied(ns, &repo.push("Replace it"));
    assert_ne!(world.field("job/task", ns, "/metadata/uid"), uid);
    assert_eq!(world.field("job/task", ns, "/spec/template/spec/containers/0/args/0"), "two");
}

#[test]
fn a_job_that_has_ended_and_went_is_not_made_again() {
    let ns = "ended";
    let (world, (_, repo)) = (crate::waves::world(), start(ns));
    let job = |arg: &str| job(ns, arg, "").replace("restartPolicy", "nodeName: kwok\n      restartPolicy");
    repo.write("task.yaml", &job("one"));
    let commit = repo.push("A task");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    eventually("it is gone", PATIENCE, || match world.cluster.get(&["job/task", "-n", ns]) {
        None => Ok(()),
        Some(job) => Err(job["status"].to_string()),
    });
    repo.write("more.yaml", &config_map(ns, "more", "green"));
    repo.write("task.yaml", &format!("# a line above\n{}", job("one")));
    world.wait_applied(ns, &repo.push("Something else"));
    assert!(world.cluster.get(&["job/task", "-n", ns]).is_none(), "it has done its work");
    assert_eq!(condition(&world.status(ns), "Healthy")["status"], "True");
    repo.write("task.yaml", &job("two"));
    world.wait_applied(ns, &repo.push("Another task"));
    eventually("the other task runs", PATIENCE, || {
        let events = world.cluster.get(&["events", "-n", ns]).unwrap_or_default();
        let started =
            events["items"].as_array().into_iter().flatten().filter(|e| e["reason"] == "SuccessfulCreate").count();
        if started == 2 { Ok(()) } else { Err(events.to_string()) }
    });
}

#[test]
fn the_rules_of_an_aggregated_cluster_role_are_left_to_the_aggregation() {
    let ns = "aggregated";
    let (world, repo) = start(ns);
    let whole = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: aggregated-all}\n\
                 aggregationRule: {clusterRoleSelectors: [{matchLabels: {aggregated: part}}]}\nrules: []\n";
    let part = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: aggregated-part, labels: \
                {aggregated: part}}\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]\n";
    repo.write("all.yaml", whole);
    repo.write("part.yaml", part);
    let commit = repo.push("Roles");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    world.wait_field("clusterrole/aggregated-all", "default", "/rules/0/resources", &json!(["pods"]));
    repo.write("more.yaml", &config_map(ns, "more", "green"));
    world.wait_applied(ns, &repo.push("More"));
    assert_eq!(world.field("clusterrole/aggregated-all", "default", "/rules/0/resources"), json!(["pods"]));
    assert_eq!(condition(&world.status(ns), "Drifted")["status"], "False");
}

/// A policy that changes everything that is applied, as a sidecar injector does.
#[test]
fn what_an_admission_changes_in_our_own_applies_makes_no_endless_loop() {
    let ns = "injected";
    let (world, repo) = start(ns);
    let api = format!("admissionregistration.k8s.io/{}", Tools::mutating_policies());
    let policy = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "injected"}, "spec": {"failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "matchConstraints": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ns}},
            "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}]},
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{data: {\"color\": \"injected\", \"sidecar\": \"yes\"}}"}}]}});
    let binding = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "injected"}, "spec": {"policyName": "injected"}});
    world.apply("admin", &policy);
    world.apply("admin", &binding);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    repo.push("Changed on its way");
    eventually("the policy is in force", PATIENCE, || {
        let args = ["create", "configmap", "probe", "-n", ns, "--dry-run=server", "-o", "jsonpath={.data.sidecar}"];
        let output = world.cluster.kubectl("admin", &args);
        if output.stdout == "yes" { Ok(()) } else { Err(output.stdout) }
    });
    apply(world, ns, &repo, json!({}));
    world.wait_reason(ns, "ReconciliationSucceeded");
    let version = world.field("configmap/settings", ns, "/metadata/resourceVersion");
    // Many looks at the repository later nothing was written again.
    let commit = repo.push_empty("Nothing new");
    world.wait_applied(ns, &commit);
    let data = world.field("configmap/settings", ns, "/data");
    assert_eq!(data["sidecar"], "yes");
    let later = world.field("configmap/settings", ns, "/metadata/resourceVersion");
    world
        .cluster
        .kubectl("admin", &["delete", "mutatingadmissionpolicybinding/injected", "mutatingadmissionpolicy/injected"])
        .ok();
    assert_eq!(later, version);
}

#[test]
fn a_copy_of_what_git_declares_is_reported_and_left_alone() {
    let ns = "copied";
    let (world, repo) = start(ns);
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("Something");
    apply(world, ns, &repo, json!({}));
    world.wait_applied(ns, &commit);
    let mut copy = world.cluster.get(&["configmap/settings", "-n", ns]).unwrap();
    let labels = copy["metadata"]["labels"].clone();
    let id = copy["metadata"]["annotations"]["gitward.dev/pinned-id"].clone();
    copy["metadata"] =
        json!({"name": "copy", "namespace": ns, "labels": labels, "annotations": {"gitward.dev/pinned-id": id}});
    let output = world.cluster.kubectl_in(ControlPlane::FORGER, &["create", "-f", "-"], Some(&copy.to_string()));
    output.ok();
    eventually("it is reported", PATIENCE, || {
        let events = world.cluster.get(&["events", "-n", "gitward-system"]).unwrap_or_default();
        let found = events["items"].as_array().into_iter().flatten().any(|event| {
            event["reason"] == "CopyFound" && event["message"].as_str().is_some_and(|text| text.contains("copied/copy"))
        });
        if found { Ok(()) } else { Err("no Event".to_owned()) }
    });
    repo.write("more.yaml", &config_map(ns, "more", "green"));
    world.wait_applied(ns, &repo.push("More"));
    assert_eq!(world.field("configmap/copy", ns, "/data/color"), "green");
    assert_eq!(world.status(ns)["objects"], 2);
}
