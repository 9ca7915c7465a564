//! `gitward certs`: a certificate for a guard on this machine.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gitward_test_cluster::{Output, Process, eventually};

fn gitward(dir: &Path, args: &[&str]) -> Output {
    Output::of(Command::new(env!("CARGO_BIN_EXE_gitward")).current_dir(dir).args(args), None)
}

#[test]
fn a_guard_with_a_local_certificate_is_trusted_by_who_has_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let printed = gitward(dir.path(), &["certs"]);
    let line = printed.ok().lines().find(|line| line.contains("gitward guard")).unwrap().trim().to_owned();
    assert_eq!(line, "gitward guard --tls-cert certs/local/tls.crt --tls-key certs/local/tls.key");
    let key = std::fs::metadata(dir.path().join("certs/local/tls.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);

    // As it says, at ports that are free.
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, observe) = (free(), free());
    let mut guard = Command::new(env!("CARGO_BIN_EXE_gitward"));
    guard.current_dir(dir.path()).args(line.split(' ').skip(1));
    guard.args([format!("--listen=127.0.0.1:{port}"), format!("--observe-listen=127.0.0.1:{observe}")]);
    let guard = Process::start(dir.path(), "guard", &guard);
    for host in ["localhost", "127.0.0.1"] {
        eventually(&format!("the guard answers at {host}"), Duration::from_secs(30), || {
            let mut curl = Command::new("curl");
            curl.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE").current_dir(dir.path());
            curl.args(["--silent", "--show-error", "--cacert", "certs/local/ca.crt", "--data", "{}"]);
            let output = Output::of(curl.arg(format!("https://{host}:{port}/review")), None);
            let answered = output.stdout.contains("the body is");
            if answered { Ok(()) } else { Err(format!("{output:?} {}", guard.log_tail())) }
        });
    }
}

#[test]
fn what_is_there_is_kept_unless_it_is_forced() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join("mine").join(name)).unwrap();
    gitward(dir.path(), &["certs", "mine", "--name", "guard.example.com"]).ok();
    let before = (read("ca.crt"), read("tls.crt"), read("tls.key"));
    let refused = gitward(dir.path(), &["certs", "mine"]);
    assert!(refused.refused().contains("mine/ca.crt is there already; --force writes over it"), "{}", refused.stderr);
    assert_eq!((read("ca.crt"), read("tls.crt"), read("tls.key")), before);
    gitward(dir.path(), &["certs", "mine", "--force"]).ok();
    assert_ne!(read("tls.key"), before.2);
    let wrong = gitward(dir.path(), &["certs", "other", "--name", "no name"]);
    assert!(wrong.refused().contains("\"no name\" is no host name and no address"), "{}", wrong.stderr);
}
