//! A cluster with workloads that git declares, which have to survive whatever is done to gitward.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gitward_test_cluster::{ControlPlane, GitServer, Gitward, Output, eventually, workspace};
use serde_json::{Value, json};

/// Long enough for the slowest machine; no test waits that long where things work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// gitward's own namespace.
pub(crate) const SYSTEM: &str = "gitward-system";
/// Where the workloads are.
pub(crate) const SHOP: &str = "shop";

/// The built program.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_gitward"))
}

/// The chart of this commit.
pub(crate) fn chart() -> String {
    workspace().join("charts/gitward").display().to_string()
}

/// The chart before this version: `helm package charts/gitward` at commit e73effc. There is no binary of that version, so
/// today's runs under both.
pub(crate) fn previous_chart() -> String {
    workspace().join("tests/install/gitward-0.1.0.tgz").display().to_string()
}

/// The arguments of helm for a release of a chart.
pub(crate) fn release<'a>(verb: &'a str, chart: &'a str, values: &'a [String]) -> Vec<&'a str> {
    let mut args = vec![verb, "gitward", chart, "-n", SYSTEM];
    args.extend(values.iter().map(String::as_str));
    args
}

/// The folder of a Go module that a go.mod in the folder `by` names. Its checksum is in the go.sum there.
pub(crate) fn module(by: &str, name: &str) -> String {
    let mut go = Command::new("go");
    go.current_dir(workspace().join(by)).env("GOFLAGS", "-mod=readonly");
    let output = Output::of(go.args(["mod", "download", "-json", name]), None);
    let answer: Value = serde_json::from_str(output.ok()).unwrap();
    answer["Dir"].as_str().unwrap().to_owned()
}

/// gitward in a cluster with what git declares there.
pub(crate) struct Shop {
    pub(crate) cluster: &'static ControlPlane,
    pub(crate) gitward: Gitward<'static>,
    _git: GitServer,
    /// The uid of each declared object.
    uids: Vec<Value>,
}

impl Shop {
    /// Installs a chart with more arguments of helm, and has it apply what git declares.
    pub(crate) fn open(chart: &str, more: &[&str]) -> Shop {
        let cluster = ControlPlane::for_tests();
        let gitward = Gitward::install_by(cluster, binary(), |ports| {
            let mut args = release("install", chart, ports);
            args.push("--create-namespace");
            args.extend(more);
            cluster.helm(&args).ok();
        });
        Shop::stock(cluster, gitward)
    }

    /// Has an installed gitward apply what git declares.
    pub(crate) fn stock(cluster: &'static ControlPlane, gitward: Gitward<'static>) -> Shop {
        let git = GitServer::start();
        cluster.kubectl("admin", &["create", "namespace", SHOP]).ok();
        let bind = ["create", "rolebinding", "dev", "--clusterrole=admin", "--user=dev", "-n", SHOP];
        cluster.kubectl("admin", &bind).ok();
        let repo = git.repo("shop");
        repo.write("web.yaml", WEB);
        repo.push("A shop");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop", "namespace": SYSTEM},
            "stringData": {"ca.crt": git.ca()}});
        let sync = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": "shop", "namespace": SYSTEM},
            "spec": {"source": {"url": repo.url(), "interval": "1s", "secretRef": {"name": "shop"}}, "deletionPolicy": "Delete"}});
        for object in [secret, sync] {
            cluster.kubectl_in("admin", &["apply", "-f", "-"], Some(&object.to_string())).ok();
        }
        let mut shop = Shop { cluster, gitward, _git: git, uids: Vec::new() };
        shop.wait_ready();
        shop.uids = shop.live_uids();
        assert_eq!(shop.uids.len(), 2);
        shop
    }

    /// Upgrades to a chart, with the values of this place and more arguments of helm, as a user.
    pub(crate) fn upgrade(&self, user: &str, chart: &str, more: &[&str]) -> Output {
        let config = self.cluster.kubeconfig(user).display().to_string();
        let ports = self.gitward.values();
        let mut args = release("upgrade", chart, &ports);
        args.extend(more);
        args.extend(["--kubeconfig", &config]);
        self.cluster.helm(&args)
    }

    /// Starts both processes as their Deployments are now, as a rollout would.
    pub(crate) fn roll_out(&mut self) {
        self.gitward.start_reconciler();
        self.gitward.start_guard();
    }

    /// What git declares is there, is the same as ever, and nobody but git changes it.
    pub(crate) fn assert_guarded(&self, when: &str) {
        self.wait_ready();
        assert_eq!(self.live_uids(), self.uids, "{when}: something was created anew");
        self.assert_refused(when);
        self.assert_replicas(when, 3);
    }

    /// The guard refuses people.
    pub(crate) fn assert_refused(&self, when: &str) {
        eventually(&format!("{when}: the guard refuses"), PATIENCE, || {
            let output = self.scale("dev", 5);
            if output.stderr.contains("is pinned to git") { Ok(()) } else { Err(output.stdout + &output.stderr) }
        });
    }

    /// Nothing is left that could refuse anything, or keep anything from being deleted; the workloads are as they were.
    pub(crate) fn assert_unlocked(&self, when: &str) {
        let kinds = "validatingwebhookconfigurations,validatingadmissionpolicies,validatingadmissionpolicybindings";
        eventually(&format!("{when}: no admission is left"), PATIENCE, || {
            // What is put back at the last moment goes with its owner.
            std::thread::sleep(Duration::from_secs(1));
            let left = self.cluster.kubectl("admin", &["get", kinds, "-o", "name"]);
            let left: Vec<&str> = left.ok().lines().filter(|line| line.contains("gitward")).collect();
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        });
        self.assert_unlocked_workloads(when);
    }

    /// The workloads are as they were, and everybody may change them.
    pub(crate) fn assert_unlocked_workloads(&self, when: &str) {
        assert_eq!(self.live_uids(), self.uids, "{when}: the workloads are not the same");
        assert_eq!(self.finalizers(), Vec::<String>::new(), "{when}");
        self.scale("dev", 3).ok();
        self.cluster.kubectl("dev", &["delete", "deployment/web", "-n", SHOP, "--dry-run=server"]).ok();
        self.cluster.kubectl("admin", &["delete", "namespace", SHOP, "--dry-run=server"]).ok();
    }

    /// gitward's namespace and definitions can be deleted, and then nothing of it is left but the workloads.
    pub(crate) fn assert_removable(&self, when: &str) {
        self.cluster.kubectl("admin", &["delete", "namespace", SYSTEM, "--timeout=90s"]).ok();
        let definitions = ["gitsyncs.gitward.dev", "guardpolicies.gitward.dev", "blockedchanges.gitward.dev"];
        self.cluster.kubectl("admin", &[&["delete", "crd", "--timeout=90s"], &definitions[..]].concat()).ok();
        self.assert_gone(when);
    }

    /// Nothing of gitward is left but the workloads.
    pub(crate) fn assert_gone(&self, when: &str) {
        assert_eq!(self.live_uids(), self.uids, "{when}: the workloads are not the same");
        let owned = "clusterroles,clusterrolebindings,flowschemas";
        let left = self.cluster.kubectl("admin", &["get", owned, "-o", "name"]);
        let left: Vec<&str> = left.ok().lines().filter(|line| line.contains("gitward")).collect();
        assert_eq!(left, Vec::<&str>::new(), "{when}");
    }

    /// Tries to scale the declared Deployment.
    pub(crate) fn scale(&self, user: &str, replicas: u32) -> Output {
        let replicas = format!("--replicas={replicas}");
        self.cluster.kubectl(user, &["scale", "deployment/web", &replicas, "-n", SHOP])
    }

    fn assert_replicas(&self, when: &str, replicas: u32) {
        let web = self.cluster.get(&["deployment/web", "-n", SHOP]).unwrap_or_default();
        assert_eq!(web["spec"]["replicas"], json!(replicas), "{when}");
    }

    /// Waits until the GitSync is Ready, as a reconciler says that was started just now.
    pub(crate) fn wait_ready(&self) {
        let asked = format!("reconcile.fluxcd.io/requestedAt={}", fresh());
        self.cluster.kubectl("admin", &["annotate", "gitsync/shop", "-n", SYSTEM, "--overwrite", &asked]).ok();
        let asked = asked.split_once('=').unwrap().1;
        eventually("the GitSync is Ready", PATIENCE, || {
            let sync = self.cluster.get(&["gitsync/shop", "-n", SYSTEM]).unwrap_or_default();
            let ready = sync["status"]["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            let handled = sync["status"]["lastHandledReconcileAt"] == asked;
            if ready && handled { Ok(()) } else { Err(sync["status"].to_string()) }
        });
    }

    fn live_uids(&self) -> Vec<Value> {
        let live = self.cluster.get(&["deployment/web", "configmap/settings", "-n", SHOP]).unwrap_or_default();
        live["items"].as_array().into_iter().flatten().map(|object| object["metadata"]["uid"].clone()).collect()
    }

    /// Finalizers of what git declares and of gitward's own objects: each would keep something from being deleted.
    fn finalizers(&self) -> Vec<String> {
        let mut found = Vec::new();
        for args in [
            &["deployment,configmap,replicaset,pod", "-n", SHOP][..],
            &["deployment,configmap,secret,service,role,rolebinding,gitsync", "-n", SYSTEM],
            &["gitsync,blockedchange", "-A"],
            &["guardpolicy,namespace"],
            &["clusterrole,clusterrolebinding,flowschema"],
        ] {
            let listed = self.cluster.get(args).unwrap_or_default();
            for object in listed["items"].as_array().into_iter().flatten() {
                let finalizers = object["metadata"]["finalizers"].as_array().into_iter().flatten();
                let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
                found.extend(finalizers.map(|finalizer| format!("{name}: {finalizer}")));
            }
        }
        found
    }
}

/// A text that was never there before.
fn fresh() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - {name: web, image: 'registry.example.com/shop/web:1'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {color: green}
";
