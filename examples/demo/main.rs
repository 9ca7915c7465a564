//! `make demo`: gitward's main job, told step by step on a real control plane. Each step shows the real command, what
//! it really printed and the time it took, and checks what it shows: one that does not hold ends the demo.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod narrator;
mod recording;
mod story;
mod tries;

use std::process::ExitCode;

use gitward_test_cluster::{ControlPlane, GitServer, Gitward, Tools};
use narrator::Narrator;

fn main() -> ExitCode {
    // A step that does not hold is a panic with what it saw; where in the demo's own code is of no use to a reader.
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload().downcast_ref::<String>().map(String::as_str);
        eprintln!("\n{}", text.or_else(|| info.payload().downcast_ref().copied()).unwrap_or("a step failed"));
    }));
    let told = std::panic::catch_unwind(tell);
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            eprintln!("\nThe step above does not hold: the demo ends here.");
            ExitCode::FAILURE
        }
    }
}

fn tell() {
    let narrator = Narrator::new();
    Tools::get_for_demo();
    let cluster = narrator.wait("starts etcd, kube-apiserver and kube-controller-manager", ControlPlane::start);
    let binary = binary();
    let mut gitward =
        narrator.wait("helm install gitward, guard and reconciler started", || Gitward::install(&cluster, &binary));
    let git = GitServer::start();
    story::tell(&narrator, &cluster, &mut gitward, &git);
    // `RECORD=docs/images/demo.svg make demo` draws the recording that the README shows.
    if let Some(file) = std::env::var_os("RECORD") {
        std::fs::write(&file, recording::draw(&narrator.steps())).expect("the recording can be written");
    }
    if std::env::var_os("KEEP").is_some_and(|keep| keep == "1") {
        println!("\nIt stays until you press Enter, or end the demo. In another terminal:");
        println!("  export KUBECONFIG={}   # the cluster's admin", cluster.kubeconfig("admin").display());
        println!(
            "  export KUBECONFIG={}   # dev, who is admin of the namespace shop",
            cluster.kubeconfig("dev").display()
        );
        // Where there is no terminal nobody can press a key: it stays until it is ended.
        while matches!(std::io::stdin().read_line(&mut String::new()), Ok(0)) {
            std::thread::park();
        }
    }
    narrator.wait("gitward is stopped", move || drop((gitward, git)));
    narrator.wait("the control plane is torn down", move || drop(cluster));
}

/// The program, built beside this example.
fn binary() -> std::path::PathBuf {
    let example = std::env::current_exe().expect("a path");
    let profile = example.parent().and_then(|examples| examples.parent()).expect("target/<profile>/examples");
    let binary = profile.join("gitward");
    assert!(binary.exists(), "{} is missing: run `make demo`, which builds it", binary.display());
    binary
}
