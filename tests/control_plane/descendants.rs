//! What belongs to pinned objects, and what stands beside them.

use gitward_test_cluster::{Output, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NS}\nspec:\n  selector: {app: web}\n  \
                       ports: [{port: 80}]\n";
const CRON: &str = "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: report, namespace: NS}\nspec:\n  schedule: \
                    '0 0 1 1 *'\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          \
                    containers: [{name: report, image: 'example.com/report:1'}]\n";

/// A namespace with a pinned Deployment, Service and CronJob; waits until the Deployment has its Pods.
fn with_shop(ns: &str) -> (&'static World, Vec<String>) {
    let world = World::shared();
    world.namespace(ns);
    let repo = world.git.repo(ns);
    let resources = "          resources: {requests: {cpu: 5m}, limits: {memory: 9Mi}}\n";
    repo.write("web.yaml", &(deployment(ns, "web", 2) + resources));
    repo.write("service.yaml", &SERVICE.replace("NS", ns));
    repo.write("cron.yaml", &CRON.replace("NS", ns));
    let commit = repo.push("The shop");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    let pods = eventually("the Deployment has its Pods", PATIENCE, || {
        let pods = world.cluster.get(&["pods", "-n", ns, "-l", "app=web"]).unwrap_or_default();
        let names = pods["items"].as_array().into_iter().flatten();
        let names: Vec<String> = names.map(|p| p["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        if names.len() == 2 { Ok(names) } else { Err(pods.to_string()) }
    });
    (world, pods)
}

fn dev(world: &World, ns: &str, args: &[&str]) -> Output {
    world.cluster.kubectl("dev", &[args, &["-n", ns]].concat())
}

fn refused(output: &Output, expected: &str) {
    assert!(output.refused().contains(expected), "{}: {}", output.command, output.stderr);
}

#[test]
fn people_change_nothing_that_belongs_to_a_pinned_deployment() {
    let ns = "descend";
    let (world, pods) = with_shop(ns);
    let pod = pods[0].as_str();
    let belongs = format!("belongs to Deployment {ns}/web, which is pinned to git");
    let replica_set = world.cluster.kubectl("admin", &["get", "replicasets", "-n", ns, "-o", "name"]);
    let replica_set = replica_set.ok().trim().to_owned();
    for args in [
        &["delete", "pod", pod, "--wait=false"][..],
        &["delete", "pods", "-l", "app=web", "--wait=false"],
        &["label", "pod", pod, "team=mine"],
        &["label", "pod", pod, "app-"],
        &["annotate", "pod", pod, "controller.kubernetes.io/pod-deletion-cost=9"],
        &["set", "image", "pod", pod, "web=evil:1"],
        &["delete", &replica_set],
        &["scale", &replica_set, "--replicas=0"],
        &["annotate", &replica_set, "note=mine"],
        &["patch", "pod", pod, "--type=json", "-p", r#"[{"op":"remove","path":"/metadata/ownerReferences"}]"#],
    ] {
        refused(&dev(world, ns, args), &belongs);
    }
    let resize = r#"{"spec":{"containers":[{"name":"web","resources":{"requests":{"cpu":"9m"}}}]}}"#;
    let resize = ["patch", "pod", pod, "--subresource=resize", "-p", resize, "-n", ns];
    refused(&world.cluster.kubectl("admin", &resize), &belongs);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": "n"}});
    let path = format!("/api/v1/namespaces/{ns}/pods/{pod}/binding");
    let bind = ["create", "--raw", &path, "-f", "-"];
    refused(&world.cluster.kubectl_in("admin", &bind, Some(&binding.to_string())), &belongs);
    let status =
        ["patch", "pod", pod, "--subresource=status", "--type=merge", "-p", r#"{"status":{"podIP":"10.9.9.9"}}"#];
    let args = [&status[..], &["-n", ns]].concat();
    refused(&world.cluster.kubectl("admin", &args), "status.podIP");
}

#[test]
fn drains_and_jobs_by_hand_work_and_a_look_inside_is_recorded() {
    let ns = "look";
    let (world, pods) = with_shop(ns);
    let eviction =
        json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pods[0], "namespace": ns}});
    let path = format!("/api/v1/namespaces/{ns}/pods/{}/eviction", pods[0]);
    world.cluster.kubectl_in("dev", &["create", "--raw", &path, "-f", "-"], Some(&eviction.to_string())).ok();
    dev(world, ns, &["create", "job", "by-hand", "--from=cronjob/report"]).ok();

    // There is no kubelet: the exec fails behind the guard, which has recorded it.
    let exec = format!("/api/v1/namespaces/{ns}/pods/{}/exec?command=true", pods[1]);
    let exec = world.cluster.kubectl("dev", &["get", "--raw", &exec]);
    exec.refused();
    for access in ["attach", "portforward?ports=80", "proxy/"] {
        let path = format!("/api/v1/namespaces/{ns}/pods/{}/{access}", pods[1]);
        world.cluster.kubectl("admin", &["get", "--raw", &path]).refused();
    }
    let debug = ["debug", &pods[1], "--image=example.com/debug:1", "--attach=false", "-n", ns];
    world.cluster.kubectl("admin", &debug).ok();
    eventually("exec and debug are recorded as allowed", PATIENCE, || {
        let records = world.cluster.get(&["blockedchanges", "-n", ns]).unwrap_or_default();
        let found = |verb: &str| {
            let records = records["items"].as_array().into_iter().flatten();
            records
                .map(|r| &r["spec"])
                .any(|s| s["verb"] == verb && s["decision"] == "allow" && s["reason"] == "DescendantAccessed")
        };
        let all =
            ["connect exec", "connect attach", "connect portforward", "connect proxy", "update ephemeralcontainers"];
        if all.into_iter().all(found) { Ok(()) } else { Err(exec.stderr.clone() + &records.to_string()) }
    });
}

#[test]
fn nothing_becomes_part_of_a_pinned_workload_or_its_traffic() {
    let ns = "beside";
    let (world, _) = with_shop(ns);
    let becomes = |what: &str| format!("would become part of {what} {ns}/web, which is pinned to git");
    dev(world, ns, &["run", "stray", "--image=example.com/stray:1", "--labels=x=y"]).ok();
    refused(
        &dev(world, ns, &["run", "wolf", "--image=example.com/wolf:1", "--labels=app=web"]),
        "would become part of",
    );
    refused(&dev(world, ns, &["label", "pod", "stray", "app=web"]), "metadata.labels.app");
    // Its Pods would be made by a controller, and get the Service's traffic.
    let mut copy: Value = serde_json::from_str(
        dev(world, ns, &["create", "deployment", "wolf", "--image=x:1", "--dry-run=client", "-o", "json"]).ok(),
    )
    .unwrap();
    copy["metadata"]["namespace"] = json!(ns);
    copy["spec"]["template"]["metadata"]["labels"]["app"] = json!("web");
    copy["spec"]["selector"]["matchLabels"]["app"] = json!("web");
    refused(&world.try_apply("dev", &copy), &becomes("Service"));

    let hpa = |version: &str| {
        json!({"apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "wolf", "namespace": ns},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}})
    };
    for version in ["autoscaling/v1", "autoscaling/v2"] {
        refused(&world.try_apply("dev", &hpa(version)), &becomes("Deployment"));
    }
    let on = |api_version: &str, kind: &str, name: &str| {
        let mut hpa = hpa("autoscaling/v2");
        hpa["spec"]["scaleTargetRef"] = json!({"apiVersion": api_version, "kind": kind, "name": name});
        world.try_apply("dev", &hpa)
    };
    refused(&on("apps/v1beta9", "Deployment", "web"), &becomes("Deployment"));
    let sets = world.cluster.get(&["replicasets", "-n", ns, "-l", "app=web"]).unwrap();
    let set = sets["items"][0]["metadata"]["name"].as_str().unwrap();
    refused(&on("apps/v1", "ReplicaSet", set), &becomes("Deployment"));
    refused(&on("apps/v1", "Deployment", "later"), "there is no such object yet");
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "wolf", "namespace": ns, "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["10.9.9.9"]}]});
    refused(&world.try_apply("admin", &slice), &becomes("Service"));
    let mut other = slice.clone();
    other["metadata"]["labels"]["kubernetes.io/service-name"] = json!("other");
    world.apply("admin", &other);
    refused(&world.try_apply("admin", &slice), &becomes("Service"));
}

#[test]
fn a_service_gets_its_endpoint_slices_though_they_copy_its_labels() {
    let ns = "slices";
    let (world, _) = with_shop(ns);
    let slice = eventually("the EndpointSlice is there", PATIENCE, || {
        let slices = world.cluster.get(&["endpointslices", "-n", ns, "-l", "kubernetes.io/service-name=web"]);
        slices.unwrap_or_default()["items"].get(0).cloned().ok_or_else(|| "none yet".to_owned())
    });
    assert_eq!(slice["metadata"]["labels"]["gitward.dev/sync-name"], ns);
    let name = slice["metadata"]["name"].as_str().unwrap();
    let delete = ["delete", "endpointslice", name, "-n", ns];
    refused(&world.cluster.kubectl("admin", &delete), &format!("belongs to Service {ns}/web"));
}

#[test]
fn what_a_pinned_custom_resource_owns_is_found_by_its_owner() {
    let (ns, world) = ("owned", World::shared());
    world.namespace(ns);
    let crd = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"gadgets.owned.example.com"},
        "spec":{"group":"owned.example.com","scope":"Namespaced","names":{"plural":"gadgets","singular":"gadget","kind":"Gadget"},
        "versions":[{"name":"v1","served":true,"storage":true,"subresources":{"scale":{"specReplicasPath":".spec.size",
        "statusReplicasPath":".status.size"}},"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object",
        "properties":{"size":{"type":"integer"}}},"status":{"type":"object","properties":{"size":{"type":"integer"}}}}}}}]}}"#;
    world.cluster.kubectl_in("admin", &["create", "-f", "-"], Some(crd)).ok();
    let repo = world.git.repo(ns);
    repo.write("gadget.yaml", &format!("apiVersion: owned.example.com/v1\nkind: Gadget\nmetadata: {{name: g, namespace: {ns}}}\nspec: {{size: 2}}\n"));
    let commit = repo.push("A gadget");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);

    let delete = ["delete", "crd", "gadgets.owned.example.com"];
    refused(&world.cluster.kubectl("admin", &delete), "holds objects that are pinned to git");
    let uid = world.field("gadget/g", ns, "/metadata/uid");
    // As its operator would make it: a person could not.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "g-0", "namespace": ns, "ownerReferences": [
        {"apiVersion": "owned.example.com/v1", "kind": "Gadget", "name": "g", "uid": uid, "controller": true}]},
        "spec": {"containers": [{"name": "g", "image": "example.com/g:1"}]}});
    refused(&world.try_apply("dev", &pod), "would become part of Gadget");
    let kcm = "system:kube-controller-manager";
    let create = ["create", "-f", "-", "--as", kcm, "--as-group=system:masters"];
    world.cluster.kubectl_in("admin", &create, Some(&pod.to_string())).ok();
    eventually("the guard may look the Gadget up", PATIENCE, || {
        let output = dev(world, ns, &["delete", "pod", "g-0"]);
        let expected = format!("belongs to Gadget {ns}/g, which is pinned to git");
        if output.refused().contains(&expected) { Ok(()) } else { Err(output.stderr.clone()) }
    });
    // Whatever it makes is found, of any kind and in any version that the owner is written in.
    for (kind, version) in [("ConfigMap", "v1"), ("Service", "v7")] {
        let made = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "made", "namespace": ns, "ownerReferences": [
            {"apiVersion": format!("owned.example.com/{version}"), "kind": "Gadget", "name": "g", "uid": uid}]},
            "spec": {"clusterIP": "None", "ports": [{"port": 80}]}});
        let made = if kind == "Service" { made } else { without_spec(made) };
        world.cluster.kubectl_in("admin", &create, Some(&made.to_string())).ok();
        let belongs = format!("belongs to Gadget {ns}/g, which is pinned to git");
        refused(&dev(world, ns, &["annotate", kind, "made", "note=x"]), &belongs);
        refused(&dev(world, ns, &["delete", kind, "made"]), &belongs);
    }
    // Its replicas are kept in spec.size, and git declares that.
    let scale = ["scale", "gadget/g", "--replicas=5", "-n", ns];
    refused(&world.cluster.kubectl("admin", &scale), "spec.replicas: 2 -> 5");
    let as_autoscaler = [&scale[..], &["--as", kcm, "--as-group=system:masters"]].concat();
    refused(&world.cluster.kubectl("admin", &as_autoscaler), "spec.replicas: 2 -> 5");
}

fn without_spec(mut object: Value) -> Value {
    object.as_object_mut().unwrap().remove("spec");
    object
}

#[test]
fn nobody_takes_the_names_that_a_pinned_workload_will_use() {
    let (ns, world) = ("names", World::shared());
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write("cron.yaml", &CRON.replace("NS", ns));
    repo.write(
        "db.yaml",
        &"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: my-db, namespace: NS}\nspec:\n  replicas: 0\n  serviceName: db-hs\n  \
          selector: {matchLabels: {app: db}}\n  volumeClaimTemplates:\n  - metadata: {name: data}\n    spec: {accessModes: [ReadWriteOnce], \
          resources: {requests: {storage: 1Mi}}}\n  template:\n    metadata: {labels: {app: db}}\n    spec: {containers: [{name: db, image: 'x:1'}]}\n"
            .replace("NS", ns),
    );
    let commit = repo.push("A database");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    let claim_spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}});
    let of = |api_version: &str, kind: &str, name: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": ns}, "spec": spec});
    let template =
        json!({"metadata": {"labels": {"app": "mine"}}, "spec": {"containers": [{"name": "x", "image": "x:1"}]}});
    let set = |name: &str, claim: &str| {
        of(
            "apps/v1",
            "StatefulSet",
            name,
            json!({"replicas": 0, "selector": {"matchLabels": {"app": "mine"}}, "serviceName": "x",
            "template": template, "volumeClaimTemplates": [{"metadata": {"name": claim}, "spec": claim_spec}]}),
        )
    };
    let job = |name: &str| {
        let mut job = of("batch/v1", "Job", name, json!({"template": template}));
        job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
        job
    };
    let mut revision = without_spec(of("apps/v1", "ControllerRevision", "mine", Value::Null));
    revision["metadata"]["labels"] = json!({"app": "db"});
    revision["revision"] = json!(9);
    revision["data"] = json!({"spec": {"template": {}}});
    let service = |name: &str| of("v1", "Service", name, json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    for (taken, by) in [
        (of("v1", "Pod", "my-db-7", template["spec"].clone()), "StatefulSet"),
        (of("v1", "PersistentVolumeClaim", "data-my-db-0", claim_spec.clone()), "StatefulSet"),
        (set("db", "data-my"), "StatefulSet"),
        (service("db-hs"), "StatefulSet"),
        (job("report-29600000"), "CronJob"),
    ] {
        refused(&world.try_apply("dev", &taken), &format!("would become part of {by} {ns}/"));
    }
    // The role admin does not make these.
    refused(&world.try_apply("admin", &revision), &format!("would become part of StatefulSet {ns}/my-db"));
    for free in
        [of("v1", "Pod", "mine", template["spec"].clone()), set("db", "data"), service("mine"), job("report-mine")]
    {
        world.apply("dev", &free);
    }
}

#[test]
fn a_role_that_a_pinned_role_takes_in_is_refused() {
    let (ns, world) = ("aggregate", World::shared());
    world.namespace(ns);
    let repo = world.git.repo(ns);
    repo.write(
        "role.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: collected}\n\
        aggregationRule: {clusterRoleSelectors: [{matchLabels: {collect: 'yes'}}]}\n",
    );
    repo.write("settings.yaml", &config_map(ns, "settings", "green"));
    let commit = repo.push("A role of roles");
    world.follow(ns, &repo);
    world.wait_applied(ns, &commit);
    let role = |labels: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "wolf", "labels": labels},
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]})
    };
    world.apply("admin", &role(json!({"collect": "no"})));
    refused(&world.try_apply("admin", &role(json!({"collect": "yes"}))), "would become part of ClusterRole collected");
}
