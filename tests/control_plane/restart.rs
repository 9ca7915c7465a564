//! A restart over objects that are as git declares them writes nothing; what was changed meanwhile is healed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gitward_test_cluster::{ControlPlane, Fault, Proxy, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World, config_map, deployment, sync};

const NS: &str = "restart";
/// How long nothing may have been written until everything counts as settled.
const QUIET: Duration = Duration::from_secs(4);

/// What is declared: many of one kind, and one of each kind that is special to an apply.
fn files() -> Vec<(&'static str, String)> {
    let many: String =
        (0..200).map(|number| format!("---\n{}", config_map(NS, &format!("c{number}"), "green"))).collect();
    let apps = format!("{}---\n{}", deployment(NS, "web", 2), deployment(NS, "scaled", 3));
    let hpa = format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: scaled, namespace: {NS}}}\nspec: {{minReplicas: 3, \
         maxReplicas: 9, scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: scaled}}}}\n"
    );
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "lamps.restart.example.com"}, "spec": {"group": "restart.example.com", "scope": "Namespaced",
            "names": {"kind": "Lamp", "plural": "lamps", "singular": "lamp", "listKind": "LampList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let lamp = json!({"apiVersion": "restart.example.com/v1", "kind": "Lamp",
        "metadata": {"name": "lamp", "namespace": NS}, "spec": {"bright": true}});
    let job = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: task, namespace: {NS}}}\nspec:\n  ttlSecondsAfterFinished: 1\n  template:\n    \
         spec: {{restartPolicy: Never, nodeName: kwok, containers: [{{name: a, image: example.com/a:1}}]}}\n"
    );
    let more = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {NS}}}\nspec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: word, namespace: {NS}}}\nstringData: {{word: abc}}\n\
         ---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: web, namespace: {NS}}}\n"
    );
    vec![
        ("many.yaml", many),
        ("apps.yaml", apps),
        ("hpa.yaml", hpa),
        ("lamp.yaml", format!("{crd}\n---\n{lamp}\n")),
        ("job.yaml", job),
        ("more.yaml", more),
    ]
}

/// The versions of all objects that are declared, and of gitward's own.
fn versions(world: &World) -> BTreeMap<String, String> {
    let kinds = "configmaps,deployments,horizontalpodautoscalers,services,secrets,serviceaccounts,jobs,lamps";
    let listed = [
        world.cluster.get(&[kinds, "-n", NS]),
        world.cluster.get(&["customresourcedefinitions", "namespaces"]),
        // Its Events and its Pods are the control plane's, the records of its state are its own.
        world.cluster.get(&["gitsyncs,configmaps,secrets", "-n", "gitward-system"]),
    ];
    let mut found = BTreeMap::new();
    for object in listed.iter().flatten().flat_map(|list| list["items"].as_array().into_iter().flatten()) {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        found.insert(name, text("/metadata/resourceVersion").to_owned());
    }
    found
}

fn settle(proxy: &Proxy) {
    eventually("nothing is written any more", PATIENCE, || {
        if proxy.quiet() >= QUIET { Ok(()) } else { Err(format!("{:?}", proxy.writes().last())) }
    });
}

/// Counts the writes anew, kills the reconciler, and waits until the next has looked at all that git declares.
fn restart(world: &mut World, proxy: &Proxy, meanwhile: impl FnOnce(&World)) {
    world.gitward.crash_reconciler();
    meanwhile(world);
    // It asks for autoscalers when it has rendered, and applies what has to be applied after that.
    let rendered = Arc::new(AtomicBool::new(false));
    let seen = rendered.clone();
    proxy.set(move |request| {
        if request.path == "/apis/autoscaling/v2/horizontalpodautoscalers" && !request.watch {
            seen.store(true, Ordering::SeqCst);
        }
        Fault::None
    });
    world.gitward.revive_reconciler();
    eventually("it has rendered what git declares", PATIENCE, || {
        if rendered.load(Ordering::SeqCst) { Ok(()) } else { Err("not yet".to_owned()) }
    });
}

#[test]
fn a_restart_over_unchanged_objects_writes_nothing_and_heals_what_was_changed_meanwhile() {
    let mut world = World::start();
    let _node = world.cluster.simulate_node();
    world.namespace(NS);
    let pid_file = world.gitward.reconciler().unwrap().pid_file().to_owned();
    let proxy = Proxy::start(world.cluster, &world.gitward.reconciler_token(), &pid_file);
    world.gitward.set_reconciler_env("KUBECONFIG", proxy.kubeconfig());
    world.gitward.start_reconciler();
    let repo = world.git.repo(NS);
    files().iter().for_each(|(file, text)| repo.write(file, text));
    let commit = repo.push("Many kinds");
    world.apply("admin", &sync(NS, &repo.file_url(), json!({})));
    world.wait_applied(NS, &commit);
    eventually("the Job has ended and is gone", PATIENCE, || match world.cluster.get(&["job/task", "-n", NS]) {
        None => Ok(()),
        Some(job) => Err(job["status"].to_string()),
    });
    settle(&proxy);

    let before = versions(&world);
    assert!(before.len() > 200, "{before:?}");
    restart(&mut world, &proxy, |_| {});
    settle(&proxy);
    assert_eq!(proxy.writes(), Vec::<String>::new());
    let changed: Vec<_> = versions(&world).into_iter().filter(|(name, at)| before.get(name) != Some(at)).collect();
    assert!(changed.is_empty(), "{changed:?}");

    restart(&mut world, &proxy, |world| {
        let edit = ["patch", "configmap/c7", "-n", NS, "-p", r#"{"data":{"color":"red"}}"#];
        world.cluster.kubectl(ControlPlane::FORGER, &edit).ok();
        world.cluster.kubectl(ControlPlane::FORGER, &["delete", "lamp/lamp", "-n", NS]).ok();
    });
    world.wait_field("configmap/c7", NS, "/data/color", &json!("green"));
    world.wait_field("lamp/lamp", NS, "/spec/bright", &json!(true));
    settle(&proxy);
    let of_others =
        |name: &String| !name.ends_with("/c7") && !name.ends_with("/lamp") && !name.contains("gitward-system/");
    let changed: Vec<_> =
        versions(&world).into_iter().filter(|(name, at)| of_others(name) && before.get(name) != Some(at)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}
