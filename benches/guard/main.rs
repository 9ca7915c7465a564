//! What a review costs: `make bench-guard`.
//!
//! The guard, from files, beside a webhook of the same TLS stack that reads every body and always allows. Both run as
//! processes of their own, in turns within one run, so that a noisy machine hits both. The measure is the server's CPU
//! time per request: the load comes from the same cores, so that throughput alone would mislead.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod load;
mod noop;
mod reviews;
mod server;

use load::{Load, Measured};
use server::Server;

/// Sizes of reviews, in KiB, and how many requests of each are sent in one round.
const SIZES: [(usize, usize); 4] = [(2, 3000), (12, 3000), (60, 800), (1000, 60)];
const CONNECTIONS: [usize; 2] = [1, 32];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "noop") {
        return noop::run(&args[1..]);
    }
    // `cargo test --all-targets` runs benches too, without this.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let rounds: usize = args.iter().find_map(|arg| arg.strip_prefix("--rounds=")?.parse().ok()).unwrap_or(3);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let certificate = server::certificate(dir.path());
    let guard = Server::guard(dir.path());
    let noop = Server::noop(dir.path());
    println!("CPU: server's CPU time per request; x: as a multiple of the no-op's in the same rounds\n");
    println!("path        KiB  conns |  no-op CPU   req/s |  guard CPU   req/s     p50     p99 |  CPU x");
    let only = args.iter().find_map(|arg| arg.strip_prefix("--only="));
    for path in reviews::PATHS {
        for (kib, requests) in SIZES {
            if only.is_some_and(|only| only != format!("{path}-{kib}")) {
                continue;
            }
            let body = reviews::review(path, kib);
            for connections in CONNECTIONS {
                let load = Load { certificate: &certificate, body: &body, connections, requests };
                compare(&load, &noop, &guard, rounds, path, kib);
            }
        }
    }
    let body = reviews::review("denied", 12);
    Load { certificate: &certificate, body: &body, connections: 32, requests: 100_000 }.run(&guard);
    println!("\nresident after 100,000 more denied reviews of 12 KiB: {:.1} MiB", guard.resident_mib());
}

fn compare(load: &Load<'_>, noop: &Server, guard: &Server, rounds: usize, path: &str, kib: usize) {
    let (mut of_noop, mut of_guard) = (Measured::default(), Measured::default());
    Load { requests: load.requests / 5, ..*load }.run(noop);
    Load { requests: load.requests / 5, ..*load }.run(guard);
    for _ in 0..rounds {
        of_noop.add(load.run(noop));
        of_guard.add(load.run(guard));
    }
    println!(
        "{path:<10} {kib:>4} {:>6} | {:>8.1} µs {:>7.0} | {:>8.1} µs {:>7.0} {:>4.0} µs {:>4.0} µs | {:>6.2}",
        load.connections,
        of_noop.cpu_micros(),
        of_noop.per_second(),
        of_guard.cpu_micros(),
        of_guard.per_second(),
        of_guard.quantile(0.5),
        of_guard.quantile(0.99),
        of_guard.cpu_micros() / of_noop.cpu_micros(),
    );
}
