//! etcd, kube-apiserver and kube-controller-manager on free ports of the loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Janitor;
use crate::reader::Reader;
use crate::turn::Turn;
use crate::users::{FORGER, NODE, USERS, https, kubeconfig, write_config, write_kubeconfig, write_pki};
use crate::{Api, Output, Process, Tools, Watch, eventually, keeps};

/// A running control plane. Ends with the value.
pub struct ControlPlane {
    parts: Mutex<Option<Parts>>,
    ports: Ports,
    tools: Tools,
    port: u16,
    /// More arguments of the API server.
    flags: &'static [&'static str],
    dir: PathBuf,
    janitor: Janitor,
    reader: OnceLock<Reader>,
}

/// The processes. Stopped in this order.
struct Parts {
    _controller_manager: Process,
    _api_server: Process,
    _etcd: Process,
}

#[derive(Clone, Copy)]
struct Ports {
    etcd: u16,
    peer: u16,
    api_server: u16,
    controller_manager: u16,
}

impl ControlPlane {
    /// A cluster admin with the pod of the reconciler forged: nothing of the guard is in the way.
    pub const FORGER: &str = "forger";

    /// Starts one, and waits until it serves.
    ///
    /// # Panics
    /// Where a part does not come up, with its log.
    pub fn start() -> ControlPlane {
        ControlPlane::start_with(&[])
    }

    fn start_with(flags: &'static [&'static str]) -> ControlPlane {
        let tools = Tools::get();
        let dir = TempDir::with_prefix("gitward-cluster-").expect("a temporary folder").keep();
        let janitor = Janitor::of(&dir);
        if keeps() {
            janitor.keep();
        }
        write_pki(&dir);
        let [etcd, peer, api_server, controller_manager] = free_ports();
        let ports = Ports { etcd, peer, api_server, controller_manager };
        USERS.iter().for_each(|(user, _)| write_kubeconfig(&dir, api_server, user));
        write_config(&dir, &https(api_server), ControlPlane::FORGER, FORGER);
        let _turn = Turn::wait();
        let parts = Mutex::new(Some(Parts::start(&tools, &dir, ports, flags)));
        let cluster =
            ControlPlane { parts, ports, tools, port: api_server, flags, dir, janitor, reader: OnceLock::new() };
        cluster.wait();
        cluster
    }

    /// Starts one that lives as long as the test program, or until [`ControlPlane::stop`]; its logs are kept where a test fails.
    ///
    /// # Panics
    /// Where a part does not come up, with its log.
    pub fn for_tests() -> &'static ControlPlane {
        ControlPlane::for_tests_with(&[])
    }

    /// The same with more arguments of the API server.
    ///
    /// # Panics
    /// As above.
    pub fn for_tests_with(flags: &'static [&'static str]) -> &'static ControlPlane {
        let cluster: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start_with(flags)));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            cluster.keep_logs();
            before(info);
        }));
        cluster
    }

    /// Stops all parts and starts them again from what etcd has stored.
    ///
    /// # Panics
    /// Where a part does not come up again.
    pub fn restart(&self) {
        self.restart_with(|| {});
    }

    /// Copies what etcd has stored, while it stands still. Returns the copy.
    ///
    /// # Panics
    /// Where it cannot be copied, or a part does not come up again.
    pub fn back_up(&self) -> PathBuf {
        let copy = self.dir.join("etcd.backup");
        self.restart_with(|| copy_dir(&self.dir.join("etcd"), &copy));
        copy
    }

    /// Makes the cluster what it was when the copy was made.
    ///
    /// # Panics
    /// As [`ControlPlane::back_up`].
    pub fn restore(&self, copy: &Path) {
        self.restart_with(|| copy_dir(copy, &self.dir.join("etcd")));
    }

    /// Does something while all parts stand still.
    fn restart_with(&self, between: impl FnOnce()) {
        let mut parts = self.parts.lock().expect("no test has failed");
        drop(parts.take());
        eventually("the API server has freed its port", Duration::from_secs(60), || {
            TcpListener::bind(("127.0.0.1", self.port)).map(drop).map_err(|error| error.to_string())
        });
        between();
        *parts = Some(Parts::start(&self.tools, &self.dir, self.ports, self.flags));
        self.wait();
    }

    /// Ends all parts. What was started beside them goes first.
    pub fn stop(&self) {
        drop(self.parts.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn wait(&self) {
        eventually("the default service account is there", Duration::from_secs(60), || {
            self.get(&["serviceaccount", "default"]).map(drop).ok_or_else(|| "there is none yet".to_owned())
        });
    }

    /// The URL of the API server.
    pub fn server(&self) -> String {
        https(self.port)
    }

    /// The folder of logs and kubeconfigs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The kubeconfig of a user.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        kubeconfig(self.dir(), user)
    }

    /// Writes a kubeconfig whose token stands in a file, as in a pod.
    pub fn kubeconfig_with_token_file(&self, name: &str, token: &Path) -> PathBuf {
        let user = format!("tokenFile: {}", token.display());
        write_config(self.dir(), &https(self.port), name, &user)
    }

    /// Writes a kubeconfig for a proxy on a port of the loopback, whose token stands in a file.
    pub fn kubeconfig_of_proxy(&self, port: u16, token: &Path) -> PathBuf {
        let user = format!("tokenFile: {}", token.display());
        write_config(self.dir(), &format!("http://127.0.0.1:{port}"), &format!("proxy-{port}"), &user)
    }

    /// Runs kubectl as a user.
    pub fn kubectl(&self, user: &str, args: &[&str]) -> Output {
        self.kubectl_in(user, args, None)
    }

    /// Runs kubectl as a user, with something on its standard input.
    pub fn kubectl_in(&self, user: &str, args: &[&str], input: Option<&str>) -> Output {
        Output::of(kubectl(&self.tools, self.dir(), &self.kubeconfig(user)).args(args), input)
    }

    /// Reads what `kubectl get -o json --ignore-not-found` shows admin; `None` where there is nothing.
    ///
    /// # Panics
    /// Where it cannot be read otherwise.
    pub fn get(&self, args: &[&str]) -> Option<Value> {
        if let Some(answer) = self.reader.get_or_init(|| Reader::of(self)).get(args) {
            return answer.unwrap_or_else(|refused| panic!("kubectl get {}: {refused:?}", args.join(" ")));
        }
        let output = self.kubectl("admin", &[&["get", "-o", "json", "--ignore-not-found"], args].concat());
        let text = output.ok();
        if text.trim().is_empty() { None } else { Some(serde_json::from_str(text).expect("kubectl prints JSON")) }
    }

    /// Does something as admin in the moment between the removal of the webhook configuration and its return. The moment is
    /// short: both are tried side by side until it was hit. Returns how often the configuration was removed.
    ///
    /// # Panics
    /// Where it never is.
    pub fn around_the_guard(&self, args: &[&str]) -> u32 {
        const EDITS: u64 = 4;
        for round in 1..=100 {
            let hit = std::thread::scope(|scope| {
                let edits: Vec<_> = (0..EDITS)
                    .map(|n| {
                        scope.spawn(move || {
                            std::thread::sleep(Duration::from_millis(10 * n));
                            self.kubectl("admin", args).status == 0
                        })
                    })
                    .collect();
                self.kubectl("admin", &["delete", "validatingwebhookconfiguration", "gitward", "--wait=false"]);
                edits.into_iter().any(|edit| edit.join().unwrap_or(false))
            });
            if hit {
                return round;
            }
        }
        panic!("the webhook configuration was always back before the edit");
    }

    /// Watches as admin: `kubectl get --watch` with more arguments.
    pub fn watch(&self, args: &[&str]) -> Watch {
        let mut kubectl = kubectl(&self.tools, &self.dir, &self.kubeconfig("admin"));
        kubectl.args(["get", "--watch"]).args(args);
        Watch::start(kubectl)
    }

    /// Starts KWOK, which makes the pods of the node `kwok` ready, and Jobs complete, without running anything. Pods have to name
    /// the node themselves: there is no scheduler. Ends with the value.
    ///
    /// # Panics
    /// Where the node cannot be made.
    pub fn simulate_node(&self) -> Process {
        let node = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kwok", "annotations": {"kwok.x-k8s.io/node": "fake"}}}"#;
        self.kubectl_in("admin", &["apply", "-f", "-"], Some(node)).ok();
        // To the guard it is a kubelet. Without the node authorizer it has no rights but these.
        let binding = ["create", "clusterrolebinding", "kwok", "--clusterrole=cluster-admin", "--user", NODE];
        self.kubectl("admin", &binding).ok();
        let mut kwok = Command::new(self.tools.path("kwok"));
        let stages = crate::workspace().join("tests/cluster/tools/kwok/stages.yaml");
        kwok.env("HOME", self.dir())
            .arg("--manage-all-nodes")
            // Without it the node counts as dead after 40 s, and its Pods as not ready.
            .arg("--node-lease-duration-seconds=40")
            .arg("--config")
            .arg(stages)
            .arg("--kubeconfig")
            .arg(self.kubeconfig(NODE));
        Process::start(self.dir(), "kwok", &kwok)
    }

    /// Runs helm as admin.
    pub fn helm(&self, args: &[&str]) -> Output {
        let mut helm = Command::new(self.tools.path("helm"));
        helm.env("KUBECONFIG", self.kubeconfig("admin")).env("HOME", self.dir()).env("HELM_CACHE_HOME", self.dir());
        Output::of(helm.args(args), None)
    }
}

impl ControlPlane {
    /// Leaves the logs and kubeconfigs where they are after the end, and says where.
    pub fn keep_logs(&self) {
        self.janitor.keep();
        eprintln!("logs and kubeconfigs are kept in {}", self.dir.display());
    }
}

impl Parts {
    fn start(tools: &Tools, dir: &Path, ports: Ports, flags: &[&str]) -> Parts {
        let etcd = start_etcd(tools, dir, ports.etcd, ports.peer);
        let api_server = start_api_server(tools, dir, ports.etcd, ports.api_server, flags);
        let api = Api::at(dir, https(ports.api_server), "admin-token");
        eventually("the API server is ready", Duration::from_secs(180), || match api.get("/readyz") {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}\n{}", api_server.log_tail())),
        });
        let controller_manager = start_controller_manager(tools, dir, ports.controller_manager);
        Parts { _controller_manager: controller_manager, _api_server: api_server, _etcd: etcd }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_logs();
        }
    }
}

/// Ports that are free now, each given out once. They are below those that the kernel gives to connections, of which one could be
/// taken before its server listens.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    // Several test programs may run.
    let of_program = (std::process::id().wrapping_mul(997) % u32::from(COUNT)) as u16;
    [(); N].map(|()| {
        loop {
            let port = FIRST + (of_program + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

/// Replaces a folder by a copy of another.
fn copy_dir(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).expect("the folder can be removed");
    }
    Output::of(Command::new("cp").arg("-a").arg(from).arg(to), None).ok();
}

pub(crate) fn kubectl(tools: &Tools, dir: &Path, config: &Path) -> Command {
    let mut kubectl = Command::new(tools.path("kubectl"));
    // The discovery cache is in the home folder: each cluster has its own.
    kubectl.env("KUBECONFIG", config).env("HOME", dir);
    kubectl
}

fn start_etcd(tools: &Tools, dir: &Path, port: u16, peer_port: u16) -> Process {
    let mut etcd = Command::new(tools.path("etcd"));
    etcd.arg(format!("--data-dir={}", dir.join("etcd").display())).args(["--unsafe-no-fsync", "--log-level=warn"]);
    for (flag, port) in [("client", port), ("peer", peer_port)] {
        etcd.arg(format!("--listen-{flag}-urls=http://127.0.0.1:{port}"));
    }
    etcd.arg(format!("--advertise-client-urls=http://127.0.0.1:{port}"));
    etcd.arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer_port}"));
    etcd.arg(format!("--initial-cluster=default=http://127.0.0.1:{peer_port}"));
    Process::start(dir, "etcd", &etcd)
}

fn start_api_server(tools: &Tools, dir: &Path, etcd_port: u16, port: u16, flags: &[&str]) -> Process {
    let file = |name: &str| dir.join(name).display().to_string();
    let mut server = Command::new(tools.path("kube-apiserver"));
    server.args([
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        // As every cluster has it whose network and storage come as DaemonSets.
        "--allow-privileged=true".to_owned(),
        format!("--token-auth-file={}", file("tokens.csv")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--cert-dir={}", file("generated")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
    ]);
    // Switched on as it is by default later: the tests use it.
    let policies = Tools::mutating_policies();
    if policies != "v1" {
        server.arg("--feature-gates=MutatingAdmissionPolicy=true");
        server.arg(format!("--runtime-config=admissionregistration.k8s.io/{policies}=true"));
    }
    Process::start(dir, "kube-apiserver", server.args(flags))
}

fn start_controller_manager(tools: &Tools, dir: &Path, port: u16) -> Process {
    let file = |name: &str| dir.join(name).display().to_string();
    let mut manager = Command::new(tools.path("kube-controller-manager"));
    manager.args([
        format!("--kubeconfig={}", kubeconfig(dir, "system:kube-controller-manager").display()),
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", file("generated-kcm")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        "--horizontal-pod-autoscaler-sync-period=1s".to_owned(),
    ]);
    Process::start(dir, "kube-controller-manager", &manager)
}
