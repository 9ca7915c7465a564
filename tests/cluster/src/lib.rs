//! A real control plane with gitward in it: etcd, kube-apiserver, kube-controller-manager, a real git server, the chart
//! installed by the real helm, and the real binary under the identities that the chart made.
//!
//! For tests and for the demo, so it fails by panicking with what is needed to see why. There is no kubelet and no
//! scheduler: Pods exist as objects, and the processes that would run in them run beside the control plane.

#![forbid(unsafe_code)]

mod api;
mod balancer;
mod certificates;
mod control_plane;
mod git;
mod gitward;
mod node;
mod operators;
mod output;
mod process;
mod proxy;
mod reader;
mod registry;
mod release;
mod replica;
mod sample;
mod standby;
mod tools;
mod turn;
mod users;
mod watch;

use std::time::{Duration, Instant};

pub use api::{Api, Refused};
pub use balancer::{Balancer, Endpoint};
pub use control_plane::ControlPlane;
pub use git::{GitFault, GitServer, Repo, Ssh, StaticFiles};
pub use gitward::Gitward;
pub use node::Node;
pub use operators::{Flux, operator};
pub use output::Output;
pub use process::Process;
pub use proxy::{Fault, Proxy, Seen};
pub use registry::Registry;
pub use release::{ReleaseKey, make_release, pack_release};
pub use replica::Replica;
pub use sample::Sample;
pub use standby::Standby;
pub use tools::Tools;
pub use watch::Watch;

/// The root of the workspace.
pub fn workspace() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Polls until `probe` gives a value, and returns it.
///
/// # Panics
/// With `what` and the last answer, where it does not within `patience`.
pub fn eventually<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(20);
    loop {
        let asked = Instant::now();
        match probe() {
            Ok(value) => return value,
            Err(last) if begun.elapsed() > patience => panic!("{what}: not within {patience:?}; last: {last}"),
            // Whoever waits leaves most of the time to what is waited for: a probe may be a whole program.
            Err(_) => std::thread::sleep(pause.max(asked.elapsed() * 2)),
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Whether what was started shall stay, for somebody to look at.
fn keeps() -> bool {
    std::env::var_os("KEEP").is_some_and(|value| !value.is_empty() && value != "0")
}
