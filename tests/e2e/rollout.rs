//! A rolling update of the guard, while people work.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use gitward_test_cluster::workspace;
use serde_json::Value;

use crate::SYSTEM;
use crate::install::{pods, ready};
use crate::shop::Shop;

/// So many people work at once.
const PEOPLE: usize = 3;

/// Everybody's own changes go through, and nobody's change of a pinned object, while every guard is replaced.
pub(crate) fn roll(shop: &Shop<'_>) {
    for person in 0..PEOPLE {
        let name = format!("own-{person}");
        shop.dev(&["create", "deployment", &name, "--image=localhost/pause:1", "--replicas=0"]).ok();
    }
    let before = guards(shop);
    let done = AtomicBool::new(false);
    let (changes, refusals) = std::thread::scope(|scope| {
        let work = |mut once: Box<dyn FnMut(u64) + Send>| {
            let done = &done;
            scope.spawn(move || {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    once(round);
                }
                round
            })
        };
        // The guard is asked about each: another Deployment's Pods might be taken for a pinned one's.
        let own = |person: usize| {
            move |round: u64| {
                let (name, note) = (format!("deployment/own-{person}"), format!("round={round}"));
                shop.dev(&["annotate", &name, &note, "--overwrite"]).ok();
            }
        };
        let people: Vec<_> = (0..PEOPLE).map(|person| work(Box::new(own(person)))).collect();
        let other = work(Box::new(|_| {
            let refused = shop.dev(&["scale", "deployment/web", "--replicas=7"]);
            assert!(refused.refused().contains("is pinned to git"), "{}", refused.stderr);
        }));
        let chart = workspace().join("charts/gitward").display().to_string();
        let upgrade =
            ["upgrade", "gitward", &chart, "-n", SYSTEM, "--reuse-values", "--set", "logLevel=info\\,gitward=debug"];
        let upgraded = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            shop.node.helm(&upgrade).ok();
            ready(shop.node);
        }));
        done.store(true, Ordering::Relaxed);
        let changes: u64 = people.into_iter().map(|person| person.join().expect("a legitimate change failed")).sum();
        let refusals = other.join().expect("a refusal failed, or did not come");
        if let Err(panic) = upgraded {
            std::panic::resume_unwind(panic);
        }
        (changes, refusals)
    });
    assert!(guards(shop).is_disjoint(&before), "every guard was replaced");
    println!("   {changes} changes went through, {refusals} were refused, none failed");
    for person in 0..PEOPLE {
        shop.dev(&["delete", "deployment", &format!("own-{person}")]).ok();
    }
}

fn guards(shop: &Shop<'_>) -> BTreeSet<String> {
    let uid = |pod: &Value| pod["metadata"]["uid"].to_string();
    pods(shop.node, SYSTEM, "app.kubernetes.io/name=gitward-guard").iter().map(uid).collect()
}
