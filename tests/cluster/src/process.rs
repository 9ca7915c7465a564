//! Child processes that never outlive us.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Holds a process by a pipe: when the other end closes, for whatever reason, the process is ended. A signal on our
/// death would need `prctl`, and with it unsafe code.
const TETHER: &str = r#"
# A signal to everybody in the terminal ends the cat below, and with it the command.
trap : INT TERM HUP
pid_file=$1; shift
"$@" </dev/null & echo $! >"$pid_file"
cat >/dev/null
kill $! 2>/dev/null
# An API server whose etcd is gone already never ends by itself.
n=0; while kill -0 $! 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
kill -9 $! 2>/dev/null
wait $!
"#;

/// Waits until we are gone, in whatever way, and removes a folder, unless it was marked to be kept.
const JANITOR: &str = r#"
# Ctrl-C reaches everybody in the terminal; somebody has to clean up.
trap "" INT TERM HUP
cat >/dev/null
# What ends beside us may still write for a moment.
n=0; while [ -e "$1" ] && [ ! -e "$1/keep" ] && [ $n -lt 8 ]; do rm -rf "$1"; sleep 1; n=$((n + 1)); done
"#;

/// Removes a folder after our end, also where nobody drops anything: a test's statics are never dropped.
pub(crate) struct Janitor {
    sh: Child,
    dir: PathBuf,
}

impl Janitor {
    pub(crate) fn of(dir: &Path) -> Janitor {
        let mut sh = Command::new("sh");
        sh.args(["-c", JANITOR, "sh"]).arg(dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Janitor { sh: sh.spawn().expect("sh can be started"), dir: dir.to_owned() }
    }

    pub(crate) fn keep(&self) {
        let _ = std::fs::write(self.dir.join("keep"), "");
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        drop(self.sh.stdin.take());
        let _ = self.sh.wait();
    }
}

/// A running program with its log.
pub struct Process {
    tether: Child,
    log: PathBuf,
    pid: PathBuf,
}

impl Process {
    /// Starts `command`, with its output appended to `<dir>/<name>.log`.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(dir: &Path, name: &str, command: &Command) -> Process {
        let (log, pid) = (dir.join(format!("{name}.log")), dir.join(format!("{name}.pid")));
        let file = File::options().create(true).append(true).open(&log).expect("the log can be written");
        let mut tether = Command::new("sh");
        tether.args(["-c", TETHER, "sh"]).arg(&pid).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => tether.env(key, value),
                None => tether.env_remove(key),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            tether.current_dir(dir);
        }
        tether.stdin(Stdio::piped()).stdout(file.try_clone().expect("a second handle")).stderr(file);
        Process { tether: tether.spawn().expect("sh can be started"), log, pid }
    }

    /// Everything that it printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // It may have ended before, and its number may be another's by now.
        if self.kernel_status("PPid") == Some(self.tether.id().into()) {
            kill(&self.pid);
        }
        self.stop();
    }

    /// Sends it a signal, such as `STOP`.
    ///
    /// # Panics
    /// Where it is gone.
    pub fn signal(&self, name: &str) {
        let pid = std::fs::read_to_string(&self.pid).expect("it was started");
        let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.trim()).status();
        assert!(sent.is_ok_and(|status| status.success()), "the process is gone");
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.kernel_status("VmHWM").is_some()
    }

    /// The file with the number of the process.
    pub fn pid_file(&self) -> &Path {
        &self.pid
    }

    /// A number that the kernel tells of it (`/proc/<pid>/status`), such as `VmHWM`, the most memory that it had, in KiB;
    /// `None` where it is gone.
    pub fn kernel_status(&self, field: &str) -> Option<u64> {
        let pid = std::fs::read_to_string(&self.pid).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", pid.trim())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) {
        drop(self.tether.stdin.take());
        let _ = self.tether.wait();
    }
}

/// Ends the process whose number stands in a file, as a crash would, and waits until it does nothing any more.
pub(crate) fn kill(pid_file: &Path) {
    let Ok(pid) = std::fs::read_to_string(pid_file) else { return };
    let _ = Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status();
    let ended = || {
        // `pid (name) state …`, proc_pid_stat(5): a dead process is a zombie until its parent looks.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with(['Z', 'X']))
    };
    crate::eventually("a killed process is dead", Duration::from_secs(10), || {
        if ended() { Ok(()) } else { Err(format!("process {} lives", pid.trim())) }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}
