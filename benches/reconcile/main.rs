//! What the reconciler costs: `make bench-reconcile`.
//!
//! The optimised program on a real control plane, seen from outside: by the answers of the API server, its watches, and what the
//! kernel tells of the process. What is compared is measured in turns within one run, so that a noisy machine hits both.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod first_sync;
mod heal;
mod kinds;
mod objects;
mod restart;
mod sockets;
mod world;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --all-targets` runs benches too, without this.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let value = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name).map(str::to_owned));
    let rounds = value("--rounds=").and_then(|rounds| rounds.parse().ok()).unwrap_or(2);
    let only = value("--only=");
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == part));
    if wanted("heal") || wanted("restart") {
        world::with_world(|world| {
            if wanted("heal") {
                heal::run(world);
            }
            if wanted("restart") {
                restart::run(world);
            }
        });
    }
    if wanted("first-sync") {
        first_sync::run(rounds);
    }
    if wanted("kinds") {
        world::with_world(kinds::run);
    }
}
