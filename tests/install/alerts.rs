//! The alert rules, the dashboard and the documents name metrics that the processes serve, and the documents name all of those.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::OnceLock;

use gitward_test_cluster::{Output, eventually, workspace};
use serde_json::Value;

use crate::rendered::with_everything;
use crate::shop::{PATIENCE, SYSTEM};

/// What Prometheus adds to a metric by itself.
const OF_THE_TARGET: [&str; 2] = ["job", "instance"];

/// The metrics of gitward's that an expression of PromQL names, and the labels by which it selects them. No parser: that it is
/// one for Prometheus, a Prometheus says that loads it.
fn selected(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    for (at, _) in expression.match_indices("gitward_") {
        let rest = &expression[at..];
        let (metric, rest) = rest.split_at(rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()));
        let selector =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(selector, _)| selector);
        let labels = selector.split(',').filter_map(|matcher| matcher.split(['=', '!']).next()).map(str::trim);
        found.push((metric, labels.filter(|label| !label.is_empty()).collect()));
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The alert rules as the API server took them: the operator's definition has judged their form.
fn rules() -> Vec<Value> {
    let rules = with_everything().cluster.get(&["prometheusrule/gitward", "-n", SYSTEM]).unwrap();
    let groups = rules["spec"]["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The expressions of the dashboard, with what Grafana puts in for the variable.
fn dashboard() -> Vec<String> {
    let map = with_everything().cluster.get(&["configmap/gitward-dashboard", "-n", SYSTEM]).unwrap();
    let dashboard: Value = serde_json::from_str(map["data"]["gitward.json"].as_str().unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m")).collect()
}

/// The names of the families that are served, and of their samples with the labels of each.
type Served = (BTreeSet<String>, BTreeMap<String, BTreeSet<String>>);

/// The metrics that both processes serve, after everything that makes one appear.
fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(read_metrics)
}

fn read_metrics() -> Served {
    let shop = with_everything();
    // A call without a verdict, and a refusal.
    let guard = format!("https://127.0.0.1:{}/review", shop.gitward.guard_port());
    Output::of(Command::new("curl").args(["--insecure", "--silent", "--data", "no review", &guard]), None).ok();
    shop.assert_guarded("for the metrics");
    eventually("every gauge is there", PATIENCE, || {
        let text = shop.gitward.reconciler_metrics();
        if text.contains("gitward_strays{") { Ok(()) } else { Err(text) }
    });
    let text = shop.gitward.guard_metrics() + &shop.gitward.reconciler_metrics();
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let mut samples: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("gitward_")) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split("\",").filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        samples.entry(name.to_owned()).or_default().extend(labels);
    }
    (families.map(str::to_owned).collect(), samples)
}

#[test]
fn every_metric_that_is_asked_for_is_served() {
    let (_, samples) = served();
    let expressions = rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned()).chain(dashboard());
    let expressions: Vec<String> = expressions.collect();
    assert!(expressions.len() > 20);
    for expression in expressions {
        let selected = selected(&expression);
        assert!(!selected.is_empty(), "{expression}");
        for (metric, labels) in selected {
            let known = samples.get(metric).unwrap_or_else(|| panic!("{expression}: nobody serves {metric}"));
            let unknown = labels.iter().find(|label| !known.contains(**label) && !OF_THE_TARGET.contains(label));
            assert_eq!(unknown, None, "{expression}: {metric} has {known:?}");
        }
    }
}

#[test]
fn every_alert_says_what_it_is_and_what_to_do() {
    let mut names = BTreeSet::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        for text in ["summary", "description"] {
            assert!(rule["annotations"][text].as_str().is_some_and(|text| text.len() > 10), "{name} has no {text}");
        }
    }
}

/// Whoever an alert wakes looks for its name there.
#[test]
fn the_runbook_has_a_line_for_every_alert_and_names_no_other() {
    let runbook = std::fs::read_to_string(workspace().join("docs/runbook.md")).unwrap();
    let named = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !is_word(c)).filter(|word| word.starts_with("Gitward")).map(str::to_owned).collect()
    };
    let lines: Vec<&str> = runbook.lines().filter(|line| line.starts_with("| `Gitward")).collect();
    let alerts: BTreeSet<String> = rules().iter().map(|rule| rule["alert"].as_str().unwrap().to_owned()).collect();
    assert_eq!(named(&lines.join("\n")), alerts);
    assert_eq!(named(&runbook), alerts);
}

#[test]
fn the_documents_name_every_metric_and_no_other() {
    let (families, samples) = served();
    let mut named = BTreeSet::new();
    let files = std::fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        let text = std::fs::read_to_string(file).unwrap();
        let words = text.split(|c: char| !is_word(c));
        named.extend(words.filter(|word| word.starts_with("gitward_")).map(str::to_owned));
    }
    // The library that decides, and the crate of these tests, are no metrics.
    named.retain(|name| !["gitward_core", "gitward_test_cluster"].contains(&name.as_str()));
    let is_named = |family: &&String| !named.iter().any(|name| name.trim_end_matches("_total") == family.as_str());
    let missing: Vec<&String> =
        families.iter().filter(|family| family.starts_with("gitward_")).filter(is_named).collect();
    assert_eq!(missing, Vec::<&String>::new(), "no document says what these are");
    let unknown: Vec<&String> =
        named.iter().filter(|name| !families.contains(*name) && !samples.contains_key(*name)).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "nobody serves these");
}
