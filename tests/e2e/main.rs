//! `make e2e`: the chart, unchanged, on a real node: kubelet, container runtime, kube-proxy, the image. It is told as the demo is, and each step
//! checks what it shows. Not part of `make test`: there this says so and does nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod image;
mod install;
mod restart;
mod rollout;
mod shop;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use gitward_test_cluster::{GitServer, Node};

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(180);
/// gitward's namespace.
const SYSTEM: &str = "gitward-system";

fn main() -> ExitCode {
    let (Some(node), Some(image)) = (Node::here(), std::env::var_os("E2E_IMAGE").map(PathBuf::from)) else {
        println!("not run: `make e2e` runs it, on a real node");
        return ExitCode::SUCCESS;
    };
    let told = std::panic::catch_unwind(|| tell(&node, &image));
    if told.is_err() {
        for what in [["pods", "--output=wide"], ["events", "--field-selector=type=Warning"]] {
            eprintln!("{}", node.kubectl("admin", &[&["get", "-A"], &what[..]].concat()).stdout);
        }
        eprintln!("The step above does not hold. KEEP=1 keeps the node's logs.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn tell(node: &Node, image: &std::path::Path) {
    let image = step("the image says what is in it, and is loaded", || image::load(node, image));
    step("helm install, the chart unchanged, into a namespace of the strictest Pod Security", || {
        install::install(node, &image)
    });
    step("helm test: a Pod without rights asks the guard through its Service", || install::helm_test(node));
    let git = GitServer::start_at(Node::ADDRESS);
    let shop = step("git declares a shop, and its Pods run and are served", || shop::open(node, &git, &image));
    step("people are refused through the real Service, and may do what is documented", || shop.people());
    step("only the token of the reconciler's own Pod is the GitOps identity", || shop.identity());
    step("what went around the guard is healed, and the Pods with it", || shop.heals());
    step("what each process of gitward holds in memory", || install::memory(node));
    step("a guard that crashes is started again, while the other one serves", || shop.guard_crashes());
    step("a rolling update of the guard, under a steady stream of changes", || rollout::roll(&shop));
    step("the node loses its power and boots, with no guard running", || restart::cold_start(&shop));
    step("helm uninstall, and the workloads run on", || shop.uninstall());
}

/// Does a step, and says how long it took.
fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    println!("── {what}");
    let begun = Instant::now();
    let done = work();
    println!("   {:.1} s", begun.elapsed().as_secs_f64());
    done
}
