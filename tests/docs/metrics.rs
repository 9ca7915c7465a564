//! docs/metrics.md and what the processes serve are the same: names, types, labels, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use gitward_test_cluster::{ControlPlane, Output, eventually};
use serde_json::json;

use crate::read;
use crate::stage::{PATIENCE, Stage};

/// The type and the labels of each metric.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// What a process serves. A histogram's own label is left out.
fn served(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    let mut base = (String::new(), String::new());
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            base = (format!("{name}{suffix}"), kind.to_owned());
        } else if !base.0.is_empty() && line.starts_with("gitward_") {
            let labels = line.split_once('{').map_or("", |(_, rest)| rest.split('}').next().unwrap_or_default());
            let names = labels.split(',').filter_map(|label| label.split_once('=')).map(|(name, _)| name.to_owned());
            let metric = metrics.entry(base.0.clone()).or_insert_with(|| (base.1.clone(), BTreeSet::new()));
            metric.1.extend(names.filter(|name| name != "le"));
        }
    }
    metrics
}

/// What the document says of a process; the section `Both` is of each.
fn documented(document: &str, process: &str) -> Metrics {
    let sections =
        document.split("\n## ").filter(|section| section.starts_with(process) || section.starts_with("Both"));
    let rows = sections.flat_map(str::lines).filter(|line| line.starts_with("| `gitward_"));
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let name = words(cells[1]).concat();
        assert!(cells[4].len() > 10, "what does {name} mean?");
        (name, (cells[2].to_owned(), words(cells[3]).into_iter().collect()))
    })
    .collect()
}

/// Lets happen whatever is counted with labels.
fn live(stage: &mut Stage<'_>) {
    stage.scene("gitward follows the shop");
    stage.kubectl(&["create", "configmap", "stray", "-n", "shop"]).ok();
    let strays = r#"{"spec":{"exclusive":{"namespaces":["shop"]}}}"#;
    stage.kubectl(&["patch", "guardpolicy/default", "--type=merge", "-p", strays]).ok();
    stage.kubectl(&["label", "deployment/web", "-n", "shop", "team=mine"]).refused();
    let rule =
        json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"]}]);
    stage.apply(&json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "around"}, "webhooks": [{"name": "around.example.com", "rules": rule, "failurePolicy": "Ignore",
            "clientConfig": {"url": "https://127.0.0.1:1/"}, "sideEffects": "None", "admissionReviewVersions": ["v1"]}]}));
    let guard = format!("https://127.0.0.1:{}/review", stage.gitward.guard_port());
    Output::of(Command::new("curl").args(["--silent", "--insecure", "--data", "no review", &guard]), None).ok();
}

#[test]
fn every_metric_is_documented_and_every_documented_one_is_served() {
    let cluster = ControlPlane::start();
    let mut stage = Stage::new(&cluster);
    live(&mut stage);
    let document = read("docs/metrics.md");
    for process in ["The guard", "The reconciler"] {
        let expected = documented(&document, process);
        assert!(expected.len() > 5, "{expected:?}");
        eventually(&format!("{process} serves what is documented"), PATIENCE, || {
            let text =
                if process == "The guard" { stage.gitward.guard_metrics() } else { stage.gitward.reconciler_metrics() };
            let served = served(&text);
            if served == expected { Ok(()) } else { Err(format!("served {served:#?}\ndocumented {expected:#?}")) }
        });
    }
}
