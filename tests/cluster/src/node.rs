//! The real node that `tests/e2e/node.sh` has brought up around this process.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::control_plane::kubectl;
use crate::users::kubeconfig;
use crate::{Output, Tools, workspace};

/// A node with its control plane, and gitward's place in it.
pub struct Node {
    dir: PathBuf,
    tools: Tools,
}

impl Node {
    /// The address at which pods find what runs beside them.
    pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 0, 1));

    /// The node around this process; `None` where there is none.
    pub fn here() -> Option<Node> {
        Some(Node { dir: std::env::var_os("GITWARD_NODE")?.into(), tools: Tools::get() })
    }

    /// The folder of logs and kubeconfigs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs kubectl as `admin` or `dev`.
    pub fn kubectl(&self, user: &str, args: &[&str]) -> Output {
        self.kubectl_in(user, args, None)
    }

    /// Runs kubectl as a user, with something on its standard input.
    pub fn kubectl_in(&self, user: &str, args: &[&str], input: Option<&str>) -> Output {
        Output::of(kubectl(&self.tools, &self.dir, &kubeconfig(&self.dir, user)).args(args), input)
    }

    /// Reads an object or a list as admin; null where there is none, or the API server does not answer.
    pub fn get(&self, args: &[&str]) -> Value {
        let output = self.kubectl("admin", &[&["get", "-o", "json", "--ignore-not-found"], args].concat());
        serde_json::from_str(&output.stdout).unwrap_or_default()
    }

    /// Runs helm as admin.
    pub fn helm(&self, args: &[&str]) -> Output {
        let mut helm = Command::new(self.tools.path("helm"));
        helm.env("KUBECONFIG", kubeconfig(&self.dir, "admin")).env("HOME", &self.dir).env("HELM_CACHE_HOME", &self.dir);
        Output::of(helm.args(args), None)
    }

    /// Gives the node an image, from a file as `image/pack.sh` makes it.
    ///
    /// # Panics
    /// Where the node cannot take it.
    pub fn load(&self, image: &Path) {
        self.parts(&["images", &image.display().to_string()]);
    }

    /// A power failure: all processes of the node and of its pods end at once.
    ///
    /// # Panics
    /// Where something survives.
    pub fn crash(&self) {
        self.parts(&["crash"]);
    }

    /// Boots the node from what its disk has kept; waits until it is Ready.
    ///
    /// # Panics
    /// Where a part does not come up, with its log.
    pub fn boot(&self) {
        self.parts(&["start"]);
    }

    fn parts(&self, args: &[&str]) {
        // What it starts outlives it, and must not hold its output.
        let log = self.dir.join("log/parts.log");
        let mut sh = Command::new("sh");
        sh.args(["-c", "log=$1; shift; exec \"$@\" >\"$log\" 2>&1", "sh"]).arg(&log);
        let output = Output::of(sh.arg(workspace().join("tests/e2e/parts.sh")).args(args), None);
        let said = std::fs::read_to_string(log).unwrap_or_default();
        assert_eq!(output.status, 0, "{args:?}: {said}");
    }
}
