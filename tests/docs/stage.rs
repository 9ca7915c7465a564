//! Where a document is played: a control plane with a simulated node, a git server with the repository that the documents
//! speak of, and a shell with the programs that they name.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use gitward_test_cluster::{
    ControlPlane, Flux, GitServer, Gitward, Output, Process as Running, Repo, Tools, eventually, workspace,
};
use serde_json::{Value, json};

use crate::blocks::{Command, shows};

/// Long enough for the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// What the documents call the repository.
const REPOSITORY: &str = "https://git.example.com/shop/ops";

pub(crate) struct Stage<'a> {
    pub(crate) cluster: &'a ControlPlane,
    pub(crate) gitward: Gitward<'a>,
    pub(crate) git: GitServer,
    pub(crate) repo: Repo,
    pub(crate) flux: Option<Flux<'a>>,
    /// Somebody who works against git, until the flag is set.
    pub(crate) rival: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
    /// Who types.
    pub(crate) user: &'static str,
    /// Where they type.
    dir: PathBuf,
    _node: Running,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(cluster: &'a ControlPlane) -> Stage<'a> {
        let node = cluster.simulate_node();
        let git = GitServer::start();
        let repo = git.repo("ops");
        repo.copy(&workspace().join("examples/shop"));
        repo.push("The shop");
        let dir = cluster.dir().join("work");
        let gitward = Gitward::prepare(cluster, std::path::Path::new(env!("CARGO_BIN_EXE_gitward")));
        let user = "admin";
        let stage = Stage { cluster, gitward, git, repo, flux: None, rival: None, user, dir, _node: node };
        stage.lay_out();
        stage.schedule();
        stage
    }

    /// The folder of the project, without what is built, and the programs.
    fn lay_out(&self) {
        let bin = self.dir.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        for name in ["charts", "docs", "examples", "tests"] {
            symlink(std::fs::canonicalize(workspace().join(name)).unwrap(), self.dir.join(name)).unwrap();
        }
        for tool in ["kubectl", "helm"] {
            symlink(Tools::get().path(tool), bin.join(tool)).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_gitward"), bin.join("gitward")).unwrap();
    }

    /// In place of a scheduler: every Pod goes to the simulated node.
    fn schedule(&self) {
        let api = format!("admissionregistration.k8s.io/{}", Tools::mutating_policies());
        let policy = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "scheduler"}, "spec": {
            "matchConstraints": {"resourceRules":
                [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]},
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConditions": [{"name": "unscheduled", "expression": "!has(object.spec.nodeName)"}],
            "mutations": [{"patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{spec: Object.spec{nodeName: 'kwok'}}"}}]}});
        let binding = json!({"apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "scheduler"},
            "spec": {"policyName": "scheduler"}});
        self.apply(&policy);
        self.apply(&binding);
        eventually("Pods are scheduled", PATIENCE, || {
            let run = ["run", "probe", "--image=x:1", "--dry-run=server", "-o", "jsonpath={.spec.nodeName}"];
            let probe = self.cluster.kubectl("admin", &run);
            if probe.stdout == "kwok" { Ok(()) } else { Err(probe.stdout + &probe.stderr) }
        });
    }

    /// Makes an object as admin.
    pub(crate) fn apply(&self, object: &Value) {
        self.cluster.kubectl_in("admin", &["apply", "-f", "-"], Some(&object.to_string())).ok();
    }

    /// Runs kubectl as admin.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Output {
        self.cluster.kubectl("admin", args)
    }

    /// Waits until the GitSync is Ready at the newest commit.
    pub(crate) fn wait_applied(&self) {
        let commit = self.repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
        eventually("the GitSync is applied", PATIENCE, || {
            let sync = self.cluster.get(&["gitsync/shop", "-n", "gitward-system"]).unwrap_or_default();
            let applied = sync.pointer("/status/lastAppliedRevision").and_then(Value::as_str).unwrap_or_default();
            if applied.ends_with(&commit) { Ok(()) } else { Err(sync["status"].to_string()) }
        });
    }

    /// What is typed here in place of what the document says.
    fn typed(&self, text: &str) -> String {
        // The API server reaches the guard on ports of this machine.
        let values = self.gitward.values().join(" ");
        // The certificate of the git server here is nobody's; the documents show no Secret for that.
        let mut text = text.replace(REPOSITORY, &self.repo.file_url());
        for chart in ["charts/gitward", "gitward-VERSION/gitward-VERSION.tgz"] {
            let install = format!("helm install gitward {} ", chart.replace("VERSION", env!("CARGO_PKG_VERSION")));
            text = text.replace(&install, &format!("{install}{values} "));
        }
        text
    }

    /// Types a command of a document, and checks what it does.
    pub(crate) fn run(&self, document: &str, command: &Command) {
        let place = format!("{document}:{}: $ {}", command.line, command.text);
        let expected = match command.exit {
            Some(status) => Expected::Status(status),
            None if command.shown.iter().any(|line| line.starts_with("Error")) => Expected::Failure,
            None => Expected::Status(0),
        };
        let tried = || {
            let output = self.shell(&self.typed(&command.text));
            let printed = format!("{}{}", output.stdout, output.stderr);
            let missing: Vec<&String> = command.shown.iter().filter(|shown| !shows(&printed, shown)).collect();
            if expected.is(output.status) && missing.is_empty() {
                return Ok(());
            }
            Err(format!("exit status {}, not shown: {missing:#?}\nprinted:\n{printed}", output.status))
        };
        if command.retry {
            eventually(&place, PATIENCE, tried);
        } else if let Err(why) = tried() {
            panic!("{place}\n{why}");
        }
    }

    fn shell(&self, text: &str) -> Output {
        let path = format!("{}:{}", self.dir.join("bin").display(), std::env::var("PATH").unwrap());
        let mut bash = Process::new("bash");
        bash.args(["-o", "pipefail", "-c", text]).current_dir(&self.dir).env("PATH", path);
        bash.env("KUBECONFIG", self.cluster.kubeconfig(self.user)).env("HOME", self.cluster.dir());
        for program in ["helm", "kustomize"] {
            bash.env(format!("GITWARD_{}", program.to_uppercase()), Tools::get().path(program));
        }
        Output::of(&mut bash, None)
    }
}

#[derive(Clone, Copy)]
enum Expected {
    Status(i32),
    Failure,
}

impl Expected {
    fn is(self, status: i32) -> bool {
        match self {
            Expected::Status(expected) => status == expected,
            Expected::Failure => status != 0,
        }
    }
}
