//! The recorded AdmissionReviews of `tests/corpus`, judged under the built-in policy.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gitward_core::verdict::{Listed, Policy, Request, Verdict};
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
    if expected["verdict"] == verdict.decision.as_str() && same_fields {
        return None;
    }
    Some(format!(
        "expected {} {wanted:?}, got {:?} {:?} {fields:?}",
        expected["verdict"], verdict.decision, verdict.reason
    ))
}

fn run(set: &str) {
    let dir = corpus().join(set);
    let policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
    let live = read(&dir.join("pinned.json"));
    let live = live["items"].as_array().unwrap().iter().map(|item| to_raw_value(item).unwrap());
    let live = Listed::new(live, &policy.owner);
    let expected = read(&dir.join("expected.json"));
    let mut wrong = Vec::new();
    for expected in expected.as_array().unwrap() {
        let name = expected["review"].as_str().unwrap();
        let verdict = verdict(&dir.join("reviews").join(format!("{name}.json")), &policy, &live);
        wrong.extend(mismatch(expected, &verdict).map(|text| format!("{name}: {text}")));
    }
    assert!(wrong.is_empty(), "{} of {set:?} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn first_set() {
    run("");
}

#[test]
fn status_and_children() {
    run("status-and-children");
}

#[test]
fn red_team() {
    run("red-team");
}
