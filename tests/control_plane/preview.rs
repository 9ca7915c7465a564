//! A preview is what the API server would answer: real objects, applied by the reconciler's name, changed by people's tools
//! and by controllers, and then other things declared. Without gitward in the cluster: its guard would refuse the changes.

use gitward_core::fields::{People, explain, fold, preview};
use gitward_test_cluster::{ControlPlane, eventually};
use serde_json::{Value, json};

use crate::support::PATIENCE;

/// An object as it was applied, what then happens to it, and what is declared next.
struct Case {
    /// As kubectl names it.
    name: &'static str,
    first: Value,
    /// Arguments of kubectl behind the name of the object, with the verb in front.
    changes: Vec<&'static [&'static str]>,
    next: Value,
}

const APPLY: [&str; 7] =
    ["apply", "--server-side", "--field-manager=gitward", "--force-conflicts", "-o", "json", "--filename=-"];

#[test]
fn a_preview_is_what_a_dry_run_answers() {
    let cluster = ControlPlane::start();
    cluster.kubectl_in("admin", &["apply", "--filename=-"], Some(&crd().to_string())).ok();
    cluster.kubectl("admin", &["wait", "--for=condition=Established", "crd/shops.example.com"]).ok();
    let mut wrong = Vec::new();
    for case in cases() {
        cluster.kubectl_in("admin", &APPLY, Some(&case.first.to_string())).ok();
        for change in &case.changes {
            let [verb, args @ ..] = change else { continue };
            cluster.kubectl("admin", &[&[*verb, case.name], args].concat()).ok();
        }
        wrong.extend(compare(&cluster, &case));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How the preview differs from the dry run; nothing where it does not.
fn compare(cluster: &ControlPlane, case: &Case) -> Vec<String> {
    // Controllers write into the object as well: both have to be of the same one.
    let (mut seen, mut answer) =
        eventually("the object stays as it is for a moment", PATIENCE, || ask_both(cluster, case));
    // Ours alone is compared with ours: the others lose what was forced from them.
    let ours = |object: &Value| {
        let entries = object["metadata"]["managedFields"].as_array().unwrap_or_else(|| panic!("{object}")).iter();
        let mut ours = entries.filter(|entry| entry["manager"] == "gitward").cloned().collect::<Vec<_>>();
        ours.iter_mut().for_each(|entry| entry["time"] = Value::Null);
        ours
    };
    let mut wrong = Vec::new();
    if ours(&answer) != ours(&seen) {
        wrong.push(format!("{}: is owned: {}\n  seen: {}", case.name, json!(ours(&answer)), json!(ours(&seen))));
    }
    for object in [&mut seen, &mut answer] {
        let metadata = object["metadata"].as_object_mut().unwrap();
        for kept in ["managedFields", "generation", "resourceVersion"] {
            metadata.remove(kept);
        }
        metadata.retain(|_, value| *value != json!({}));
    }
    // Everything has to be equal, order and all; the lines say where it is not.
    if seen != answer {
        let lines: Vec<_> = explain(&answer, &seen).iter().map(ToString::to_string).collect();
        wrong.push(format!(
            "{}: the dry run's and the preview's:\n  {}\n{answer}\n{seen}",
            case.name,
            lines.join("\n  ")
        ));
    }
    wrong
}

/// The preview, and the answer to the dry run.
fn ask_both(cluster: &ControlPlane, case: &Case) -> Result<(Value, Value), String> {
    let mut live = cluster.get(&["--show-managed-fields", case.name]).unwrap();
    let observed = &live["status"]["observedGeneration"];
    if !observed.is_null() && *observed != live["metadata"]["generation"] {
        return Err(live["status"].to_string());
    }
    let seen = preview(&live, &case.next);
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    // The reconciler takes over first, and then applies.
    if let Some(folded) = fold(entries, &People::default(), |_| false) {
        live["metadata"]["managedFields"] = json!(folded);
        let replace = ["replace", "--field-manager=gitward-fold", "-o", "json", "--filename=-"];
        let output = cluster.kubectl_in("admin", &replace, Some(&live.to_string()));
        live = serde_json::from_str(&output.stdout).map_err(|_| output.stderr)?;
    }
    let dry_run = [&APPLY[..], &["--dry-run=server", "--show-managed-fields"]].concat();
    let answer = cluster.kubectl_in("admin", &dry_run, Some(&case.next.to_string()));
    let answer: Value = serde_json::from_str(answer.ok()).unwrap();
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    if version(&live) == version(&answer) { Ok((seen, answer)) } else { Err(answer["metadata"].to_string()) }
}

fn object(version: &str, kind: &str, name: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}});
    for (key, value) in rest.as_object().unwrap() {
        match key.as_str() {
            "labels" | "annotations" => object["metadata"][key] = value.clone(),
            _ => object[key] = value.clone(),
        }
    }
    object
}

fn cases() -> Vec<Case> {
    [deployments(), services(), others(), custom()].into_iter().flatten().collect()
}

fn deployment(name: &str, spec: Value, containers: Value) -> Value {
    let labels = json!({ "app": name });
    let mut object = object("apps/v1", "Deployment", name, json!({"labels": labels, "spec": spec}));
    object["spec"]["selector"] = json!({ "matchLabels": labels });
    object["spec"]["template"] = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
    object
}

fn deployments() -> Vec<Case> {
    let web = |tag: &str| {
        json!({"name": "web", "image": format!("example.com/web:{tag}"),
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 8080}, {"containerPort": 8080, "protocol": "UDP"}],
        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}, "livenessProbe": {"httpGet": {"port": 8080}},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/settings"}]})
    };
    let side = json!({"name": "side", "image": "example.com/side", "args": ["a", "b"]});
    let full = |tag: &str, containers: Value| {
        let mut full = deployment("web", json!({"replicas": 3}), containers);
        full["spec"]["template"]["spec"]["volumes"] = json!([{"name": "settings", "configMap": {"name": "settings"}}]);
        full["metadata"]["annotations"] = json!({ "tag": tag });
        full
    };
    let mut next = full("2", json!([web("2"), {"name": "new", "image": "example.com/new:1"}, side]));
    let container = &mut next["spec"]["template"]["spec"]["containers"][0];
    container["env"] = json!([{"name": "C", "value": "3"}, {"name": "A", "value": "2"}]);
    container["ports"] = json!([{"containerPort": 9090, "name": "http"}, {"containerPort": 8080}]);
    container.as_object_mut().unwrap().remove("livenessProbe");
    const ADDED: &str = r#"{"spec":{"paused":true,"template":{"spec":{"nodeSelector":{"a":"b"},"containers":[{"name":"web","env":[{"name":"X","value":"x"}]},
        {"name":"added","image":"example.com/added:1"},{"name":"side","image":"example.com/other"}]}}}}"#;
    const STRATEGY: &str = r#"{"spec":{"strategy":{"rollingUpdate":{"maxSurge":3}},"progressDeadlineSeconds":5}}"#;
    let mut left = deployment("left", json!({}), json!([{"name": "web", "image": "example.com/web"}]));
    left["spec"]["template"]["spec"]["serviceAccountName"] = json!("default");
    let mut account = left.clone();
    account["spec"]["template"]["spec"]["serviceAccountName"] = json!("other");
    account["spec"]["strategy"] = json!({});
    vec![
        Case {
            name: "deployment/web",
            first: full("1", json!([web("1"), side])),
            changes: vec![],
            next: full("1", json!([web("1"), side])),
        },
        Case {
            name: "deployment/web",
            first: full("1", json!([web("1"), side])),
            changes: vec![
                &["patch", "--patch", ADDED],
                &["annotate", "by=hand", "tag=hand", "--overwrite"],
                &[
                    "patch",
                    "--field-manager=some-controller",
                    "--patch",
                    r#"{"metadata":{"annotations":{"seen":"yes"}}}"#,
                ],
            ],
            next,
        },
        Case {
            name: "deployment/left",
            first: left.clone(),
            changes: vec![&["scale", "--replicas=5"], &["patch", "--patch", STRATEGY], &["label", "team=a"]],
            next: account,
        },
    ]
}

fn services() -> Vec<Case> {
    let service =
        |ports: Value| object("v1", "Service", "web", json!({"spec": {"selector": {"app": "web"}, "ports": ports}}));
    vec![Case {
        name: "service/web",
        first: service(json!([{"port": 80, "name": "http"}, {"port": 53, "name": "dns", "protocol": "UDP"}])),
        changes: vec![&[
            "patch",
            "--patch",
            r#"{"spec":{"selector":{"by":"hand"},"sessionAffinity":"ClientIP","ports":[{"port":22,"name":"ssh"}]}}"#,
        ]],
        next: service(
            json!([{"port": 443, "name": "https", "targetPort": "tls"}, {"port": 80, "name": "http", "targetPort": 8080}]),
        ),
    }]
}

fn others() -> Vec<Case> {
    let data = |data: Value| object("v1", "ConfigMap", "settings", json!({ "data": data }));
    let secret = |data: Value| object("v1", "Secret", "login", json!({ "stringData": data }));
    let ingress = |paths: Value| {
        let rules = json!([{"host": "example.com", "http": {"paths": paths}}]);
        object("networking.k8s.io/v1", "Ingress", "web", json!({"spec": {"rules": rules}}))
    };
    let path = |path: &str, port: u16| {
        json!({"path": path, "pathType": "Prefix",
        "backend": {"service": {"name": "web", "port": {"number": port}}}})
    };
    let policy = |port: u16| {
        object(
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "web",
            json!({"spec": {"podSelector": {},
        "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": port}]}]}}),
        )
    };
    vec![
        Case {
            name: "configmap/settings",
            first: data(json!({"a": "1", "b": "1", "list": "0.50"})),
            changes: vec![
                &["patch", "--patch", r#"{"data":{"b":"2","x":"x","list":"500m"}}"#],
                &["patch", "--field-manager=some-controller", "--patch", r#"{"data":{"c":"c"}}"#],
            ],
            next: data(json!({"b": "1", "d": "1", "list": "0.5"})),
        },
        Case {
            name: "ingress/web",
            first: ingress(json!([path("/a", 80)])),
            changes: vec![&["annotate", "by=hand"]],
            next: ingress(json!([path("/a", 81), path("/b", 80)])),
        },
        Case {
            name: "networkpolicy/web",
            first: policy(80),
            changes: vec![&[
                "patch",
                "--type=merge",
                "--patch",
                r#"{"spec":{"podSelector":{"matchLabels":{"a":"b"}}}}"#,
            ]],
            next: policy(80),
        },
        Case {
            name: "secret/login",
            first: secret(json!({"a": "1"})),
            changes: vec![],
            next: secret(json!({"a": "2"})),
        },
    ]
}

/// A custom resource whose schema has a list merged by two keys, one with a default, a set and an atomic map.
fn crd() -> Value {
    let text = json!({"type": "string"});
    let port = json!({"type": "object", "required": ["number"], "properties": {"number": {"type": "integer"},
        "protocol": {"type": "string", "default": "TCP"}, "note": text}});
    let spec = json!({"type": "object", "properties": {
        "size": {"type": "integer"},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["number", "protocol"], "items": port},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
        "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": text},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": spec}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "shops.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "shops", "singular": "shop", "kind": "Shop", "listKind": "ShopList"}, "versions": [version]}})
}

fn custom() -> Vec<Case> {
    let shop = |spec: Value| object("example.com/v1", "Shop", "corner", json!({ "spec": spec }));
    const EDIT: &str = r#"{"spec":{"size":9,"tags":["a","b","hand"],"whole":{"a":"1","by":"hand"},"free":{"deep":{"by":"hand"}},
        "ports":[{"number":80,"protocol":"TCP","note":"hand"},{"number":81,"protocol":"TCP"}]}}"#;
    vec![Case {
        name: "shop/corner",
        first: shop(json!({"size": 1, "tags": ["a", "b"], "whole": {"a": "1"}, "free": {"list": [{"name": "a"}]},
            "ports": [{"number": 80}, {"number": 53, "protocol": "UDP", "note": "dns"}]})),
        changes: vec![&["patch", "--type=merge", "--field-manager=kubectl-edit", "--patch", EDIT]],
        next: shop(json!({"tags": ["b", "c"], "whole": {"b": "2"}, "free": {"list": [{"name": "b"}]},
            "ports": [{"number": 443, "protocol": "TCP"}, {"number": 80, "note": "web"}]})),
    }]
}
