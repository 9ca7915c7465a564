//! The guard's server, from files and without a cluster: bad input, limits, certificates, its end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "guard_server/client.rs"]
mod client;
#[path = "guard_server/overload.rs"]
mod overload;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gitward_test_cluster::eventually;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

struct Guard {
    process: Child,
    dir: tempfile::TempDir,
    port: u16,
    observe: u16,
}

impl Guard {
    fn start(args: &[&str]) -> Guard {
        let dir = tempfile::tempdir().unwrap();
        certificate(dir.path());
        Guard::start_in(dir, args)
    }

    fn start_in(dir: tempfile::TempDir, args: &[&str]) -> Guard {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, observe) = (free(), free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_gitward"));
        command
            .arg("guard")
            .arg("--tls-cert")
            .arg(dir.path().join("tls.crt"))
            .arg("--tls-key")
            .arg(dir.path().join("tls.key"));
        command.arg("--objects-file").arg(corpus("pinned.json"));
        command.args([format!("--listen=127.0.0.1:{port}"), format!("--observe-listen=127.0.0.1:{observe}")]);
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = command.args(args).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let guard = Guard { process, dir, port, observe };
        eventually("the guard is ready", PATIENCE, || {
            let answer = guard.observed("/readyz");
            if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer + &guard.log()) }
        });
        guard
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// What a path of the plain HTTP port answers.
    fn observed(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.observe))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }

    /// Posts a body with curl: the status and the answer.
    fn post(&self, body: &[u8], args: &[&str]) -> (u16, String) {
        let output = self.curl(body, args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (answer, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), answer.to_owned())
    }

    fn curl(&self, body: &[u8], args: &[&str]) -> Output {
        let url = format!("https://localhost:{}/review", self.port);
        let ca = self.dir.path().join("ca.crt");
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--data-binary",
            "@-",
            "--write-out",
            "\n%{http_code}",
            "-H",
            "Expect:",
        ]);
        curl.arg("--cacert").arg(ca).args(args).arg(url);
        curl.env_remove("CURL_CA_BUNDLE").env_remove("SSL_CERT_FILE");
        let mut child =
            curl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("install curl");
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || drop(stdin.write_all(body)));
            child.wait_with_output().unwrap()
        })
    }

    fn peak_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

fn review(name: &str) -> Vec<u8> {
    std::fs::read(corpus(&format!("reviews/{name}.json"))).unwrap()
}

/// Writes an authority, a server's certificate and a client's, each signed by it.
fn certificate(dir: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "an authority");
    std::fs::write(dir.join("ca.crt"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::from_params(&ca, &ca_key);
    for (name, host) in [("tls", "localhost"), ("client", "kube-apiserver")] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
    }
}

fn allowed(answer: &str) -> Value {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    answer["response"]["allowed"].clone()
}

#[test]
fn reviews_are_answered_from_files_over_every_protocol() {
    let guard = Guard::start(&[]);
    for args in [&["--http1.1"][..], &["--http2"], &["--tlsv1.2", "--tls-max", "1.2"], &["--tlsv1.3"]] {
        let (status, answer) = guard.post(&review("dev-scale"), args);
        assert_eq!((status, allowed(&answer)), (200, json!(false)), "{args:?} {answer}");
        assert!(answer.contains("spec.replicas: 3 -> 5"), "{answer}");
        assert_eq!(allowed(&guard.post(&review("git-update"), args).1), json!(true));
    }
    let old = guard.curl(&review("dev-scale"), &["--tlsv1.0", "--tls-max", "1.1"]);
    assert!(!old.status.success(), "TLS 1.1 is no longer spoken");
    let metrics = guard.observed("/metrics");
    assert!(
        metrics.contains("gitward_reviews_denied_total 4") && metrics.contains("gitward_reviews_allowed_total 4"),
        "{metrics}"
    );
}

#[test]
fn warn_and_audit_let_through_what_enforce_refuses_and_log_it() {
    for (mode, warned) in [("Warn", true), ("Audit", false)] {
        let dir = tempfile::tempdir().unwrap();
        certificate(dir.path());
        let policy = dir.path().join("policy.yaml");
        std::fs::write(&policy, format!("spec: {{mode: {mode}}}")).unwrap();
        let guard = Guard::start_in(dir, &["--policy-file", policy.to_str().unwrap()]);
        let (_, answer) = guard.post(&review("dev-patch-replicas"), &[]);
        assert_eq!(allowed(&answer), json!(true), "{answer}");
        assert_eq!(answer.contains("\"warnings\":[\"Deployment shop/web is pinned to git"), warned, "{answer}");
        assert!(guard.log().contains("refused a change"), "{}", guard.log());
    }
}

#[test]
fn bad_input_gets_a_clear_answer_each() {
    let guard = Guard::start(&["--answer-within=60"]);
    let good = String::from_utf8(review("dev-patch-replicas")).unwrap();
    let changed = |pointer: &str, value: Value| {
        let mut review: Value = serde_json::from_str(&good).unwrap();
        *review.pointer_mut(pointer).unwrap() = value;
        review.to_string().into_bytes()
    };
    let deep = "{\"a\":".repeat(100_000) + "1" + &"}".repeat(100_000);
    let items: Vec<Value> = (0..100_000).map(|n| json!({"name": format!("V{n}"), "value": "x"})).collect();
    let twice = good.replacen("\"request\":", "\"request\":null,\"request\":", 1);
    let twice = if twice == good { good.replacen("\"request\" :", "\"request\":null,\"request\":", 1) } else { twice };
    let mut not_utf8 = good.clone().into_bytes();
    let at = good.find("dev").unwrap();
    not_utf8[at] = 0xff;
    for (what, body, status, expected) in [
        ("nothing", Vec::new(), 400, "the body is no AdmissionReview"),
        ("truncated", good.as_bytes()[..good.len() / 2].to_vec(), 400, "EOF while parsing"),
        ("more behind", (good.clone() + "{}").into_bytes(), 400, "trailing characters"),
        ("not UTF-8", not_utf8, 400, "the body is no AdmissionReview"),
        ("an unknown version", changed("/apiVersion", json!("admission.k8s.io/v9")), 400, "not AdmissionReview of"),
        ("another kind", br#"{"apiVersion":"v1","kind":"Pod"}"#.to_vec(), 400, "the body is \"Pod\" of \"v1\""),
        (
            "no request",
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#.to_vec(),
            400,
            "has no request",
        ),
        ("a wrong type", changed("/request/userInfo", json!(5)), 400, "invalid type"),
        (
            "labels that are none",
            changed("/request/oldObject/metadata/labels", json!([])),
            400,
            "metadata.labels is of a wrong type",
        ),
        ("an unknown operation", changed("/request/operation", json!("STEAL")), 400, "unknown variant"),
        ("two requests", twice.into_bytes(), 400, "duplicate field"),
        ("nested deeply", changed("/request/object/spec", json!(null)), 200, "spec"),
        (
            "100,000 items",
            changed("/request/object/spec/template/spec/containers/0/env", json!(items)),
            200,
            "is pinned to git",
        ),
        ("one byte too many", vec![b' '; (20 << 20) + 1], 413, "20971520 bytes at most"),
    ] {
        let (found, answer) = guard.post(&body, &[]);
        assert_eq!(found, status, "{what}: {answer}");
        assert!(answer.contains(expected), "{what}: {answer}");
    }
    let nested = good.replacen("\"replicas\":", &format!("\"x\":{deep},\"replicas\":"), 1);
    let (status, answer) = guard.post(nested.as_bytes(), &[]);
    assert!(status == 400 || (status == 200 && allowed(&answer) == json!(false)), "{status} {answer}");
    assert_eq!(guard.post(good.as_bytes(), &[]).0, 200, "it lives on");
}

#[test]
fn a_slow_sender_is_given_up_and_holds_up_nobody() {
    let guard = Guard::start(&["--answer-within=1"]);
    let mut slow = Command::new("curl");
    let url = format!("https://localhost:{}/review", guard.port);
    slow.args([
        "--silent",
        "--insecure",
        "--limit-rate",
        "1k",
        "--max-time",
        "30",
        "-H",
        "Expect:",
        "--data-binary",
        "@-",
    ]);
    let mut slow = slow.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = slow.stdin.take().unwrap();
    stdin.write_all(&[b' '; 200_000]).unwrap();
    drop(stdin);
    assert_eq!(guard.post(&review("dev-scale"), &[]).0, 200);
    let output = slow.wait_with_output().unwrap();
    // Its connection is closed while it still sends, so that it may not see the answer.
    assert!(!String::from_utf8_lossy(&output.stdout).contains("allowed"));
    let metrics = guard.observed("/metrics");
    assert!(metrics.contains("gitward_reviews_unanswered_total{status=\"503\"} 1"), "{metrics}");
    assert!(guard.log().contains("no answer within 1 s"), "{}", guard.log());
}

#[test]
fn too_many_connections_are_closed_and_the_others_served() {
    let guard = Guard::start(&["--connections=20"]);
    let held: Vec<TcpStream> = (0..30).map(|_| TcpStream::connect(("127.0.0.1", guard.port)).unwrap()).collect();
    eventually("those that are too many are closed", PATIENCE, || {
        let text = guard.log();
        if text.contains("20 connections are open") { Ok(()) } else { Err(text) }
    });
    drop(held);
    eventually("it serves on", PATIENCE, || match guard.post(&review("dev-scale"), &[]).0 {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn memory_stays_bounded_while_many_send_large_bodies() {
    let guard = Guard::start(&["--answer-within=60", "--bodies-mib=24"]);
    let large = vec![b' '; 12 << 20];
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (status, answer) = guard.post(&large, &[]);
                assert_eq!(status, 400, "{answer}");
            });
        }
    });
    // 96 MiB are sent; 24 MiB of bodies may be held, and what reading them takes.
    assert!(guard.peak_mib() < 80, "{} MiB", guard.peak_mib());
}

#[test]
fn a_caller_must_show_its_certificate_where_that_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let ca = dir.path().join("ca.crt").display().to_string();
    let [cert, key] = ["client.crt", "client.key"].map(|name| dir.path().join(name).display().to_string());
    let guard = Guard::start_in(dir, &["--client-ca", &ca]);
    assert!(!guard.curl(&review("dev-scale"), &[]).status.success(), "without a certificate");
    let other = tempfile::tempdir().unwrap();
    certificate(other.path());
    let [wrong, wrong_key] = ["client.crt", "client.key"].map(|name| other.path().join(name).display().to_string());
    assert!(
        !guard.curl(&review("dev-scale"), &["--cert", &wrong, "--key", &wrong_key]).status.success(),
        "of another authority"
    );
    assert_eq!(guard.post(&review("dev-scale"), &["--cert", &cert, "--key", &key]).0, 200);
}

#[test]
fn the_certificate_is_swapped_and_the_end_comes_without_an_error_under_load() {
    let mut guard = Guard::start(&["--drain-for=3"]);
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pid = guard.process.id().to_string();
    let wait_answered = |more: usize| {
        let before = answered.load(Ordering::Relaxed);
        eventually("requests are answered", PATIENCE, || {
            let now = answered.load(Ordering::Relaxed);
            if now >= before + more { Ok(()) } else { Err(format!("{now} after {before}")) }
        });
    };
    let failed = std::thread::scope(|scope| {
        let load: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut failed = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        // Whoever signs the certificate at the moment: it changes meanwhile.
                        let (status, answer) = guard.post(&review("dev-scale"), &["--insecure"]);
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                        if status != 200 {
                            failed.push(answer);
                        }
                    }
                    failed
                })
            })
            .collect();
        wait_answered(8);
        let before = guard.log().matches("loaded the guard's certificate").count();
        certificate(guard.dir.path());
        eventually("the certificate is reloaded", PATIENCE, || {
            if guard.log().matches("loaded the guard's certificate").count() > before {
                Ok(())
            } else {
                Err(guard.log())
            }
        });
        wait_answered(8);
        Command::new("kill").arg(&pid).status().unwrap();
        // It serves on while it drains; new connections come until nobody is sent to it any more.
        wait_answered(4);
        stop.store(true, Ordering::Relaxed);
        load.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<String>>()
    });
    assert!(failed.is_empty(), "{failed:?}");
    assert!(guard.process.wait().unwrap().success(), "{}", guard.log());
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| dir.path().join(name).display().to_string());
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gitward"));
        command.args(["guard", "--listen=127.0.0.1:0", "--observe-listen=127.0.0.1:0"]).args(args);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let with = |args: &[&str]| run(&[&["--tls-cert", &cert, "--tls-key", &key], args].concat());
    let policy = file("policy.yaml", "spec: {mode: Enforce, modus: x}");
    assert!(with(&["--policy-file", &policy]).contains("there is no field spec.modus in a GuardPolicy"));
    let objects = file("objects.json", "{}");
    assert!(with(&["--objects-file", &objects]).contains("it takes a List of objects"));
    assert!(with(&["--policy-file", "/no/such/file"]).contains("/no/such/file"));
    let empty = file("empty.crt", "");
    assert!(run(&["--tls-cert", &empty, "--tls-key", &key]).contains("certificate and key cannot be used"));
    assert!(run(&["--policy-file", &policy]).contains("--tls-cert"), "it needs a certificate");
}
