//! Further guards beside the first, each with its identity and ports, as the Pods of one Deployment.

use std::time::Duration;

use crate::control_plane::free_ports;
use crate::gitward::Running;
use crate::{Endpoint, Gitward, eventually};

/// A guard of its own. Ends with the value.
pub struct Replica {
    running: Running,
    endpoint: Endpoint,
}

impl Gitward<'_> {
    /// Starts another guard, and waits until it is ready. The name is for its log.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn replica(&self, name: &str) -> Replica {
        let [serve, observe] = free_ports();
        let endpoint = Endpoint { serve, observe };
        Replica { running: self.start_at("gitward-guard", name, observe, Some(serve)), endpoint }
    }

    /// Where the first guard is.
    pub fn guard_endpoint(&self) -> Endpoint {
        Endpoint { serve: self.guard_port(), observe: self.guard_observe_port() }
    }
}

impl Replica {
    /// Where it is.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Its log.
    pub fn log(&self) -> String {
        self.running.process.log()
    }

    /// Its metrics.
    pub fn metrics(&self) -> String {
        crate::gitward::ask(self.endpoint.observe, "/metrics").unwrap_or_default()
    }

    /// Asks it to end, as a kubelet does, and waits until it has.
    ///
    /// # Panics
    /// Where it does not end within the time that Pods have for it.
    pub fn terminate(mut self) -> String {
        self.running.process.signal("TERM");
        eventually("a guard ends", Duration::from_secs(30), || {
            if self.running.process.runs() { Err("it runs".to_owned()) } else { Ok(()) }
        });
        let log = self.running.process.log();
        self.running.process.stop();
        log
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.running.process.kill();
    }
}
