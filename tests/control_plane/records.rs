//! The audit trail cannot be crowded out: counts are exact with several guards that come and go, and nobody's records are lost by
//! another's flood.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gitward_test_cluster::{Api, Balancer, Replica, eventually};
use serde_json::{Value, json};

use crate::support::{PATIENCE, World};

fn records(api: &Api, namespace: &str) -> (u64, Vec<Value>) {
    let path = format!("/apis/gitward.dev/v1alpha1/namespaces/{namespace}/blockedchanges");
    let mut list = api.send("GET", &path, &[], &Value::Null).unwrap();
    (version(&list), list["items"].take().as_array().cloned().unwrap_or_default())
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn counter(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

/// A change of a label, which is refused: another record for each label.
fn refused(api: &Api, namespace: &str, label: &str) {
    refused_as(api, &[], namespace, label);
}

/// The same with headers of impersonation.
fn refused_as(api: &Api, headers: &[(&str, &str)], namespace: &str, label: &str) {
    let path = format!("/api/v1/namespaces/{namespace}/configmaps/settings");
    let refused = api.send("PATCH", &path, headers, &json!({"metadata": {"labels": {label: "x"}}})).unwrap_err();
    assert!(refused.message.contains("is pinned to git"), "{refused:?}");
}

#[test]
fn counts_are_exact_with_three_guards_that_come_and_go() {
    let balancer = Balancer::start();
    let url = format!("webhook.url=https://0.0.0.0:{}", balancer.port());
    let mut world = World::start_with(&[&url, "guard.drainSeconds=2"]);
    let mut guards: Vec<Replica> = ["one", "two", "three"].iter().map(|name| world.gitward.replica(name)).collect();
    world.gitward.stop_guard();
    let balance = |guards: &[Replica]| balancer.balance(&guards.iter().map(Replica::endpoint).collect::<Vec<_>>());
    balance(&guards);
    world.declare_settings("counted");
    let (tried, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (cluster, mut logs) = (world.cluster, Vec::new());
    let wait = |more: usize| {
        let before = tried.load(Ordering::SeqCst);
        eventually("people are refused", PATIENCE, || {
            let now = tried.load(Ordering::SeqCst) - before;
            if now >= more { Ok(()) } else { Err(now.to_string()) }
        });
    };
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let api = Api::of(cluster);
                while !stop.load(Ordering::SeqCst) {
                    refused(&api, "counted", "team");
                    tried.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        wait(300);
        for name in ["four", "five"] {
            guards.push(world.gitward.replica(name));
            balance(&guards);
            let old = guards.remove(0);
            logs.push(old.terminate());
            balance(&guards);
            wait(300);
        }
        stop.store(true, Ordering::SeqCst);
    });
    logs.extend(guards.into_iter().map(Replica::terminate));
    let (api, tried) = (Api::of(world.cluster), tried.load(Ordering::SeqCst));
    let (_, records) = records(&api, "counted");
    assert_eq!(records.len(), 1, "{records:#?}");
    println!("{tried} equal refusals by five guards, of which three at a time");
    assert_eq!(records[0]["spec"]["count"], tried, "all guards have ended, and written what waited");
    assert!(logs.iter().all(|log| !log.contains("record dropped")), "nothing was dropped");
}

#[test]
fn a_flood_of_one_caller_holds_up_and_removes_no_record_of_another() {
    let world = World::start();
    world.declare_settings("flooded");
    world.make_admin_of("ops", "flooded");
    let [dev, ops, admin] =
        ["dev", "ops", "admin"].map(|user| Api::with_token(world.cluster, &format!("{user}-token")));
    refused(&dev, "flooded", "earlier");
    refused(&ops, "flooded", "first");
    eventually("both are recorded", PATIENCE, || {
        let found = records(&admin, "flooded").1.len();
        if found == 2 { Ok(()) } else { Err(found.to_string()) }
    });
    let (next, flood) = (AtomicUsize::new(0), 2000);
    let cluster = world.cluster;
    let at_refusal = std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let dev = Api::with_token(cluster, "dev-token");
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n >= flood {
                        break;
                    }
                    refused(&dev, "flooded", &format!("label-{n}"));
                }
            });
        }
        eventually("the flood has begun", PATIENCE, || {
            let now = next.load(Ordering::SeqCst);
            if now > 150 { Ok(()) } else { Err(now.to_string()) }
        });
        let (at, _) = records(&admin, "flooded");
        refused(&ops, "flooded", "once");
        at
    });
    let all = eventually("everything is written or counted as dropped", PATIENCE, || {
        let metrics = world.gitward.guard_metrics();
        let sum =
            counter(&metrics, "gitward_records_written_total") + counter(&metrics, "gitward_records_dropped_total");
        if sum == flood as u64 + 3 { Ok(records(&admin, "flooded").1) } else { Err(metrics) }
    });
    let of = |user: &str| -> Vec<&Value> { all.iter().filter(|record| record["spec"]["user"] == user).collect() };
    let labels: BTreeSet<&str> = all.iter().filter_map(|record| record["spec"]["fieldSummary"].as_str()).collect();
    for label in ["earlier", "first", "once"] {
        assert!(labels.contains(&*format!("metadata.labels.{label}")), "{label} is gone: {labels:?}");
    }
    assert!(of("dev").len() <= 200, "{}", of("dev").len());
    let once = of("ops").into_iter().find(|record| record["spec"]["fieldSummary"] == "metadata.labels.once").unwrap();
    let before = of("dev").into_iter().filter(|record| (at_refusal..version(once)).contains(&version(record))).count();
    println!("{} records of the flood are kept; {before} of them were written before the other one's", of("dev").len());
    assert!(before < 40, "it does not wait for the {before} others");
    let log = world.gitward.guard_log();
    assert!(
        log.contains("record dropped") && log.contains("metadata.labels.label-1999"),
        "what is dropped is in the log"
    );
}

#[test]
fn impersonating_a_name_removes_none_of_its_records() {
    let (world, ns) = (World::shared(), "borrowed-names");
    world.declare_settings(ns);
    let kubectl = |args: &[&str]| world.cluster.kubectl("admin", &[args, &["-n", ns]].concat());
    kubectl(&["create", "serviceaccount", "ci"]).ok();
    kubectl(&["create", "rolebinding", "ci", "--clusterrole=edit", &format!("--serviceaccount={ns}:ci")]).ok();
    let minted = kubectl(&["create", "token", "ci"]);
    let token = minted.ok();
    let (ci, admin) = (Api::with_token(world.cluster, token.trim()), Api::of(world.cluster));
    let account = format!("system:serviceaccount:{ns}:ci");
    refused(&ci, ns, "real");
    let headers = [("impersonate-user", account.as_str())];
    (0..250).for_each(|n| refused_as(&admin, &headers, ns, &format!("borrowed-{n}")));
    for n in 0..30 {
        let name = format!("invented-{n}");
        let headers = [("impersonate-user", name.as_str()), ("impersonate-group", "system:masters")];
        refused_as(&admin, &headers, ns, "invented");
    }
    let all = eventually("all that are kept are written", PATIENCE, || {
        let found = records(&admin, ns).1;
        let last = found.iter().filter(|record| record["spec"]["fieldSummary"] == "metadata.labels.invented").count();
        if last == 30 { Ok(found) } else { Err(format!("{last} of {}", found.len())) }
    });
    let of = |credential: &str| -> Vec<&Value> {
        let is_of = |record: &&Value| record["spec"]["user"] == account && record["spec"]["credential"] == credential;
        all.iter().filter(is_of).collect()
    };
    let real = of("ServiceAccountToken");
    assert_eq!(real.len(), 1, "{real:?}");
    assert_eq!(real[0]["spec"]["fieldSummary"], "metadata.labels.real");
    assert!((100..=200).contains(&of("").len()), "{}", of("").len());
}
