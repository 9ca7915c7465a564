//! Every kind that has more than one way in, by each of them: the object, its status, its deletion in all manners.

use serde_json::{Value, json};

use crate::support::World;

const NS: &str = "kinds";

/// A Pod's template, as YAML flow.
const POD: &str =
    "{metadata: {labels: {app: APP}}, spec: {restartPolicy: RESTART, containers: [{name: c, image: 'x:1'}]}}";

fn manifests() -> Vec<(&'static str, String)> {
    let pod = |app: &str, restart: &str| POD.replace("APP", app).replace("RESTART", restart);
    let selector = |app: &str| format!("{{matchLabels: {{app: {app}}}}}");
    let always = |app: &str| format!("spec: {{selector: {}, template: {}}}", selector(app), pod(app, "Always"));
    let job = format!("{{template: {}}}", pod("j", "Never"));
    vec![
        ("statefulset", format!("apiVersion: apps/v1\nkind: StatefulSet\nspec: {{serviceName: x, selector: {}, template: {}}}", selector("s"), pod("s", "Always"))),
        ("daemonset", format!("apiVersion: apps/v1\nkind: DaemonSet\n{}", always("d"))),
        ("replicaset", format!("apiVersion: apps/v1\nkind: ReplicaSet\n{}", always("r"))),
        ("deployment", format!("apiVersion: apps/v1\nkind: Deployment\n{}", always("p"))),
        ("job", format!("apiVersion: batch/v1\nkind: Job\nspec: {job}")),
        ("cronjob", format!("apiVersion: batch/v1\nkind: CronJob\nspec: {{schedule: '0 0 1 1 *', jobTemplate: {{spec: {job}}}}}")),
        ("replicationcontroller", format!("apiVersion: v1\nkind: ReplicationController\nspec: {{selector: {{app: rc}}, template: {}}}", pod("rc", "Always"))),
        ("service", "apiVersion: v1\nkind: Service\nspec: {selector: {app: none}, ports: [{port: 80}]}".into()),
        ("pod", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: 'x:1'}]}".into()),
        ("persistentvolumeclaim", "apiVersion: v1\nkind: PersistentVolumeClaim\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}".into()),
        ("resourcequota", "apiVersion: v1\nkind: ResourceQuota\nspec: {hard: {services.nodeports: '9'}}".into()),
        ("horizontalpodautoscaler", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec: {maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}}".into()),
        ("poddisruptionbudget", "apiVersion: policy/v1\nkind: PodDisruptionBudget\nspec: {minAvailable: 1, selector: {matchLabels: {app: p}}}".into()),
        ("ingress", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nspec: {defaultBackend: {service: {name: x, port: {number: 80}}}}".into()),
        ("networkpolicy", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: {podSelector: {}, policyTypes: [Ingress]}".into()),
        ("role", "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nrules: [{apiGroups: [''], resources: [pods], verbs: [get]}]".into()),
        ("serviceaccount", "apiVersion: v1\nkind: ServiceAccount".into()),
        ("limitrange", "apiVersion: v1\nkind: LimitRange\nspec: {limits: [{type: PersistentVolumeClaim, max: {storage: 9Gi}}]}".into()),
        ("priorityclass", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nvalue: 5".into()),
        ("persistentvolume", "apiVersion: v1\nkind: PersistentVolume\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /x}, storageClassName: none}".into()),
    ]
}

fn is_cluster_scoped(kind: &str) -> bool {
    ["priorityclass", "persistentvolume"].contains(&kind)
}

/// What of an object a person could have wanted to change.
fn essence(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!([
        object["spec"],
        object["rules"],
        object["value"],
        metadata["labels"],
        metadata["annotations"],
        metadata["ownerReferences"],
        metadata["finalizers"],
        metadata["deletionTimestamp"]
    ])
}

#[test]
fn no_kind_can_be_changed_by_any_of_its_ways() {
    let world = World::shared();
    world.namespace(NS);
    let repo = world.git.repo(NS);
    for (kind, text) in manifests() {
        let namespace = if is_cluster_scoped(kind) { String::new() } else { format!(", namespace: {NS}") };
        repo.write(
            &format!("{kind}.yaml"),
            &format!("{text}\nmetadata: {{name: kinds-{kind}{namespace}, labels: {{mine: 'no'}}}}\n"),
        );
    }
    let commit = repo.push("One of each");
    world.follow(NS, &repo);
    world.wait_applied(NS, &commit);
    let mut wrong = Vec::new();
    for (kind, _) in manifests() {
        wrong.extend(ways_in(world, kind));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for version in ["v1", "v2"] {
        let kind = format!("horizontalpodautoscalers.{version}.autoscaling/kinds-horizontalpodautoscaler");
        let patch = ["patch", &kind, "-n", NS, "--type=merge", "-p", r#"{"spec":{"maxReplicas":9}}"#];
        assert!(world.cluster.kubectl("admin", &patch).refused().contains("spec.maxReplicas: 2 -> 9"), "{version}");
    }
}

fn ways_in(world: &World, kind: &str) -> Vec<String> {
    let name = format!("kinds-{kind}");
    let admin = |args: &[&str]| {
        let scope: &[&str] = if is_cluster_scoped(kind) { &[] } else { &["-n", NS] };
        world.cluster.kubectl("admin", &[args, scope].concat())
    };
    let live = || essence(&serde_json::from_str(admin(&["get", kind, &name, "-o", "json"]).ok()).unwrap_or_default());
    let before = live();
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "5b0c5c5e-0000-4000-8000-000000000000"}]);
    let patches = [
        json!({"metadata": {"labels": {"gitward.dev/sync-name": null}}}),
        json!({"metadata": {"labels": {"gitward.dev/sync-name": null, "gitward.dev/sync-namespace": null}}}),
        json!({"metadata": {"labels": {"mine": "yes"}}}),
        json!({"metadata": {"annotations": {"gitward.dev/pinned-id": "/ConfigMap:x/y"}}}),
        json!({"metadata": {"ownerReferences": owner}}),
        json!({"metadata": {"finalizers": ["example.com/held"]}}),
        json!({"metadata": {"managedFields": [{}]}}),
    ];
    let mut wrong = Vec::new();
    for patch in &patches {
        for sub_resource in ["", "--subresource=status"] {
            let patch = patch.to_string();
            let mut args = vec!["patch", kind, name.as_str(), "--type=merge", "-p", patch.as_str()];
            args.extend([sub_resource].into_iter().filter(|text| !text.is_empty()));
            let output = admin(&args);
            // A subresource that does not exist, or takes no metadata, changes nothing either.
            let refused = output.status != 0 && output.stderr.contains("is pinned to git");
            if sub_resource.is_empty() && !refused {
                wrong.push(format!("{} was not refused: {}{}", output.command, output.stdout, output.stderr));
            }
        }
    }
    for cascade in ["background", "foreground", "orphan"] {
        let output = admin(&["delete", kind, &name, "--wait=false", &format!("--cascade={cascade}")]);
        if !output.stderr.contains("is pinned to git") {
            wrong.push(format!("{} was not refused: {}{}", output.command, output.stdout, output.stderr));
        }
    }
    if live() != before {
        wrong.push(format!("{kind} changed: {before} -> {}", live()));
    }
    wrong
}
