//! A second reconciler beside the first, as the second Pod of its Deployment.

use std::path::Path;
use std::process::Command;

use crate::control_plane::free_ports;
use crate::gitward::{ask, launch_ready};
use crate::{Gitward, Process};

/// A reconciler of its own. Ends with the value.
pub struct Standby {
    process: Process,
    observe: u16,
}

impl Gitward<'_> {
    /// Starts another reconciler, with the arguments and the account of the first, and waits until it is ready, which it is
    /// while it stands by. `name` is its identity, `kubeconfig` its way to the API server.
    ///
    /// # Panics
    /// Where the first was never started, or this one does not become ready.
    pub fn standby(&self, name: &str, kubeconfig: &Path) -> Standby {
        let first = self.reconciler_command().expect("the reconciler was started");
        let [observe] = free_ports();
        let mut command = Command::new(first.get_program());
        command.args(first.get_args().filter(|arg| !arg.to_string_lossy().starts_with("--observe-listen")));
        command.arg(format!("--observe-listen=127.0.0.1:{observe}"));
        command.envs(first.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.env("GITWARD_POD_NAME", name).env("KUBECONFIG", kubeconfig);
        command.env("GITWARD_CACHE_DIR", self.cluster().dir().join(format!("cache-{name}")));
        Standby { process: launch_ready(self.cluster(), name, &command, observe), observe }
    }
}

impl Standby {
    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        ask(self.observe, "/metrics").unwrap_or_default()
    }
}
