//! What many or malicious clients send at once, and how little a good request feels of it. Times are compared within one run.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gitward_test_cluster::eventually;
use serde_json::{Value, json};

use super::client::{Client, config};
use super::{Guard, PATIENCE, review};

/// How much longer good requests may take beside an attack. The machine is busy with the attack, too.
const SLOWER: u32 = 5;

/// How long ten good requests take in all, one after the other, each over a connection of its own: the best of several tries,
/// since the machine has other work too.
fn good_requests(guard: &Guard) -> Duration {
    let (config, body) = (config(guard, "http/1.1"), review("dev-scale"));
    let tries = (0..8).map(|_| {
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(Client::connect(guard, &config).ask(&body), "HTTP/1.1 200 OK");
        }
        begun.elapsed()
    });
    tries.min().unwrap()
}

#[test]
fn half_bodies_on_a_thousand_connections_hold_up_nobody_and_little_memory() {
    let guard = Guard::start(&["--answer-within=60", "--connections=1100", "--connections-per-address=1100"]);
    let alone = good_requests(&guard);
    let http2 = config(&guard, "h2");
    let half = vec![b' '; 60_000];
    let mut halves = Vec::new();
    for _ in 0..1024 {
        let mut client = Client::connect(&guard, &http2);
        client.announce_http2(2 * half.len(), &half);
        halves.push(client);
    }
    let beside = good_requests(&guard);
    println!("alone {alone:?}, beside 1,024 half bodies {beside:?}, at most {} MiB", guard.peak_mib());
    assert!(beside < SLOWER * alone, "alone {alone:?}, beside 1,024 half bodies {beside:?}");
    assert!(guard.peak_mib() < 200, "{} MiB", guard.peak_mib());
    let metrics = guard.observed("/metrics");
    let in_flight = metrics.lines().find_map(|line| line.strip_prefix("gitward_reviews_in_flight ")).unwrap();
    assert!(in_flight.parse::<u32>().unwrap() > 500, "the half bodies were there all the time: {in_flight}");
}

#[test]
fn announcements_of_large_bodies_hold_up_nobody() {
    let guard = Guard::start(&["--answer-within=60"]);
    let alone = good_requests(&guard);
    let http1 = config(&guard, "http/1.1");
    let announced: Vec<Client> = (0..14)
        .map(|_| {
            let mut client = Client::connect(&guard, &http1);
            client.announce(20 << 20, b" ");
            client
        })
        .collect();
    let beside = good_requests(&guard);
    println!("alone {alone:?}, beside 14 announcements {beside:?}");
    assert!(beside < SLOWER * alone, "alone {alone:?}, beside 14 announcements {beside:?}");
    let (status, answer) = guard.post(&vec![b' '; 12 << 20], &[]);
    assert_eq!(status, 400, "a large body finds room as well: {answer}");
    drop(announced);
}

#[test]
fn large_bodies_that_do_not_go_on_give_their_place_to_one_that_does() {
    let guard = Guard::start(&["--answer-within=60"]);
    let http1 = config(&guard, "http/1.1");
    let stuck: Vec<Client> = (0..6)
        .map(|_| {
            let mut client = Client::connect(&guard, &http1);
            client.announce(20 << 20, &vec![b' '; 1 << 20]);
            client
        })
        .collect();
    let (status, answer) = guard.post(&vec![b' '; 12 << 20], &[]);
    assert_eq!(status, 400, "{answer}");
    assert!(guard.log().contains("the body came too slowly while others waited"), "{}", guard.log());
    drop(stuck);
}

#[test]
fn probes_and_small_reviews_pass_large_ones() {
    let guard = Guard::start(&["--answer-within=120"]);
    let mut large: Value = serde_json::from_slice(&review("dev-patch-replicas")).unwrap();
    let items: Vec<Value> = (0..1500).map(|n| json!({"name": format!("VARIABLE_NUMBER_{n}"), "value": "x"})).collect();
    large["request"]["object"]["spec"]["template"]["spec"]["containers"][0]["env"] = json!(items);
    let large = large.to_string().into_bytes();
    assert!(large.len() > 64 << 10, "{} bytes", large.len());
    let (http1, small) = (config(&guard, "http/1.1"), review("dev-scale"));
    let (judged, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (before, after) = std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut client = Client::connect(&guard, &http1);
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(client.ask(&large), "HTTP/1.1 200 OK");
                    judged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("ten are in flight", PATIENCE, || {
            let metrics = guard.observed("/metrics");
            if metrics.contains("gitward_reviews_in_flight 10") { Ok(()) } else { Err(metrics) }
        });
        let before = judged.load(Ordering::SeqCst);
        let mut client = Client::connect(&guard, &http1);
        for _ in 0..40 {
            assert_eq!(client.ask(&small), "HTTP/1.1 200 OK");
            assert!(guard.observed("/readyz").starts_with("HTTP/1.1 200"));
        }
        let after = judged.load(Ordering::SeqCst);
        stop.store(true, Ordering::SeqCst);
        (before, after)
    });
    println!("{} large reviews were judged while 40 small ones and 40 probes were answered", after - before);
    // In one queue each small one would wait for the ten before it.
    assert!(after - before < 3 * 40, "{} large ones, 40 small ones", after - before);
}

#[test]
fn one_address_cannot_take_all_connections() {
    let guard = Guard::start(&["--connections=20", "--connections-per-address=5"]);
    let http1 = config(&guard, "http/1.1");
    let mut held: Vec<Client> = (0..5).map(|_| Client::connect(&guard, &http1)).collect();
    held.iter_mut().for_each(|client| client.announce(100, b" "));
    let refused = guard.curl(&review("dev-scale"), &["--interface", "127.0.0.1"]);
    assert!(!refused.status.success());
    eventually("the log says why", PATIENCE, || {
        let text = guard.log();
        if text.contains("5 connections of 127.0.0.1 are open") { Ok(()) } else { Err(text) }
    });
    assert_eq!(guard.post(&review("dev-scale"), &["--interface", "127.0.0.2"]).0, 200, "others are served");
    drop(held);
    eventually("it is served again", PATIENCE, || match guard.post(&review("dev-scale"), &[]).0 {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
}

#[test]
fn answers_and_log_lines_stay_short_whatever_the_keys_are() {
    let guard = Guard::start(&[]);
    let mut long: Value = serde_json::from_slice(&review("dev-patch-replicas")).unwrap();
    let key = "k".repeat(1_300_000);
    long["request"]["object"]["metadata"]["annotations"][&key] = json!("x");
    let (status, answer) = guard.post(long.to_string().as_bytes(), &[]);
    assert_eq!(status, 200);
    assert!(answer.contains("is pinned to git") && answer.len() < 32 << 10, "{} bytes", answer.len());
    let (status, answer) = guard.post(format!(r#"{{"kind":"{key}"}}"#).as_bytes(), &[]);
    assert!(status == 400 && answer.len() < 2048, "{} bytes", answer.len());
    let longest = guard.log().lines().map(str::len).max().unwrap();
    assert!(longest < 8 << 10, "{longest} bytes");
    assert!(Command::new("kill").args(["-0", &guard.process.id().to_string()]).status().unwrap().success());
}
