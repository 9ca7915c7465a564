//! Properties of verdicts, over the recorded reviews with random additions and in random orders.

use std::path::Path;

use gitward_core::fields::Budget;
use gitward_core::verdict::{
    Access, Descendants, Known, Listed, Pattern, Policy, Request, Step, Verdict, judge_within,
};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::{Random, rounds};

/// The sets of recorded reviews, each with its own live objects.
const SETS: [&str; 4] = ["", "status-and-children", "red-team", "second-edition"];

struct Recorded {
    reviews: Vec<(String, Value)>,
    live: Value,
}

fn recorded() -> Vec<Recorded> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    let read = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
    let set = |name: &&str| {
        let folder = corpus.join(name);
        let mut files: Vec<_> =
            std::fs::read_dir(folder.join("reviews")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        // Those of the second edition have the live objects of the red team.
        let live = Path::new(if *name == "second-edition" { "red-team" } else { name }).join("pinned.json");
        let reviews = files.iter().map(|file| (file.display().to_string(), read(file))).collect();
        Recorded { reviews, live: read(&corpus.join(live)) }
    };
    SETS.iter().map(set).collect()
}

fn random_policy(random: &mut Random) -> Policy {
    let mut policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
    if random.below(2) == 0 {
        policy.exclusive.namespaces.push("shop".to_owned());
    }
    policy.allow.extend(["/metadata/labels/*", "/spec/free"].iter().filter_map(|pattern| Pattern::parse(pattern)));
    let mut access = || [Access::Allow, Access::Record, Access::Refuse][random.below(3) as usize];
    policy.descendants = Descendants {
        update: access(),
        delete: access(),
        evict: access(),
        exec: access(),
        port_forward: access(),
        debug: access(),
        run_job: access(),
    };
    policy
}

fn listed(live: &[Value], policy: &Policy) -> Listed {
    Listed::new(live.iter().map(|item| -> Box<RawValue> { to_raw_value(item).unwrap() }), &policy.owner)
}

fn judge(review: &Value, policy: &Policy, live: &Listed) -> Verdict {
    let body = serde_json::to_vec(review).unwrap();
    live.judge(&Request::parse(&body).unwrap(), policy)
}

/// Adds one thing that by itself may be allowed: an owner, a label, an annotation or a field.
fn add(random: &mut Random, object: &mut Value) {
    let name = random.name();
    match random.below(4) {
        0 => {
            let owners = [
                json!({"apiVersion": "batch/v1", "kind": "CronJob", "name": "cron", "uid": "1", "controller": true}),
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "2"}),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "none", "uid": "3"}),
            ];
            let owner = owners[random.below(3) as usize].clone();
            match &mut object["metadata"]["ownerReferences"] {
                Value::Array(owners) => owners.insert(random.below(owners.len() as u64 + 1) as usize, owner),
                none => *none = json!([owner]),
            }
        }
        1 => object["metadata"]["labels"][name] = json!("1"),
        2 => object["metadata"]["annotations"][name] = json!("1"),
        _ => object["spec"]["free"] = json!(name),
    }
}

#[test]
fn nothing_that_is_added_turns_a_refusal_into_an_allowance() {
    let recorded = recorded();
    let mut refused = 0;
    for seed in 1..rounds() / 30 {
        let random = &mut Random::of(seed);
        let set = &recorded[random.below(recorded.len() as u64) as usize];
        let policy = random_policy(random);
        let live = listed(set.live["items"].as_array().unwrap(), &policy);
        for (name, review) in &set.reviews {
            if !judge(review, &policy, &live).is_refusal() {
                continue;
            }
            refused += 1;
            let mut more = review.clone();
            let side = if more["request"]["object"].is_object() { "object" } else { "oldObject" };
            if more["request"][side].is_object() {
                (0..=random.below(3)).for_each(|_| add(random, &mut more["request"][side]));
            }
            let verdict = judge(&more, &policy, &live);
            assert!(verdict.is_refusal(), "seed {seed}, {name}: {verdict:?} of {}", more["request"][side]);
        }
    }
    assert!(refused > rounds() / 10, "only {refused} refusals were tried");
}

#[test]
fn a_smaller_budget_refuses_no_less() {
    let nothing = Budget { bytes: 0, items: 0, changes: 0 };
    for set in recorded() {
        let policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
        let live = listed(set.live["items"].as_array().unwrap(), &policy);
        for (name, review) in &set.reviews {
            let body = serde_json::to_vec(review).unwrap();
            let request = Request::parse(&body).unwrap();
            let mut known = Known::default();
            let verdict = loop {
                match judge_within(&request, &policy, &known, nothing) {
                    Step::Done(verdict) => break verdict,
                    Step::Need(wanted) => wanted.into_iter().for_each(|wanted| {
                        let found = live.find(&wanted);
                        known.add(wanted, found);
                    }),
                }
            };
            assert!(verdict.is_refusal() || !live.judge(&request, &policy).is_refusal(), "{name}: {verdict:?}");
        }
    }
}

/// Shuffles the lists whose order says nothing: owners, field managers, and live objects.
fn shuffle(random: &mut Random, list: &mut Value) {
    let Some(list) = list.as_array_mut() else { return };
    for end in (1..list.len()).rev() {
        list.swap(end, random.below(end as u64 + 1) as usize);
    }
}

#[test]
fn the_order_of_owners_managers_and_live_objects_decides_nothing() {
    let recorded = recorded();
    for seed in 1..rounds() / 30 {
        let random = &mut Random::of(seed);
        let set = &recorded[random.below(recorded.len() as u64) as usize];
        let policy = random_policy(random);
        let mut live = set.live["items"].clone();
        let before = listed(live.as_array().unwrap(), &policy);
        shuffle(random, &mut live);
        let after = listed(live.as_array().unwrap(), &policy);
        for (name, review) in &set.reviews {
            let mut review = review.clone();
            if review["request"]["object"].is_object() && random.below(2) == 0 {
                (0..3).for_each(|_| add(random, &mut review["request"]["object"]));
            }
            let expected = judge(&review, &policy, &before);
            let mut other = review.clone();
            for side in ["object", "oldObject"] {
                if other["request"][side].is_object() {
                    for list in ["ownerReferences", "managedFields"] {
                        shuffle(random, &mut other["request"][side]["metadata"][list]);
                    }
                }
            }
            let verdict = judge(&other, &policy, &after);
            let said = |verdict: &Verdict| (verdict.decision, verdict.reason, verdict.ancestor.clone());
            assert_eq!(said(&verdict), said(&expected), "seed {seed}, {name}");
        }
    }
}
