//! Lanes: a control plane each, with one reconciler behind a proxy. A fault is the whole lane's, so a test has one for itself
//! while it lasts; the tests share a few, since one costs some seconds and half a GiB.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitward_test_cluster::{Api, ControlPlane, GitServer, Gitward, Proxy, Repo};
use serde_json::{Value, json};

/// Long enough for the slowest machine; no test waits that long where things work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// How many there are; more than the cores of a small machine, since a story is mostly waiting.
pub(crate) const LANES: usize = 3;
const GITSYNCS: &str = "/apis/gitward.dev/v1alpha1/namespaces/gitward-system/gitsyncs";

pub(crate) struct Lane {
    pub(crate) cluster: &'static ControlPlane,
    pub(crate) gitward: Gitward<'static>,
    pub(crate) git: GitServer,
    pub(crate) proxy: Proxy,
    pub(crate) api: Api,
}

/// The lanes that nobody uses; a `None` is one that is yet to be started.
static FREE: Mutex<[Option<Option<Box<Lane>>>; LANES]> = Mutex::new([Some(None), Some(None), Some(None)]);
static FREED: Condvar = Condvar::new();

/// Takes a lane, when one is free. After a panic it is not used again: its logs are kept instead.
pub(crate) fn with_lane<T>(work: impl FnOnce(&mut Lane) -> T) -> T {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let (place, lane) = loop {
        // Those that run already first.
        let started = free.iter().position(|lane| matches!(lane, Some(Some(_))));
        if let Some(place) = started.or_else(|| free.iter().position(Option::is_some)) {
            break (place, free[place].take().flatten());
        }
        free = FREED.wait(free).unwrap_or_else(PoisonError::into_inner);
    };
    drop(free);
    let mut used = Used { place, lane: None };
    let lane = used.lane.insert(lane.unwrap_or_else(|| Box::new(Lane::start())));
    work(lane)
}

struct Used {
    place: usize,
    lane: Option<Box<Lane>>,
}

impl Drop for Used {
    fn drop(&mut self) {
        let lane = self.lane.take().filter(|lane| {
            if std::thread::panicking() {
                lane.cluster.keep_logs();
            }
            !std::thread::panicking()
        });
        FREE.lock().unwrap_or_else(PoisonError::into_inner)[self.place] = Some(lane);
        FREED.notify_one();
    }
}

impl Lane {
    fn start() -> Lane {
        let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start()));
        let mut gitward = Gitward::install(cluster, Path::new(env!("CARGO_BIN_EXE_gitward")));
        let pid_file = gitward.reconciler().expect("it is started").pid_file().to_owned();
        let proxy = Proxy::start(cluster, &gitward.reconciler_token(), &pid_file);
        gitward.set_reconciler_env("KUBECONFIG", proxy.kubeconfig());
        gitward.start_reconciler();
        Lane { cluster, gitward, git: GitServer::start(), proxy, api: Api::of(cluster) }
    }

    /// Polls until `probe` gives a value, and starts the reconciler again whenever it has ended, as a kubelet does.
    pub(crate) fn until<T>(&mut self, what: &str, probe: impl FnMut(&Lane) -> Result<T, String>) -> T {
        self.until_or(what, |lane| lane.proxy.pass(), probe)
    }

    /// The same; `killed` says what the proxy does after each kill.
    pub(crate) fn until_or<T>(
        &mut self,
        what: &str,
        mut killed: impl FnMut(&Lane),
        mut probe: impl FnMut(&Lane) -> Result<T, String>,
    ) -> T {
        let begun = Instant::now();
        loop {
            if self.proxy.has_killed() {
                killed(self);
                self.gitward.revive_reconciler();
            } else if self.gitward.reconciler().is_some_and(|reconciler| !reconciler.runs()) {
                // It ends by itself where it cannot renew its Lease.
                self.gitward.revive_reconciler();
            }
            match probe(self) {
                Ok(value) => return value,
                Err(last) if begun.elapsed() > PATIENCE => {
                    let log = self.gitward.reconciler_log();
                    let end = log.lines().rev().take(12).collect::<Vec<_>>();
                    let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
                    panic!("{what}: not within {PATIENCE:?}; last: {last}\nthe reconciler's last words:\n{end}")
                }
                Err(_) => std::thread::sleep(Duration::from_millis(25)),
            }
        }
    }

    /// Makes a GitSync that looks every second; `spec` is merged into it.
    pub(crate) fn follow(&self, name: &str, url: &str, spec: &Value) {
        let mut source = json!({"url": url, "interval": "1s"});
        if url.starts_with("https://") {
            source["secretRef"] = json!({"name": name});
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"ca.crt": self.git.ca()}});
            self.api.apply(&format!("/api/v1/namespaces/gitward-system/secrets/{name}"), &secret);
        }
        let mut sync = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": name}, "spec": {"source": source}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            sync["spec"][key] = value.clone();
        }
        self.api.apply(&format!("{GITSYNCS}/{name}"), &sync);
    }

    /// A GitSync; `None` where there is none, or nobody can say.
    pub(crate) fn sync(&self, name: &str) -> Option<Value> {
        self.api.get(&format!("{GITSYNCS}/{name}")).ok().flatten()
    }

    /// Deletes a GitSync, without waiting for its end.
    pub(crate) fn delete_sync(&self, name: &str) {
        self.api.delete(&format!("{GITSYNCS}/{name}"));
    }

    /// Whether a GitSync is gone, and what it has created with it.
    pub(crate) fn is_gone(&self, name: &str) -> Result<(), String> {
        let inventory =
            format!("/api/v1/namespaces/gitward-system/configmaps/gitward-inventory-gitward-system.{name}-0");
        match (self.api.get(&format!("{GITSYNCS}/{name}")), self.api.get(&inventory)) {
            (Ok(None), Ok(None)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Whether a GitSync says that it has applied a commit as a whole.
    pub(crate) fn has_applied(&self, sync: &str, commit: &str) -> Result<(), String> {
        let status = self.sync(sync).unwrap_or_default()["status"].clone();
        let applied = status["lastAppliedRevision"].as_str().unwrap_or_default();
        let ready = condition(&status, "Ready")["status"] == "True";
        if ready && applied.ends_with(commit) {
            Ok(())
        } else {
            Err(format!("{sync} has not applied {commit}: {status}"))
        }
    }

    /// Waits until a GitSync has applied a commit.
    pub(crate) fn wait_applied(&mut self, sync: &str, commit: &str) {
        self.until(&format!("{sync} applies {commit}"), |lane| lane.has_applied(sync, commit));
    }

    /// Waits until a GitSync says that it is not ready, for one of these reasons; returns the message.
    pub(crate) fn wait_not_ready(&mut self, sync: &str, reasons: &[&str]) -> String {
        self.until(&format!("{sync} says that something is wrong"), |lane| {
            let status = lane.sync(sync).unwrap_or_default()["status"].clone();
            let ready = condition(&status, "Ready");
            let reason = ready["reason"].as_str().unwrap_or_default();
            if ready["status"] == "False" && reasons.contains(&reason) {
                return Ok(ready["message"].as_str().unwrap_or_default().to_owned());
            }
            Err(status.to_string())
        })
    }

    /// Edits an object around the guard.
    pub(crate) fn edit(&self, path: &str, patch: &Value) {
        self.try_edit(path, patch).unwrap_or_else(|refused| panic!("{path}: {refused}"));
    }

    /// The same, where there may be no answer.
    pub(crate) fn try_edit(&self, path: &str, patch: &Value) -> Result<(), String> {
        let as_a_tool = format!("{path}?fieldManager=kubectl-edit");
        self.api.send("PATCH", &as_a_tool, &FORGED, patch).map(drop).map_err(|refused| format!("{refused:?}"))
    }

    /// Deletes an object around the guard.
    pub(crate) fn remove(&self, path: &str) {
        self.api.send("DELETE", path, &FORGED, &Value::Null).unwrap_or_else(|refused| panic!("{path}: {refused:?}"));
    }
}

/// The reconciler's account with a pod of its own, as only a cluster admin can forge it.
const FORGED: [(&str, &str); 2] = [
    ("impersonate-user", "system:serviceaccount:gitward-system:gitward-reconciler"),
    ("impersonate-extra-authentication.kubernetes.io%2fpod-name", "forged"),
];

/// Sets the branch that is followed, without a push.
pub(crate) fn move_branch(repo: &Repo, commit: &str) {
    let bare = format!("--git-dir={}", repo.bare().display());
    repo.git(&[&bare, "update-ref", "refs/heads/main", commit]);
}

/// A condition of a status.
pub(crate) fn condition(status: &Value, kind: &str) -> Value {
    let conditions = status["conditions"].as_array();
    conditions.into_iter().flatten().find(|c| c["type"] == kind).cloned().unwrap_or_default()
}
