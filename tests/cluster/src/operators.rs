//! GitOps operators of others: their accounts, and Flux' real kustomize-controller.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{ControlPlane, GitServer, Output, Process, Repo, StaticFiles, Tools, eventually, workspace};

/// Makes the account of an operator, a cluster admin with a token of a Pod of its own, and returns the user that it is to
/// [`ControlPlane::kubectl`].
///
/// # Panics
/// Where it cannot be made.
pub fn operator(cluster: &ControlPlane, namespace: &str, account: &str) -> String {
    if cluster.get(&["namespace", namespace]).is_none() {
        cluster.kubectl("admin", &["create", "namespace", namespace]).ok();
    }
    cluster.kubectl("admin", &["create", "serviceaccount", account, "-n", namespace]).ok();
    let subject = format!("--serviceaccount={namespace}:{account}");
    cluster.kubectl("admin", &["create", "clusterrolebinding", account, "--clusterrole=cluster-admin", &subject]).ok();
    let spec = json!({"spec": {"serviceAccountName": account}}).to_string();
    cluster.kubectl("admin", &["run", account, "--image=x:1", "-n", namespace, "--overrides", &spec]).ok();
    let bound = ["--bound-object-kind=Pod", "--bound-object-name", account];
    let token = cluster.kubectl("admin", &[&["create", "token", account, "-n", namespace][..], &bound].concat());
    let file = cluster.dir().join(format!("{account}.token"));
    std::fs::write(&file, token.ok()).expect("the token can be written");
    cluster.kubeconfig_with_token_file(account, &file);
    account.to_owned()
}

/// The real kustomize-controller in a control plane. Ends with the value.
///
/// Its source-controller is left out: what that does for it, to hand it a commit as an archive, is done here.
pub struct Flux<'a> {
    cluster: &'a ControlPlane,
    files: StaticFiles,
    controller: Process,
}

/// Where it runs.
const NAMESPACE: &str = "flux-system";
/// How long it may take until it has applied something.
const PATIENCE: Duration = Duration::from_secs(120);

impl<'a> Flux<'a> {
    /// Starts it.
    ///
    /// # Panics
    /// Where its kinds cannot be made, or it cannot be started.
    pub fn start(cluster: &'a ControlPlane, git: &GitServer) -> Flux<'a> {
        let account = operator(cluster, NAMESPACE, "kustomize-controller");
        for (kind, plural) in
            [("GitRepository", "gitrepositories"), ("OCIRepository", "ocirepositories"), ("Bucket", "buckets")]
        {
            apply(cluster, &source_kind(kind, plural));
        }
        let definition = "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml";
        let definition = format!("{}/{definition}", module());
        cluster.kubectl("admin", &["apply", "--server-side", "-f", &definition]).ok();
        // It ends where one of its kinds is not served yet.
        let served = ["wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinitions", "--all"];
        cluster.kubectl("admin", &served).ok();
        let mut controller = Command::new(Tools::get().path("kustomize-controller"));
        let (ca, home) = (cluster.dir().join("git-ca.crt"), cluster.dir());
        std::fs::write(&ca, git.ca()).expect("the authority can be written");
        controller
            .args(["--watch-all-namespaces", "--enable-leader-election=false", "--metrics-addr=0"])
            .args(["--health-addr=0", "--requeue-dependency=1s", "--http-retry=1"])
            .env("KUBECONFIG", cluster.kubeconfig(&account))
            .env("RUNTIME_NAMESPACE", NAMESPACE)
            .env("SSL_CERT_FILE", ca)
            .env("HOME", home);
        let controller = Process::start(home, "kustomize-controller", &controller);
        Flux { cluster, files: git.static_files("artifacts"), controller }
    }

    /// Makes a Kustomization of the newest commit of a repository, with more fields of its spec, or brings it there, and waits
    /// until it is applied.
    ///
    /// # Panics
    /// Where it is not.
    pub fn apply(&self, name: &str, repo: &Repo, more: &Value) {
        let commit = repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
        let archive = self.files.dir().join(format!("{commit}.tar.gz"));
        repo.git(&["archive", "--format=tar.gz", "--output", &archive.display().to_string(), "HEAD"]);
        let sum = Output::of(Command::new("sha256sum").arg(&archive), None);
        let digest = format!("sha256:{}", sum.ok().split(' ').next().unwrap_or_default());
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        let api = "source.toolkit.fluxcd.io/v1";
        let repository = json!({"apiVersion": api, "kind": "GitRepository", "metadata": metadata,
            "spec": {"url": repo.url(), "interval": "1m"}});
        apply(self.cluster, &repository);
        let revision = format!("main@sha1:{commit}");
        let artifact = json!({"status": {"artifact": {"url": format!("{}/{commit}.tar.gz", self.files.url()),
            "path": "", "revision": revision, "digest": digest, "lastUpdateTime": "2026-01-01T00:00:00Z"}}});
        let patch = ["patch", "gitrepository", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p"];
        self.cluster.kubectl("admin", &[&patch[..], &[&artifact.to_string()]].concat()).ok();
        let mut kustomization = json!({"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": metadata, "spec": {"interval": "1m", "prune": true, "path": "./",
                "sourceRef": {"kind": "GitRepository", "name": name}}});
        if let (Some(spec), Some(more)) = (kustomization["spec"].as_object_mut(), more.as_object()) {
            spec.extend(more.clone());
        }
        apply(self.cluster, &kustomization);
        eventually(&format!("Kustomization {name} is at {commit}"), PATIENCE, || {
            let live = self.cluster.get(&["kustomization", name, "-n", NAMESPACE]).unwrap_or_default();
            let is = live.pointer("/status/lastAppliedRevision").and_then(Value::as_str) == Some(&revision);
            if is { Ok(()) } else { Err(format!("{}\n{}", live["status"], self.controller.log_tail())) }
        });
    }
}

fn apply(cluster: &ControlPlane, object: &Value) {
    cluster.kubectl_in("admin", &["apply", "--field-manager=flux", "-f", "-"], Some(&object.to_string())).ok();
}

/// The folder of the Go module from which the controller is built.
fn module() -> String {
    let mut go = Command::new("go");
    go.current_dir(workspace().join("tests/cluster/tools/flux"));
    go.args(["mod", "download", "-json", "github.com/fluxcd/kustomize-controller"]).env("GOFLAGS", "-mod=readonly");
    let answer: Value = serde_json::from_str(Output::of(&mut go, None).ok()).expect("go prints JSON");
    answer["Dir"].as_str().unwrap_or_default().to_owned()
}

/// A kind of Flux' sources without its schema.
fn source_kind(kind: &str, plural: &str) -> Value {
    let group = "source.toolkit.fluxcd.io";
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")}, "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}
