//! The two servers, as processes whose CPU time can be read.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::reviews;

pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
}

/// A self-signed certificate, and its files in a folder.
pub(crate) fn certificate(dir: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

impl Server {
    pub(crate) fn guard(dir: &Path) -> Server {
        std::fs::write(dir.join("policy.yaml"), reviews::POLICY).unwrap();
        std::fs::write(dir.join("objects.json"), reviews::objects()).unwrap();
        let [port, observe] = [free_port(), free_port()];
        let mut command = Command::new(env!("CARGO_BIN_EXE_gitward"));
        command.arg("guard").arg("--policy-file").arg(dir.join("policy.yaml"));
        command.arg("--objects-file").arg(dir.join("objects.json"));
        command.arg("--tls-cert").arg(dir.join("tls.crt")).arg("--tls-key").arg(dir.join("tls.key"));
        command.args([format!("--listen=127.0.0.1:{port}"), format!("--observe-listen=127.0.0.1:{observe}")]);
        Server::start(command.stdout(std::fs::File::create(dir.join("guard.log")).unwrap()), port)
    }

    pub(crate) fn noop(dir: &Path) -> Server {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("noop").arg(dir.join("tls.crt")).arg(dir.join("tls.key")).arg(format!("127.0.0.1:{port}"));
        Server::start(command.stdout(Stdio::null()), port)
    }

    fn start(command: &mut Command, port: u16) -> Server {
        let process = command.spawn().expect("it starts");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { process, port }
    }

    /// The CPU time of all its threads so far.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let nanos = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// What it holds in memory.
    pub(crate) fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
