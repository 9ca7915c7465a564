//! Everything that the API server serves, and what gitward does about writes of it that git does not declare. What git declares
//! is asked about in every resource and subresource (`every_kind.rs`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::World;

/// One line per resource or subresource that can be written: its name, and either the webhook entries and admission policies
/// that ask about it, or why it is open.
const TABLE: &str = include_str!("served.txt");
/// Verbs that change something.
const WRITES: [&str; 4] = ["create", "update", "patch", "delete"];
/// Subresources that are used by other requests than these.
const CONNECTS: [&str; 4] = ["attach", "exec", "portforward", "proxy"];

/// What is served and can be written, as `<resource>[/<subresource>][.<group>]`.
fn served(world: &World) -> BTreeSet<String> {
    let raw = |path: &str| -> Value {
        serde_json::from_str(world.cluster.kubectl("admin", &["get", "--raw", path]).ok()).unwrap()
    };
    let groups = raw("/apis");
    let versions = groups["groups"].as_array().unwrap().iter().flat_map(|group| group["versions"].as_array().unwrap());
    let paths = versions.map(|version| format!("/apis/{}", version["groupVersion"].as_str().unwrap()));
    let mut found = BTreeSet::new();
    for path in paths.chain(["/api/v1".to_owned()]) {
        let group = path.split('/').nth(2).filter(|_| path.starts_with("/apis")).unwrap_or_default().to_owned();
        // Other tests make definitions.
        if group.contains('.') && !group.ends_with(".k8s.io") && group != "gitward.dev" {
            continue;
        }
        for resource in raw(&path)["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let has = |verb: &str| resource["verbs"].as_array().unwrap().iter().any(|has| has == verb);
            let connects = name.split_once('/').is_some_and(|(_, sub)| CONNECTS.contains(&sub));
            if WRITES.into_iter().any(has) || connects {
                let dot = if group.is_empty() { "" } else { "." };
                found.insert(format!("{name}{dot}{group}"));
            }
        }
    }
    found
}

/// Whether a rule of an entry or policy covers a resource.
fn covers(rule: &Value, named: &str) -> bool {
    let (name, group) = named.split_once('.').unwrap_or((named, ""));
    let any = |list: &str, wanted: &[&str]| {
        rule[list].as_array().unwrap().iter().any(|item| wanted.contains(&item.as_str().unwrap()))
    };
    let resource = name.split('/').next().unwrap();
    let below = name.split_once('/').map(|(_, sub)| format!("*/{sub}"));
    let all = format!("{resource}/*");
    let wanted: Vec<&str> = match &below {
        None => vec![name, "*", "*/*"],
        Some(below) => vec![name, below, &all, "*/*"],
    };
    any("apiGroups", &["*", group]) && any("resources", &wanted)
}

/// The rules of gitward's entries and policies by their short names.
fn rules(world: &World) -> BTreeMap<String, Vec<Value>> {
    let webhook = world.cluster.get(&["validatingwebhookconfiguration", "gitward"]).unwrap();
    let entries = webhook["webhooks"].as_array().unwrap().iter().map(|entry| {
        let name = entry["name"].as_str().unwrap().trim_end_matches(".gitward.dev").to_owned();
        (name, entry["rules"].as_array().unwrap().clone())
    });
    let policies = world.cluster.get(&["validatingadmissionpolicies"]).unwrap();
    let policies = policies["items"].as_array().unwrap().iter().map(|policy| {
        let rules = policy["spec"]["matchConstraints"]["resourceRules"].as_array().unwrap().clone();
        (policy["metadata"]["name"].as_str().unwrap().to_owned(), rules)
    });
    entries.chain(policies).collect()
}

#[test]
fn each_resource_that_is_served_is_asked_about_or_open_for_a_reason() {
    let world = World::shared();
    let table: BTreeMap<&str, &str> = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once("  ").expect(line))
        .collect();
    let served = served(world);
    let unknown: Vec<_> = served.iter().filter(|name| !table.contains_key(name.as_str())).collect();
    assert!(unknown.is_empty(), "served, and not in served.txt:\n{unknown:#?}");
    let rules = rules(world);
    for (named, what) in table {
        let what = what.trim();
        if let Some(why) = what.strip_prefix("open:") {
            assert!(!why.trim().is_empty(), "{named}: it is not said why it is open");
            continue;
        }
        for asks in what.split(' ') {
            let rules = rules.get(asks).unwrap_or_else(|| panic!("{named}: there is no {asks}"));
            assert!(rules.iter().any(|rule| covers(rule, named)), "{asks} does not ask about {named}");
        }
    }
}
