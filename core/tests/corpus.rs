//! The recorded AdmissionReviews of `tests/corpus`, judged under the built-in policy.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gitward_core::verdict::{Access, Listed, Pattern, Policy, Request, Verdict};
use serde_json::Value;
use serde_json::value::to_raw_value;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn verdict(review: &Path, policy: &Policy, live: &Listed) -> Verdict {
    let body = std::fs::read(review).unwrap();
    let request = Request::parse(&body).unwrap();
    live.judge(&request, policy)
}

fn mismatch(expected: &Value, verdict: &Verdict) -> Option<String> {
    let fields: BTreeSet<String> = verdict.fields.iter().map(|f| f.path.to_string()).collect();
    let wanted: BTreeSet<String> =
        expected["fields"].as_array().unwrap().iter().map(|f| f.as_str().unwrap().to_owned()).collect();
    let same_fields = fields == wanted || (wanted.is_empty() && expected["verdict"] == "deny");
    let same_reason = expected["reason"].as_str().is_none_or(|reason| reason == verdict.reason.as_str());
    if expected["verdict"] == verdict.decision.as_str() && same_fields && same_reason {
        return None;
    }
    Some(format!(
        "expected {} {wanted:?}, got {:?} {:?} {fields:?}",
        expected["verdict"], verdict.decision, verdict.reason
    ))
}

/// The built-in policy, with what an expectation says of it.
fn policy(expected: &Value) -> Policy {
    let mut policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
    let said = &expected["policy"];
    let texts = |name: &str| -> Vec<String> {
        said[name].as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    policy.operators = texts("operators");
    policy.exclusive.namespaces = texts("exclusive");
    let excepted = [("", "Event"), ("events.k8s.io", "Event"), ("coordination.k8s.io", "Lease")];
    policy.exclusive.except = excepted.map(|(group, kind)| (group.to_owned(), kind.to_owned())).into();
    policy.allow = texts("allow").iter().map(|pattern| Pattern::parse(pattern).unwrap()).collect();
    let access = |name: &str, default: Access| match said[name].as_str() {
        None => default,
        Some("Refuse") => Access::Refuse,
        Some(other) => panic!("{name}: {other}"),
    };
    policy.descendants.run_job = access("runJob", policy.descendants.run_job);
    policy.descendants.port_forward = access("portForward", policy.descendants.port_forward);
    policy
}

fn objects(file: &Path, policy: &Policy) -> Listed {
    let live = read(file);
    let live = live["items"].as_array().unwrap().iter().map(|item| to_raw_value(item).unwrap());
    Listed::new(live, &policy.owner)
}

/// Runs the reviews of a folder. Each has the live objects of its expectation, or those of the set.
fn run(set: &str, pinned: &str) {
    let dir = corpus().join(set);
    let expected = read(&dir.join("expected.json"));
    let mut wrong = Vec::new();
    for expected in expected.as_array().unwrap() {
        let name = expected["review"].as_str().unwrap();
        let policy = policy(expected);
        let live = objects(&dir.join(expected["objects"].as_str().unwrap_or(pinned)), &policy);
        let verdict = verdict(&dir.join("reviews").join(format!("{name}.json")), &policy, &live);
        wrong.extend(mismatch(expected, &verdict).map(|text| format!("{name}: {text}")));
    }
    assert!(wrong.is_empty(), "{} of {set:?} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn first_set() {
    run("", "pinned.json");
}

#[test]
fn status_and_children() {
    run("status-and-children", "pinned.json");
}

#[test]
fn red_team() {
    run("red-team", "pinned.json");
}

#[test]
fn second_edition() {
    run("second-edition", "../red-team/pinned.json");
}
