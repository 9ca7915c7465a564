//! `gitward check` gives the guard's verdict offline.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
}

fn check(args: &[&str], reviews: &[&str]) -> Output {
    let mut check = Command::new(env!("CARGO_BIN_EXE_gitward"));
    check.arg("check").args(args).arg("--objects").arg(corpus("pinned.json"));
    check.args(reviews.iter().map(|review| corpus(&format!("reviews/{review}.json")))).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_line_per_review_and_an_exit_status_for_all() {
    let output = check(&[], &["git-update", "dev-scale"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        lines(&output),
        [
            json!({"review": "git-update", "verdict": "allow", "reason": "GitOpsIdentity", "fields": []}),
            json!({"review": "dev-scale", "verdict": "deny", "reason": "PinnedObjectScaled", "fields": ["/spec/replicas"]}),
        ]
    );
    assert_eq!(check(&[], &["git-update", "dev-noop-patch"]).status.code(), Some(0));
}

#[test]
fn a_policy_changes_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("policy.yaml");
    let restart = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
    std::fs::write(&policy, format!("kind: GuardPolicy\nspec:\n  mode: Warn\n  allow: [\"{restart}\"]\n")).unwrap();
    let output = check(&["--policy", policy.to_str().unwrap()], &["dev-rollout-restart", "dev-scale"]);
    assert_eq!(output.status.code(), Some(0));
    let verdicts: Vec<_> = lines(&output).iter().map(|line| line["verdict"].clone()).collect();
    assert_eq!(verdicts, ["allow", "warn"]);
}

#[test]
fn what_cannot_be_judged_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.json");
    std::fs::write(&bad, "{}").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gitward")).arg("check").arg(&bad).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("bad.json") && error.contains("not AdmissionReview"), "{error}");

    let policy = dir.path().join("policy.yaml");
    std::fs::write(&policy, "kind: GuardPolicy\nspec: {allow: [spec]}\n").unwrap();
    let output = check(&["--policy", policy.to_str().unwrap()], &["dev-scale"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("spec.allow[0] \"spec\""));
}
