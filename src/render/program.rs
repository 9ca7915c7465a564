//! Running Helm and kustomize: without our environment, and within limits of time, memory and output.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

use super::RenderError;

/// How long a program may take.
const TIME: Duration = Duration::from_secs(120);
/// How much memory it may write to, in bytes.
const MEMORY: u64 = 1 << 30;
/// How much it may print.
const OUTPUT: u64 = 64 << 20;
/// How much of what it says when it fails is read.
const COMPLAINT: u64 = 64 << 10;
/// Where nobody listens (RFC 863's port): a program that should not reach the network does not.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The programs that render.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Where `helm` is.
    pub helm: PathBuf,
    /// Where `kustomize` is.
    pub kustomize: PathBuf,
}

/// One run of a program.
pub(super) struct Run<'a> {
    pub(super) program: &'a Path,
    /// The program with its subcommand, as people know it.
    pub(super) name: &'a str,
    pub(super) args: Vec<String>,
    /// A folder of its own, for whatever it wants to write.
    pub(super) home: &'a Path,
    /// Whether it may reach the network.
    pub(super) network: bool,
}

impl Run<'_> {
    /// Runs it, and returns what it prints.
    pub(super) async fn output(self) -> Result<Vec<u8>, RenderError> {
        let failed = |message: String| RenderError::Program { program: self.name.to_owned(), message };
        let mut child = self.command().spawn().map_err(|error| {
            failed(format!("{} cannot be run: {error}; it belongs into the reconciler's image", self.program.display()))
        })?;
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
            // Where the system refuses, the container's own limit holds.
            let _ = prlimit(Some(pid), Resource::Data, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) });
        }
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let run = async {
            let (out, err) = tokio::try_join!(read(out, OUTPUT + 1), read(err, COMPLAINT))?;
            if out.len() as u64 > OUTPUT {
                return Ok((out, err, None));
            }
            Ok::<_, std::io::Error>((out, err, Some(child.wait().await?)))
        };
        let Ok(ended) = tokio::time::timeout(TIME, run).await else {
            return Err(failed(format!("it was not through after {} s", TIME.as_secs())));
        };
        match ended {
            Ok((out, _, Some(status))) if status.success() => Ok(out),
            Ok((_, err, Some(status))) => Err(failed(complaint(&err, &status.to_string(), self.home))),
            Ok((_, _, None)) => Err(failed(format!("it prints more than {} MiB", OUTPUT >> 20))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(&self.args).current_dir(self.home).env_clear().kill_on_drop(true);
        command.env("HOME", self.home).env("TMPDIR", self.home).env("GOMEMLIMIT", (MEMORY * 3 / 4).to_string());
        if self.network {
            for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "PATH"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
        } else {
            command.env("HTTP_PROXY", NOWHERE).env("HTTPS_PROXY", NOWHERE);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// What a program said when it failed, without the folder that nobody knows.
fn complaint(said: &[u8], status: &str, home: &Path) -> String {
    let said = String::from_utf8_lossy(said).replace(&format!("{}/", home.display()), "");
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    // Go's runtime prints pages when memory ends.
    match lines.iter().find(|line| line.starts_with("fatal error:") || line.starts_with("runtime:")) {
        Some(line) => format!("{line} (it may use {} MiB of memory)", MEMORY >> 20),
        None if lines.is_empty() => status.to_owned(),
        None => lines.join(" ").trim_start_matches("Error: ").chars().take(2000).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_sees_nothing_of_our_environment() {
        let names = async |network| {
            let run =
                Run { program: Path::new("/usr/bin/env"), name: "env", args: vec![], home: Path::new("/tmp"), network };
            let text = String::from_utf8(run.output().await.unwrap()).unwrap();
            text.lines().filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect::<Vec<_>>()
        };
        let mut alone = names(false).await;
        alone.sort();
        assert_eq!(alone, ["GOMEMLIMIT", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "TMPDIR"]);
        // A user's own variables are there in every test run; CARGO_MANIFEST_DIR for one.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        assert!(!names(true).await.iter().any(|name| name.starts_with("CARGO") || name.starts_with("KUBE")));
    }
}
