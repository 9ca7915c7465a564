//! The manifests for cert-manager, judged by its own definitions: nothing of it runs here, its webhook neither. Issuing is tried by
//! `make test-cert-manager`.

use gitward_test_cluster::workspace;
use serde_json::{Value, json};

use crate::available::{GUARD, RECONCILER, Rendered};
use crate::rendered::with_everything;
use crate::shop::{SYSTEM, module};

#[test]
fn cert_manager_takes_the_manifests_as_they_are_and_the_chart_expects_what_they_say() {
    let cluster = with_everything().cluster;
    let kubectl = |args: &[&str]| cluster.kubectl("admin", args);
    let definitions =
        module("tests/cluster/tools/certmanager", "github.com/cert-manager/cert-manager") + "/deploy/crds";
    for kind in ["certificates", "issuers"] {
        let definition = format!("{definitions}/cert-manager.io_{kind}.yaml");
        kubectl(&["apply", "--server-side", "-f", &definition]).ok();
        let definition = format!("crd/{kind}.cert-manager.io");
        kubectl(&["wait", "--for=condition=Established", &definition, "--timeout=60s"]).ok();
    }
    let manifests = workspace().join("certs/cert-manager/guard.yaml").display().to_string();
    let taken = kubectl(&["apply", "--server-side", "--dry-run=server", "-o", "json", "-f", &manifests]);
    // A warning is a field that is not known, or is there twice.
    assert!(taken.status == 0 && !taken.stderr.contains("Warning"), "{}", taken.stderr);
    let list: Value = serde_json::from_str(&taken.stdout).unwrap();
    let objects = list["items"].as_array().unwrap();
    assert_eq!(objects.len(), 4, "two Issuers and two Certificates");

    let rendered = Rendered::with(&["certificates.source=cert-manager"]);
    let configuration = rendered.find("ValidatingWebhookConfiguration", "gitward");
    let injected = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str().unwrap();
    let (namespace, name) = injected.split_once('/').unwrap();
    assert_eq!(namespace, SYSTEM);
    let is_it = |object: &&Value| object["kind"] == "Certificate" && object["metadata"]["name"] == name;
    let certificate = &objects.iter().find(is_it).expect("the Certificate that cainjector is to read")["spec"];
    let text = |field: &Value| field.as_str().unwrap().to_owned();
    assert!(rendered.has_argument(GUARD, &format!("--tls-secret={}", text(&certificate["secretName"]))));
    assert!(rendered.has_argument(RECONCILER, &format!("--guard-name={}", text(&certificate["dnsNames"][0]))));
    assert_eq!(certificate["usages"], json!(["digital signature", "server auth"]));
}
