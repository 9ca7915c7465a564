//! The reviews: recorded ones, grown to a size as real objects grow, by environment variables and who owns them.

use std::path::Path;

use serde_json::{Value, json};

/// The four paths through the verdict.
pub(crate) const PATHS: [&str; 4] = ["who", "operator", "denied", "scale"];

pub(crate) const POLICY: &str = "kind: GuardPolicy\nspec: {callers: {operators: [shop/operator]}}\n";

fn corpus(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The live objects for look-ups.
pub(crate) fn objects() -> String {
    corpus("pinned.json").to_string()
}

/// A review of some KiB.
pub(crate) fn review(path: &str, kib: usize) -> Vec<u8> {
    let mut review = corpus(match path {
        "scale" => "reviews/kcm-hpa-like.json",
        "denied" => "reviews/dev-patch-replicas.json",
        _ => "reviews/dev-annotate-undeclared.json",
    });
    let request = &mut review["request"];
    match path {
        // A controller writes the status.
        "who" => {
            request["userInfo"] = account("kube-system", "deployment-controller");
            request["subResource"] = json!("status");
        }
        "operator" => request["userInfo"] = account("shop", "operator"),
        _ => {}
    }
    let mut number = 0;
    while review.to_string().len() + 300 < kib << 10 {
        let missing = (kib << 10) - review.to_string().len();
        for _ in 0..(missing / 800).max(1) {
            grow(&mut review["request"], number);
            number += 1;
        }
    }
    // As the API server writes it: the objects last.
    let request = &review["request"];
    let keys = [
        "uid",
        "kind",
        "resource",
        "subResource",
        "name",
        "namespace",
        "operation",
        "userInfo",
        "object",
        "oldObject",
        "dryRun",
        "options",
    ];
    let members: Vec<_> =
        keys.iter().filter(|key| !request[**key].is_null()).map(|key| format!("{:?}:{}", key, request[*key])).collect();
    format!(r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{{}}}}}"#, members.join(","))
        .into_bytes()
}

/// One more variable in the container of both objects, declared by gitward; in a Scale, an annotation.
fn grow(request: &mut Value, number: usize) {
    let name = format!("SETTING_NUMBER_{number}");
    for object in ["object", "oldObject"] {
        let object = &mut request[object];
        let Some(env) = object.pointer_mut("/spec/template/spec/containers/0/env") else {
            object["metadata"]["annotations"][&name] = json!("https://service.example.com:8443/some/path");
            continue;
        };
        env.as_array_mut().unwrap().push(json!({"name": name, "value": "https://service.example.com:8443/some/path"}));
        let entries = object.pointer_mut("/metadata/managedFields").unwrap().as_array_mut().unwrap();
        let entry = entries.iter_mut().find(|entry| entry["manager"] == "gitward").unwrap();
        let env =
            &mut entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"web\"}"]["f:env"];
        env[format!("k:{{\"name\":\"{name}\"}}")] = json!({".": {}, "f:name": {}, "f:value": {}});
    }
}

fn account(namespace: &str, name: &str) -> Value {
    json!({
        "username": format!("system:serviceaccount:{namespace}:{name}"), "uid": "5b0c5c5e-0000-4000-8000-000000000000",
        "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
        "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"], "authentication.kubernetes.io/pod-name": ["p"],
            "authentication.kubernetes.io/pod-uid": ["u"]},
    })
}
