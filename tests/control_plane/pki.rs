//! Certificates that tests put into the guard's Secrets, and how the guard's are looked at from outside.

use std::process::Command;

use gitward_test_cluster::{ControlPlane, Output, eventually};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::support::{PATIENCE, World};

pub(crate) const GUARD: &str = "gitward-guard-tls";
pub(crate) const AUTHORITY: &str = "gitward-guard-ca";

/// By what a guard of the test cluster is called, where the reconciler issues.
pub(crate) const NAMES: &[&str] = &["127.0.0.1", "gitward-guard.gitward-system.svc"];

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// When a certificate is valid, in seconds from now.
pub(crate) type Life = (i64, i64);

const YEAR: i64 = 365 * 24 * 3600;
pub(crate) const NOW: Life = (-3600, YEAR);
pub(crate) const PAST: Life = (-2 * YEAR, -YEAR);
pub(crate) const FUTURE: Life = (YEAR, 2 * YEAR);

fn params(names: &[&str], (from, until): Life) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = OffsetDateTime::now_utc() + Duration::seconds(from);
    params.not_after = OffsetDateTime::now_utc() + Duration::seconds(until);
    params
}

/// Makes an authority.
pub(crate) fn authority(name: &str, life: Life) -> Pair {
    let mut params = params(&[], life);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

impl Pair {
    /// Signs a server's certificate.
    pub(crate) fn sign(&self, names: &[&str], life: Life) -> Pair {
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params(names, life).signed_by(&key, &issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// What a Secret of gitward's holds; `None` where it is missing.
pub(crate) fn stored(world: &World, secret: &str) -> Option<Pair> {
    let part = |key: &str| {
        let template = format!("go-template={{{{index .data \"{key}\" | base64decode}}}}");
        let output =
            world.cluster.kubectl("admin", &["get", "secret", secret, "-n", "gitward-system", "-o", &template]);
        (output.status == 0).then_some(output.stdout)
    };
    Some(Pair { certificate: part("tls.crt")?, key: part("tls.key")? })
}

/// Writes a Secret of type `kubernetes.io/tls` as admin.
pub(crate) fn store(cluster: &ControlPlane, user: &str, name: &str, pair: &Pair) -> Output {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": "gitward-system"},
        "stringData": {"tls.crt": pair.certificate, "tls.key": pair.key}});
    cluster.kubectl_in(user, &["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(&secret.to_string()))
}

/// Writes parts of a Secret that is there, as admin.
pub(crate) fn patch(world: &World, secret: &str, parts: &Value) {
    let patch = json!({ "stringData": parts }).to_string();
    world
        .cluster
        .kubectl("admin", &["patch", "secret", secret, "-n", "gitward-system", "--type=merge", "-p", &patch])
        .ok();
}

/// What the API server is told to trust, as base64 of PEM.
pub(crate) fn trusted(cluster: &ControlPlane) -> String {
    let webhook = cluster.get(&["validatingwebhookconfiguration", "gitward"]).unwrap_or_default();
    webhook["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default().to_owned()
}

/// Waits until a new connection to the guard succeeds for whoever trusts what the API server is told to trust.
pub(crate) fn wait_trusted(world: &World, after: &str) {
    let file = world.cluster.dir().join("trusted.crt");
    eventually(&format!("the guard is trusted, after {after}"), PATIENCE, || {
        let bundle = ["get", "validatingwebhookconfiguration", "gitward", "-o"];
        let template = "go-template={{(index .webhooks 0).clientConfig.caBundle | base64decode}}";
        let bundle = world.cluster.kubectl("admin", &[&bundle[..], &[template]].concat());
        std::fs::write(&file, &bundle.stdout).unwrap();
        let url = format!("https://127.0.0.1:{}/review", world.gitward.guard_port());
        let mut curl = Command::new("curl");
        curl.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE");
        curl.args(["--silent", "--show-error", "--cacert"]).arg(&file).args(["--data", "{}", &url]);
        let output = Output::of(&mut curl, None);
        let answered = output.stdout.contains("is no AdmissionReview") || output.stdout.contains("the body is");
        if answered { Ok(()) } else { Err(format!("{output:?}\n{}", bundle.stdout)) }
    });
}

/// Until when a certificate is valid, in seconds since 1970.
pub(crate) fn until(pem: &str) -> i64 {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    block.parse_x509().unwrap().validity().not_after.timestamp()
}

/// Whether an authority has signed a certificate, by the names of both: those of the reconciler's authorities bear their time.
pub(crate) fn has_signed(authority: &str, certificate: &str) -> bool {
    let blocks = [authority, certificate].map(|pem| x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1);
    let [authority, certificate] = [&blocks[0], &blocks[1]].map(|block| block.parse_x509().unwrap());
    authority.subject() == certificate.issuer()
}
