//! The shared control plane, and the steps that many tests have in common.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use gitward_test_cluster::{ControlPlane, GitServer, Gitward, Output, Repo, eventually};
use serde_json::{Value, json};

/// The built program.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gitward"))
}

/// Long enough for the slowest machine; no test waits that long where things work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A control plane with gitward in it, and a git server.
pub(crate) struct World {
    pub(crate) cluster: &'static ControlPlane,
    pub(crate) gitward: Gitward<'static>,
    pub(crate) git: GitServer,
}

/// One that a test has for itself ends with it: many at a time would keep a small machine busy.
impl Drop for World {
    fn drop(&mut self) {
        self.gitward.stop_guard();
        self.gitward.stop_reconciler();
        self.cluster.stop();
    }
}

impl World {
    /// A new one, which ends with the value.
    pub(crate) fn start() -> World {
        World::start_with(&[])
    }

    /// A new one, with more values of the chart.
    pub(crate) fn start_with(values: &[&str]) -> World {
        World::on(ControlPlane::for_tests(), values)
    }

    /// One with gitward in it, with more values of the chart.
    pub(crate) fn on(cluster: &'static ControlPlane, values: &[&str]) -> World {
        World { cluster, gitward: Gitward::install_with(cluster, binary(), values), git: GitServer::start() }
    }

    /// The one that the tests share.
    pub(crate) fn shared() -> &'static World {
        static SHARED: OnceLock<World> = OnceLock::new();
        SHARED.get_or_init(World::start)
    }

    /// Makes a namespace in which `dev` has the role `admin`.
    pub(crate) fn namespace(&self, name: &str) {
        self.cluster.kubectl("admin", &["create", "namespace", name]).ok();
        self.make_admin(name);
    }

    /// Gives `dev` the role `admin` in a namespace.
    pub(crate) fn make_admin(&self, namespace: &str) {
        self.make_admin_of("dev", namespace);
    }

    /// Gives a user the role `admin` in a namespace.
    pub(crate) fn make_admin_of(&self, user: &str, namespace: &str) {
        let of = format!("--user={user}");
        let binding = ["create", "rolebinding", user, "--clusterrole=admin", &of, "-n", namespace];
        self.cluster.kubectl("admin", &binding).ok();
    }

    /// Has git declare the ConfigMap `settings` in a new namespace, and waits until it is applied.
    pub(crate) fn declare_settings(&self, namespace: &str) {
        self.namespace(namespace);
        let repo = self.git.repo(namespace);
        repo.write("settings.yaml", &config_map(namespace, "settings", "green"));
        let commit = repo.push("Settings");
        self.follow(namespace, &repo);
        self.wait_applied(namespace, &commit);
    }

    /// Changes the declared settings of a namespace around the guard, and waits until git's value is back.
    pub(crate) fn heals_settings(&self, namespace: &str) {
        let edit = ["patch", "configmap/settings", "-n", namespace, "-p", r#"{"data":{"color":"red"}}"#];
        self.cluster.kubectl(ControlPlane::FORGER, &edit).ok();
        self.wait_field("configmap/settings", namespace, "/data/color", &json!("green"));
    }

    /// Makes a GitSync over https in gitward's namespace.
    pub(crate) fn follow(&self, name: &str, repo: &Repo) {
        self.apply(
            "admin",
            &json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "gitward-system"},
                "stringData": {"ca.crt": self.git.ca()},
            }),
        );
        self.apply("admin", &sync(name, repo.url(), json!({})));
    }

    /// Applies an object as a user.
    pub(crate) fn apply(&self, user: &str, object: &Value) {
        self.try_apply(user, object).ok();
    }

    /// Tries to apply an object as a user.
    pub(crate) fn try_apply(&self, user: &str, object: &Value) -> Output {
        self.cluster.kubectl_in(user, &["apply", "-f", "-"], Some(&object.to_string()))
    }

    /// Waits until a GitSync has applied a commit.
    pub(crate) fn wait_applied(&self, sync: &str, commit: &str) {
        eventually(&format!("GitSync {sync} applies {commit}"), PATIENCE, || {
            let status = self.status(sync);
            let applied = status["lastAppliedRevision"].as_str().unwrap_or_default();
            let ready = condition(&status, "Ready")["status"] == "True";
            if ready && applied.ends_with(commit) { Ok(()) } else { Err(status.to_string()) }
        });
    }

    /// Waits until the Ready condition of a GitSync has this reason; returns the status.
    pub(crate) fn wait_reason(&self, sync: &str, reason: &str) -> Value {
        eventually(&format!("GitSync {sync} is {reason}"), PATIENCE, || {
            let status = self.status(sync);
            if condition(&status, "Ready")["reason"] == reason { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// The status of a GitSync in gitward's namespace.
    pub(crate) fn status(&self, sync: &str) -> Value {
        let sync = self.cluster.get(&["gitsync", sync, "-n", "gitward-system"]).unwrap_or_default();
        sync["status"].clone()
    }

    /// A field of an object, by JSON pointer; null where there is none.
    pub(crate) fn field(&self, object: &str, namespace: &str, pointer: &str) -> Value {
        let object = self.cluster.get(&[object, "-n", namespace]).unwrap_or_default();
        object.pointer(pointer).cloned().unwrap_or_default()
    }

    /// Waits until a field has a value.
    pub(crate) fn wait_field(&self, object: &str, namespace: &str, pointer: &str, value: &Value) {
        eventually(&format!("{object} {pointer} is {value}"), PATIENCE, || {
            let live = self.field(object, namespace, pointer);
            if live == *value { Ok(()) } else { Err(live.to_string()) }
        });
    }
}

/// A GitSync in gitward's namespace, with more fields of its spec.
pub(crate) fn sync(name: &str, url: &str, more: Value) -> Value {
    let mut spec = json!({"source": {"url": url, "interval": "1s", "secretRef": {"name": name}}});
    if url.starts_with("file://") {
        spec["source"].as_object_mut().unwrap().remove("secretRef");
    }
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync",
        "metadata": {"name": name, "namespace": "gitward-system"}, "spec": spec})
}

/// A condition of a status.
pub(crate) fn condition(status: &Value, kind: &str) -> Value {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().find(|c| c["type"] == kind).cloned().unwrap_or_default()
}

/// A ConfigMap as a file declares it.
pub(crate) fn config_map(namespace: &str, name: &str, color: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\ndata:\n  color: {color}\n"
    )
}

/// A Deployment as a file declares it; `replicas` stands in its eighth line.
pub(crate) fn deployment(namespace: &str, name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n  namespace: {namespace}\nspec:\n  \
         replicas: {replicas}\n  selector:\n    matchLabels: {{app: {name}}}\n  template:\n    metadata:\n      labels: \
         {{app: {name}}}\n    spec:\n      containers:\n        - name: {name}\n          image: example.com/{name}:1\n"
    )
}
