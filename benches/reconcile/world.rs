//! A control plane with gitward in it, and clients of it.

use std::path::Path;
use std::time::Duration;

use gitward_test_cluster::{ControlPlane, GitServer, Gitward, Repo, eventually};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The reconciler's own credentials: no webhook is called for them.
pub(crate) const RECONCILER: &str = "gitward-reconciler";
/// Long enough for 10,000 objects on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) struct World<'a> {
    pub(crate) cluster: &'a ControlPlane,
    pub(crate) gitward: Gitward<'a>,
    pub(crate) git: GitServer,
    pub(crate) runtime: Runtime,
}

/// Starts one, and ends it after the work.
pub(crate) fn with_world(work: impl FnOnce(&mut World<'_>)) {
    let cluster = ControlPlane::start();
    let gitward = Gitward::install(&cluster, Path::new(env!("CARGO_BIN_EXE_gitward")));
    let runtime = Runtime::new().expect("a runtime");
    work(&mut World { cluster: &cluster, gitward, git: GitServer::start(), runtime });
}

impl World<'_> {
    /// A client with somebody's credentials; the same kind that gitward uses.
    pub(crate) fn client(&self, user: &str) -> Client {
        self.runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(self.cluster.kubeconfig(user)).expect("a kubeconfig");
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            Client::try_from(config).expect("a client")
        })
    }

    /// Makes a namespace.
    pub(crate) fn namespace(&self, name: &str) {
        self.cluster.kubectl("admin", &["create", "namespace", name]).ok();
    }

    /// Makes a GitSync of what a repository has over `file://`.
    pub(crate) fn follow(&self, name: &str, repo: &Repo) {
        let sync = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": name},
            "spec": {"source": {"url": repo.file_url(), "interval": "10s"}}});
        let api = syncs(self.client("admin"));
        self.runtime.block_on(api.patch(name, &PatchParams::apply("bench"), &Patch::Apply(&sync))).unwrap();
    }

    /// Asks a GitSync to look at git now.
    pub(crate) fn ask(&self, name: &str, when: &str) {
        let asked = format!("reconcile.fluxcd.io/requestedAt={when}");
        self.cluster
            .kubectl("admin", &["annotate", "gitsync", name, "-n", "gitward-system", "--overwrite", &asked])
            .ok();
    }

    /// Waits until a GitSync has applied a commit.
    pub(crate) fn wait_applied(&self, name: &str, commit: &str) {
        let api = syncs(self.client("admin"));
        eventually(&format!("{name} applies {commit}"), PATIENCE, || {
            let sync = self.runtime.block_on(api.get(name)).map_err(|error| error.to_string())?;
            let status = &sync.data["status"];
            let applied = status["lastAppliedRevision"].as_str().unwrap_or_default();
            if applied.ends_with(commit) && is_ready(status) { Ok(()) } else { Err(status.to_string()) }
        });
    }

    /// A number that the kernel tells of the reconciler, in MiB.
    pub(crate) fn reconciler_mib(&self, field: &str) -> f64 {
        let kib = self.gitward.reconciler().and_then(|process| process.kernel_status(field)).expect("it runs");
        kib as f64 / 1024.0
    }
}

fn is_ready(status: &Value) -> bool {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn syncs(client: Client) -> Api<DynamicObject> {
    Api::namespaced_with(client, "gitward-system", &ApiResource::from_gvk(&kind("gitward.dev", "v1alpha1", "GitSync")))
}

pub(crate) fn kind(group: &str, version: &str, kind: &str) -> GroupVersionKind {
    GroupVersionKind::gvk(group, version, kind)
}

/// The API server's count of an object's states.
pub(crate) fn version(object: &DynamicObject) -> u64 {
    object.resource_version().and_then(|version| version.parse().ok()).expect("a number")
}
