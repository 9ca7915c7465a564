//! What a verdict costs: twice the changed items may cost little more than twice the time.
//!
//! Times are compared within one run only.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use gitward_core::verdict::{Listed, Owner, Policy, Request};
use serde_json::{Map, Value, json};

/// How many items the smaller of two reviews changes: fewer than are collected as changes, and more.
const ITEMS: [usize; 2] = [400, 2000];
/// How much more twice the items may cost.
const MOST: f64 = 2.3;
const REPETITIONS: usize = 5;
const MOST_REPETITIONS: usize = 200;

/// A shape of objects: `n` items, each with this value.
type Make = fn(usize, &str) -> Part;

/// A part of a Deployment's `spec`, and what a manager that applied it owns.
struct Part {
    value: Value,
    set: Value,
}

fn name(n: usize) -> String {
    format!("N{n}")
}

/// A list that is merged by one key or two.
fn items(n: usize, item: impl Fn(usize) -> Value, keys: &[&str]) -> Part {
    let list: Vec<Value> = (0..n).map(item).collect();
    let mut set = Map::from_iter([(".".to_owned(), json!({}))]);
    for item in &list {
        let key: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), item[key].clone())).collect();
        let owned = item.as_object().unwrap().keys().map(|field| (format!("f:{field}"), json!({})));
        let owned: Map<String, Value> = owned.chain([(".".to_owned(), json!({}))]).collect();
        set.insert(format!("k:{}", Value::Object(key)), Value::Object(owned));
    }
    Part { value: Value::Array(list), set: Value::Object(set) }
}

fn env(n: usize, value: &str) -> Part {
    items(n, |n| json!({"name": name(n), "value": value}), &["name"])
}

fn containers(n: usize, value: &str) -> Part {
    items(n, |n| json!({"name": name(n), "image": value, "resources": {"limits": {"cpu": value}}}), &["name"])
}

fn ports(n: usize, value: &str) -> Part {
    items(n, |n| json!({"containerPort": n, "protocol": "TCP", "name": value}), &["containerPort", "protocol"])
}

fn map(n: usize, value: &str) -> Part {
    let members: Map<String, Value> = (0..n).map(|n| (name(n), json!(value))).collect();
    let set = members.keys().map(|key| (format!("f:{key}"), json!({})));
    Part { value: Value::Object(members.clone()), set: Value::Object(set.collect()) }
}

fn set(n: usize, value: &str) -> Part {
    let members: Vec<String> = (0..n).map(|n| format!("{value}-{n}")).collect();
    let set = members.iter().map(|member| (format!("v:{}", json!(member)), json!({})));
    Part { value: json!(members), set: Value::Object(set.collect()) }
}

/// Another order, and nothing else.
fn reordered(n: usize, value: &str) -> Part {
    let part = env(n, "same");
    let mut list = part.value.as_array().unwrap().clone();
    if value == "2" {
        list.reverse();
    }
    Part { value: Value::Array(list), ..part }
}

/// Entries of `managedFields`, as many as there are items.
fn managers(n: usize, value: &str) -> Part {
    let value = json!(value);
    Part { value, set: json!({"managers": n}) }
}

/// Who declares the object, and how.
#[derive(Clone, Copy, PartialEq)]
enum Declared {
    /// gitward, by server-side apply.
    Applied,
    /// Argo CD, by client-side apply, which notes what it applied in an annotation.
    Noted,
}

impl Declared {
    fn policy(self) -> Policy {
        let policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
        match self {
            Declared::Applied => policy,
            Declared::Noted => Policy { owner: Owner::argo_cd("argocd"), ..policy },
        }
    }

    fn object(self, make: Make, n: usize, value: &str) -> Value {
        let Part { value: part, set } = make(n, value);
        let (manager, operation) = match self {
            Declared::Applied => ("gitward", "Apply"),
            Declared::Noted => ("argocd-controller", "Update"),
        };
        let entry = |manager: &str, operation: &str, spec: Value| {
            json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": spec}})
        };
        let others = set["managers"].as_u64().unwrap_or_default();
        let mut entries = vec![entry(manager, operation, json!({"f:in": set}))];
        entries.extend((0..others).map(|n| entry(&format!("m{n}"), "Update", json!({format!("f:other{n}"): {}}))));
        let noted = json!({"spec": {"in": make(n, "1").value}}).to_string();
        let annotations = match self {
            Declared::Applied => json!({"gitward.dev/pinned-id": "apps/Deployment:shop/web"}),
            Declared::Noted => json!({"argocd.argoproj.io/tracking-id": "app:apps/Deployment:shop/web",
                "kubectl.kubernetes.io/last-applied-configuration": noted}),
        };
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"in": part}, "metadata": {"name": "web",
            "namespace": "shop", "labels": {"gitward.dev/sync-name": "s", "gitward.dev/sync-namespace": "gitward-system"},
            "annotations": annotations, "managedFields": entries}})
    }

    fn review(self, make: Make, n: usize) -> Vec<u8> {
        let request = json!({"uid": "1", "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
            "resource": {"group": "apps", "version": "v1", "resource": "deployments"}, "name": "web",
            "namespace": "shop", "operation": "UPDATE", "userInfo": {"username": "dev"},
            "object": self.object(make, n, "2"), "oldObject": self.object(make, n, "1")});
        let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request});
        serde_json::to_vec(&review).unwrap()
    }
}

/// The time of one verdict: that of the processor, where the system tells it.
fn time(review: &[u8], policy: &Policy) -> Duration {
    let (begun, ran) = (Instant::now(), on_processor());
    let verdict = Listed::default().judge(&Request::parse(review).unwrap(), policy);
    let time = begun.elapsed();
    assert!(verdict.is_refusal(), "{verdict:?}");
    on_processor().zip(ran).map_or(time, |(now, before)| now - before)
}

/// How long this thread has been on a processor so far: the first number of its `schedstat` (proc(5), Linux). Other programs on a
/// busy machine do not count.
fn on_processor() -> Option<Duration> {
    // The kernel counts a thread's time when it gives way.
    std::thread::yield_now();
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Compares one review with two of half its size in a row: the same time where the cost is linear. The best time of each counts, and more repetitions come closer to it.
fn compare(what: &str, make: Make, declared: Declared) {
    for items in ITEMS {
        let [small, large] = [items, 2 * items].map(|n| declared.review(make, n));
        let policy = declared.policy();
        let (mut two, mut twice) = (Duration::MAX, Duration::MAX);
        let mut ratio = f64::INFINITY;
        for turn in 0..MOST_REPETITIONS {
            two = two.min(time(&small, &policy) + time(&small, &policy));
            twice = twice.min(time(&large, &policy));
            ratio = 2.0 * twice.as_secs_f64() / two.as_secs_f64();
            if turn >= REPETITIONS && ratio <= MOST {
                break;
            }
        }
        println!("{what}: {two:?} for two of {items}, {twice:?} for one of twice as many: {ratio:.2} times");
        assert!(ratio <= MOST, "{what}: twice {items} items cost {ratio:.2} times");
    }
}

#[test]
fn twice_the_changed_items_cost_little_more_than_twice() {
    let makes: [(&str, Make); 7] = [
        ("env", env),
        ("containers", containers),
        ("ports", ports),
        ("map", map),
        ("set", set),
        ("reordered", reordered),
        ("managers", managers),
    ];
    for (what, make) in makes {
        compare(what, make, Declared::Applied);
        compare(&format!("{what}, noted"), make, Declared::Noted);
    }
}

/// The time of 8,000 entries that all change, for the documents. `cargo test --release -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and asserts nothing"]
fn the_time_of_many_changes() {
    for (what, make) in [("env", env as Make), ("map", map), ("ports", ports), ("containers", containers)] {
        let review = Declared::Applied.review(make, 8000);
        let best = (0..50).map(|_| time(&review, &Declared::Applied.policy())).min().unwrap();
        println!("{what}: {best:?} for 8000 changed entries, {} KiB", review.len() >> 10);
    }
}
