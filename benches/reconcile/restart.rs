//! A restart over many objects that are as git declares them.

use std::time::{Duration, Instant};

use gitward_test_cluster::{ControlPlane, Proxy, eventually};
use serde_json::json;

use crate::objects::{self, config_map};
use crate::world::World;

const OBJECTS: usize = 10_000;
/// How long writes are waited for after the last read of a beginning.
const QUIET: Duration = Duration::from_secs(10);

pub(crate) fn run(world: &mut World<'_>) {
    println!(
        "a restart over {OBJECTS} unchanged ConfigMaps, through a proxy that counts; its own records count as well\n"
    );
    world.namespace("restart");
    let repo = world.git.repo("restart");
    for (file, text) in objects::files((0..OBJECTS).map(|number| config_map("restart", number))) {
        repo.write(&file, &text);
    }
    let commit = repo.push("Many objects");
    world.follow("restart", &repo);
    world.wait_applied("restart", &commit);

    let pid_file = world.gitward.reconciler().expect("it runs").pid_file().to_owned();
    let proxy = Proxy::start(world.cluster, &world.gitward.reconciler_token(), &pid_file);
    world.gitward.set_reconciler_env("KUBECONFIG", proxy.kubeconfig());
    world.gitward.start_reconciler();
    settle(&proxy);

    proxy.pass();
    world.gitward.crash_reconciler();
    let begun = Instant::now();
    world.gitward.revive_reconciler();
    println!("until it serves:             {:>6.2} s", begun.elapsed().as_secs_f64());
    settle(&proxy);
    let (writes, peak) = (proxy.writes(), world.reconciler_mib("VmHWM"));
    println!("writes until {} s of silence: {}", QUIET.as_secs(), writes.len());
    writes.iter().take(10).for_each(|write| println!("  {write}"));

    world.gitward.crash_reconciler();
    let edit = json!({"data": {"color": "red"}}).to_string();
    let patch = ["patch", "configmap/object-00500", "-n", "restart", "--type=merge", "-p", &edit];
    world.cluster.kubectl(ControlPlane::FORGER, &patch).ok();
    let begun = Instant::now();
    world.gitward.revive_reconciler();
    eventually("what was changed meanwhile is healed", Duration::from_secs(120), || {
        let live = world.cluster.get(&["configmap/object-00500", "-n", "restart"]).unwrap_or_default();
        if live["data"]["color"] == "green" { Ok(()) } else { Err(live["data"]["color"].to_string()) }
    });
    println!("until a change is healed that was made while it was dead: {:.1} s", begun.elapsed().as_secs_f64());
    println!("memory: at most {peak:.1} MiB\n");
}

/// Waits until nothing was written for a while.
fn settle(proxy: &Proxy) {
    let begun = Instant::now();
    eventually("nothing is written any more", Duration::from_secs(300), || {
        if proxy.quiet().min(begun.elapsed()) >= QUIET { Ok(()) } else { Err(format!("{:?}", proxy.writes().last())) }
    });
}
