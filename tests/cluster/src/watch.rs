//! `kubectl get --watch`, line by line with the time at which each came.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A running watch. Ends with the value.
pub struct Watch {
    kubectl: Child,
    lines: Receiver<(Instant, String)>,
}

impl Watch {
    pub(crate) fn start(mut kubectl: Command) -> Watch {
        kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut kubectl = kubectl.spawn().expect("kubectl can be started");
        let stdout = kubectl.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Ends with the pipe, or when nobody listens any more.
            let _ = lines.map(|line| (Instant::now(), line)).try_for_each(|line| sender.send(line));
        });
        Watch { kubectl, lines }
    }

    /// Waits for a line that `wanted` accepts, and gives the time at which it came.
    ///
    /// # Panics
    /// Where none comes within `patience`.
    pub fn wait(&self, what: &str, patience: Duration, wanted: impl Fn(&str) -> bool) -> Instant {
        let end = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((at, line)) if wanted(&line) => return at,
                Ok(_) => {}
                Err(_) => panic!("{what}: not seen within {patience:?}"),
            }
        }
    }
}

impl Watch {
    /// All lines that came so far and nobody waited for.
    pub fn lines(&self) -> Vec<String> {
        self.lines.try_iter().map(|(_, line)| line).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}
