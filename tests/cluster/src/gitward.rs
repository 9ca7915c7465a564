//! gitward in the control plane: the chart by helm, and the two processes under the identities that the chart made.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::control_plane::free_ports;
use crate::{ControlPlane, Process, eventually, workspace};

const NAMESPACE: &str = "gitward-system";
const RECONCILER: &str = "gitward-reconciler";
/// How often tokens are renewed. A kubelet does it at four fifths of their life.
const RENEW: Duration = Duration::from_secs(240);

/// An installed gitward. Its processes end with the value.
pub struct Gitward<'a> {
    cluster: &'a ControlPlane,
    binary: PathBuf,
    guard: Option<Running>,
    reconciler: Option<Running>,
    reconciler_env: Vec<(String, PathBuf)>,
    ports: Ports,
}

/// A process with its identity.
pub(crate) struct Running {
    pub(crate) process: Process,
    command: Command,
    _tokens: Tokens,
}

#[derive(Clone, Copy)]
struct Ports {
    guard: u16,
    guard_observe: u16,
    reconciler_observe: u16,
}

impl<'a> Gitward<'a> {
    /// Installs the chart and starts both processes; waits until both are ready.
    ///
    /// # Panics
    /// Where a step fails.
    pub fn install(cluster: &'a ControlPlane, binary: &Path) -> Gitward<'a> {
        Gitward::install_with(cluster, binary, &[])
    }

    /// Installs the chart with more values, as `name=value`, and starts both processes; waits until both are ready.
    ///
    /// # Panics
    /// Where a step fails.
    pub fn install_with(cluster: &'a ControlPlane, binary: &Path, values: &[&str]) -> Gitward<'a> {
        Gitward::install_by(cluster, binary, |ports| {
            let chart = workspace().join("charts/gitward").display().to_string();
            let mut args = vec!["install", "gitward", &chart, "-n", NAMESPACE, "--create-namespace"];
            args.extend(ports.iter().map(String::as_str));
            args.extend(values.iter().flat_map(|value| ["--set", value]));
            cluster.helm(&args).ok();
        })
    }

    /// Lets somebody install it, given the values that this place needs as arguments of helm, and starts both processes; waits
    /// until both are ready.
    ///
    /// # Panics
    /// Where a step fails.
    pub fn install_by(cluster: &'a ControlPlane, binary: &Path, install: impl FnOnce(&[String])) -> Gitward<'a> {
        let mut gitward = Gitward::prepare(cluster, binary);
        install(&gitward.values());
        gitward.start_reconciler();
        gitward.start_guard();
        gitward
    }

    /// Nothing is installed yet. Whoever does it gives helm [`Gitward::values`], and starts the processes then.
    pub fn prepare(cluster: &'a ControlPlane, binary: &Path) -> Gitward<'a> {
        let [guard, guard_observe, reconciler_observe] = free_ports();
        let ports = Ports { guard, guard_observe, reconciler_observe };
        Gitward { cluster, binary: binary.to_owned(), guard: None, reconciler: None, reconciler_env: Vec::new(), ports }
    }

    /// The values with which the chart is installed here, as arguments of helm.
    pub fn values(&self) -> Vec<String> {
        self.ports.values()
    }

    /// Where the API server calls the guard.
    pub fn guard_port(&self) -> u16 {
        self.ports.guard
    }

    pub(crate) fn guard_observe_port(&self) -> u16 {
        self.ports.guard_observe
    }

    /// The metrics of the reconciler.
    pub fn reconciler_metrics(&self) -> String {
        ask(self.ports.reconciler_observe, "/metrics").unwrap_or_default()
    }

    /// The metrics of the guard.
    pub fn guard_metrics(&self) -> String {
        ask(self.ports.guard_observe, "/metrics").unwrap_or_default()
    }

    /// Runs a command of gitward as a user.
    pub fn command(&self, user: &str, args: &[&str]) -> crate::Output {
        let mut command = Command::new(&self.binary);
        crate::Output::of(command.env("KUBECONFIG", self.cluster.kubeconfig(user)).args(args), None)
    }

    /// The log of the guard.
    pub fn guard_log(&self) -> String {
        self.guard.as_ref().map(|guard| guard.process.log()).unwrap_or_default()
    }

    /// The log of the reconciler.
    pub fn reconciler_log(&self) -> String {
        self.reconciler.as_ref().map(|reconciler| reconciler.process.log()).unwrap_or_default()
    }

    /// The reconciler's process, while it was started and not ended by us.
    pub fn reconciler(&self) -> Option<&Process> {
        self.reconciler.as_ref().map(|reconciler| &reconciler.process)
    }

    pub(crate) fn reconciler_command(&self) -> Option<&Command> {
        self.reconciler.as_ref().map(|reconciler| &reconciler.command)
    }

    pub(crate) fn cluster(&self) -> &ControlPlane {
        self.cluster
    }

    /// The guard's token, bound to its Pod.
    ///
    /// # Panics
    /// Where the guard was never started.
    pub fn guard_token(&self) -> String {
        std::fs::read_to_string(token_file(self.cluster, "gitward-guard")).expect("the guard has a token")
    }

    /// Where the token of the reconciler stands.
    pub fn reconciler_token(&self) -> PathBuf {
        token_file(self.cluster, RECONCILER)
    }

    /// Sets a variable of the reconciler's environment, from its next start on.
    pub fn set_reconciler_env(&mut self, name: &str, value: &Path) {
        self.reconciler_env.retain(|(set, _)| set != name);
        self.reconciler_env.push((name.to_owned(), value.to_owned()));
    }

    /// Ends the reconciler as a crash would; [`Gitward::revive_reconciler`] starts it again.
    pub fn crash_reconciler(&mut self) {
        if let Some(running) = &mut self.reconciler {
            running.process.kill();
        }
    }

    /// Starts the reconciler again in the same Pod, with the same identity and environment, as a kubelet does with a
    /// container that has ended; waits until it is ready.
    ///
    /// # Panics
    /// Where it was never started, or does not become ready.
    pub fn revive_reconciler(&mut self) {
        let port = self.ports.reconciler_observe;
        let running = self.reconciler.as_mut().expect("the reconciler was started");
        running.process.kill();
        running.process = launch(self.cluster, RECONCILER, &running.command, port);
    }

    /// Starts the guard, as a Pod of its Deployment as that is now, and waits until it is ready.
    pub fn start_guard(&mut self) {
        self.guard = None;
        self.guard = Some(self.start("gitward-guard", self.ports.guard_observe));
    }

    /// Ends the guard: nobody answers the API server.
    pub fn stop_guard(&mut self) {
        self.guard = None;
    }

    /// Starts the reconciler, as a Pod of its Deployment as that is now, and waits until it is ready.
    pub fn start_reconciler(&mut self) {
        self.reconciler = None;
        self.reconciler = Some(self.start(RECONCILER, self.ports.reconciler_observe));
    }

    /// Ends the reconciler.
    pub fn stop_reconciler(&mut self) {
        self.reconciler = None;
    }

    /// Ends the reconciler as a crash would.
    pub fn kill_reconciler(&mut self) {
        if let Some(mut reconciler) = self.reconciler.take() {
            reconciler.process.kill();
        }
    }

    fn start(&self, name: &'static str, observe_port: u16) -> Running {
        self.start_at(name, name, observe_port, None)
    }

    /// Runs what the Deployment's container would run, with its arguments as the chart rendered them; another replica under a
    /// name of its own, and where it serves.
    pub(crate) fn start_at(&self, name: &'static str, replica: &str, observe_port: u16, serve: Option<u16>) -> Running {
        let deployment = self.cluster.get(&["deployment", name, "-n", NAMESPACE]).expect("the chart made it");
        let tokens = Tokens::keep(self.cluster, name, replica, &deployment);
        let args = deployment.pointer("/spec/template/spec/containers/0/args").and_then(Value::as_array).cloned();
        let mut command = Command::new(&self.binary);
        let is_kept = |arg: &&str| {
            serve.is_none() || !arg.trim_start_matches("--observe-").trim_start_matches("--").starts_with("listen=")
        };
        command.args(args.unwrap_or_default().iter().filter_map(Value::as_str).filter(is_kept));
        if let Some(serve) = serve {
            command.args([format!("--listen=127.0.0.1:{serve}"), format!("--observe-listen=127.0.0.1:{observe_port}")]);
        }
        command.env("KUBECONFIG", self.cluster.kubeconfig(replica)).env("GITWARD_NAMESPACE", NAMESPACE);
        command.env("GITWARD_POD_NAME", &tokens.pod);
        command.env("GITWARD_CACHE_DIR", self.cluster.dir().join("cache"));
        for tool in ["helm", "kustomize"] {
            command.env(format!("GITWARD_{}", tool.to_uppercase()), crate::Tools::get().path(tool));
        }
        if name == RECONCILER {
            command.envs(self.reconciler_env.iter().map(|(name, value)| (name, value)));
        }
        let process = launch(self.cluster, replica, &command, observe_port);
        Running { process, command, _tokens: tokens }
    }
}

/// Starts a process, and waits until it does its work: a reconciler leads then.
fn launch(cluster: &ControlPlane, name: &str, command: &Command, observe_port: u16) -> Process {
    let process = launch_ready(cluster, name, command, observe_port);
    if name == RECONCILER {
        eventually("the reconciler leads", Duration::from_secs(120), || {
            let metrics = ask(observe_port, "/metrics").map_err(|error| error.to_string())?;
            if metrics.contains("gitward_leader 1") { Ok(()) } else { Err(process.log_tail()) }
        });
    }
    process
}

/// Starts a process, and waits until its probe says that it is ready.
pub(crate) fn launch_ready(cluster: &ControlPlane, name: &str, command: &Command, observe_port: u16) -> Process {
    let process = Process::start(cluster.dir(), name, command);
    eventually(&format!("{name} is ready"), Duration::from_secs(60), || {
        probe(observe_port).map_err(|error| format!("{error}\n{}", process.log_tail()))
    });
    process
}

fn token_file(cluster: &ControlPlane, name: &str) -> PathBuf {
    cluster.dir().join(format!("{name}.token"))
}

impl Ports {
    fn values(self) -> Vec<String> {
        [
            format!("webhook.url=https://127.0.0.1:{}", self.guard),
            format!("guard.port={}", self.guard),
            format!("guard.observePort={}", self.guard_observe),
            "guard.drainSeconds=0".to_owned(),
            format!("reconciler.observePort={}", self.reconciler_observe),
            "reconciler.replicas=1".to_owned(),
            // Nothing here starts a process again that has lost its Lease while a test kept the API server away.
            "reconciler.leaseSeconds=45".to_owned(),
        ]
        .into_iter()
        .flat_map(|value| ["--set".to_owned(), value])
        .collect()
    }
}

pub(crate) fn probe(port: u16) -> Result<(), String> {
    let answer = ask(port, "/readyz").map_err(|error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer) }
}

pub(crate) fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Keeps a token that is bound to a Pod of a Deployment, as the kubelet does for the process in it.
struct Tokens {
    pod: String,
    stop: Option<Sender<()>>,
    renewal: Option<JoinHandle<()>>,
}

impl Tokens {
    fn keep(cluster: &ControlPlane, name: &'static str, replica: &str, deployment: &Value) -> Tokens {
        let selector = format!("app.kubernetes.io/name={name}");
        let image = "/spec/containers/0/image";
        let current = deployment.pointer("/spec/template").and_then(|template| template.pointer(image));
        // A Pod of an older version goes when it likes, and its token with it.
        let is_current = |pod: &&Value| pod.pointer(image) == current && pod["metadata"]["deletionTimestamp"].is_null();
        let pod = eventually(&format!("the Pod object of {name}"), Duration::from_secs(30), || {
            let pods = cluster.get(&["pods", "-n", NAMESPACE, "-l", &selector]).unwrap_or_default();
            let found = pods["items"].as_array().into_iter().flatten().find(is_current).cloned();
            found.ok_or_else(|| format!("there is none yet: {pods}"))
        });
        let text = |pointer| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (pod_name, uid) = (text("/metadata/name"), text("/metadata/uid"));
        let path = token_file(cluster, replica);
        cluster.kubeconfig_with_token_file(replica, &path);
        let args: Vec<String> = ["create", "token", name, "-n", NAMESPACE, "--duration=10m", "--bound-object-kind=Pod"]
            .map(str::to_owned)
            .into();
        let bound = [format!("--bound-object-name={pod_name}"), format!("--bound-object-uid={uid}")];
        let args = [args, bound.into()].concat();
        let (admin, home) = (cluster.kubeconfig("admin"), cluster.dir().to_owned());
        let mint = move || {
            let mut kubectl = Command::new(crate::Tools::get().path("kubectl"));
            let output = crate::Output::of(kubectl.env("KUBECONFIG", &admin).env("HOME", &home).args(&args), None);
            if output.status == 0 {
                let fresh = path.with_extension("fresh");
                std::fs::write(&fresh, &output.stdout)
                    .and_then(|()| std::fs::rename(&fresh, &path))
                    .expect("the token can be written");
            }
            output
        };
        mint().ok();
        let (stop, stopped) = channel();
        let renewal = std::thread::spawn(move || {
            // After an uninstall there is no account any more, and nothing to renew.
            while stopped.recv_timeout(RENEW) == Err(RecvTimeoutError::Timeout) && mint().status == 0 {}
        });
        Tokens { pod: pod_name, stop: Some(stop), renewal: Some(renewal) }
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(renewal) = self.renewal.take() {
            let _ = renewal.join();
        }
    }
}
