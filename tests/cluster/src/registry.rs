//! A real OCI registry over https, with a certificate of its own authority, that lets one user in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::certificates::issue;
use crate::control_plane::free_ports;
use crate::process::Janitor;
use crate::{Output, Process, Tools, eventually};

/// Who is let in.
const USER: &str = "robot";
/// With this password.
const PASSWORD: &str = "let-me-pull";
/// The line of an htpasswd file that says so; the registry only reads bcrypt.
const HTPASSWD: &str = "robot:$2b$04$abcdefghijklmnopqrstuuwdkGTL1VXXceFsFtU9LFKKZr/jusE2.\n";

/// An OCI registry. Ends with the value.
pub struct Registry {
    dir: PathBuf,
    process: Process,
    _janitor: Janitor,
    port: u16,
    ca: String,
}

impl Registry {
    /// Starts one.
    ///
    /// # Panics
    /// Where it does not come up, with its log.
    pub fn start() -> Registry {
        let dir = TempDir::with_prefix("gitward-registry-").expect("a temporary folder").keep();
        let janitor = Janitor::of(&dir);
        let [port] = free_ports();
        let issued = issue();
        let file = |name: &str, content: &str| {
            let path = dir.join(name);
            std::fs::write(&path, content).expect("the file can be written");
            path
        };
        let config = json!({
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": dir.join("stored")}},
            "auth": {"htpasswd": {"realm": "charts", "path": file("htpasswd", HTPASSWD)}},
            "http": {"addr": format!("127.0.0.1:{port}"), "secret": "of this test", "tls": {
                "certificate": file("registry.crt", &issued.certificate.pem()),
                "key": file("registry.key", &issued.key.serialize_pem()),
            }},
        });
        file("ca.crt", &issued.ca);
        let mut registry = Command::new(Tools::get().path("registry"));
        // It reads YAML, of which JSON is a part.
        registry.arg("serve").arg(file("config.yaml", &config.to_string())).env("OTEL_TRACES_EXPORTER", "none");
        let process = Process::start(&dir, "registry", &registry);
        eventually("the registry listens", Duration::from_secs(10), || {
            let connected = std::net::TcpStream::connect(("127.0.0.1", port));
            connected.map(drop).map_err(|error| format!("{error}\n{}", process.log_tail()))
        });
        Registry { dir, process, _janitor: janitor, port, ca: issued.ca }
    }

    /// The URL of a folder of charts.
    pub fn url(&self, folder: &str) -> String {
        format!("oci://127.0.0.1:{}/{folder}", self.port)
    }

    /// The authority of its certificate, as PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Name and password of the one user.
    pub fn login(&self) -> (&'static str, &'static str) {
        (USER, PASSWORD)
    }

    /// Packages a chart as a version and pushes it into a folder, by the real helm.
    ///
    /// # Panics
    /// Where helm fails.
    pub fn push(&self, chart: &Path, version: &str, folder: &str) {
        let packaged = TempDir::new_in(&self.dir).expect("a folder");
        let to = packaged.path().display().to_string();
        self.helm(&["package", &chart.display().to_string(), "--version", version, "--destination", &to]).ok();
        let archive = std::fs::read_dir(packaged.path()).expect("the folder").next().expect("helm packages one chart");
        let archive = archive.expect("the archive").path().display().to_string();
        let ca = self.dir.join("ca.crt").display().to_string();
        let who = ["--username", USER, "--password", PASSWORD, "--ca-file", &ca];
        let pushed = self.helm(&[&["push", &archive, &self.url(folder)], who.as_slice()].concat());
        assert_eq!(pushed.status, 0, "{}\n{}", pushed.stderr, self.process.log_tail());
    }

    fn helm(&self, args: &[&str]) -> Output {
        let mut helm = Command::new(Tools::get().path("helm"));
        Output::of(helm.args(args).env("HOME", &self.dir), None)
    }
}
