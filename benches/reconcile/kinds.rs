//! Many kinds: each is watched, and with HTTP/1.1 each watch is a connection.

use serde_json::{Value, json};

use crate::objects::files;
use crate::sockets::connections;
use crate::world::World;

const KINDS: usize = 300;
const GROUP: &str = "bench.example.com";

pub(crate) fn run(world: &mut World<'_>) {
    println!(
        "{KINDS} kinds, a CustomResourceDefinition and one object each; connections: established TCP connections of the process\n"
    );
    println!("               | connections  resident     peak");
    tell(world, "before");
    world.namespace("kinds");
    let repo = world.git.repo("kinds");
    for (file, text) in files((0..KINDS).flat_map(|number| [definition(number), object(number)])) {
        repo.write(&file, &text);
    }
    let commit = repo.push("Many kinds");
    world.follow("kinds", &repo);
    world.wait_applied("kinds", &commit);
    tell(world, "synced");
    // A watch ends with its kind's list: the next start begins with all of them at once.
    world.gitward.crash_reconciler();
    world.gitward.revive_reconciler();
    gitward_test_cluster::eventually("all kinds are watched again", std::time::Duration::from_secs(60), || {
        let open = connections(world);
        if open >= KINDS { Ok(()) } else { Err(open.to_string()) }
    });
    std::thread::sleep(std::time::Duration::from_secs(10));
    tell(world, "after a restart");
    println!();
}

fn tell(world: &World<'_>, when: &str) {
    let [resident, peak] = ["VmRSS", "VmHWM"].map(|field| world.reconciler_mib(field));
    println!("{when:<15}| {:>11}  {resident:>4.1} MiB {peak:>4.1} MiB", connections(world));
}

fn definition(number: usize) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("kinds{number}.{GROUP}")},
        "spec": {"group": GROUP, "scope": "Namespaced",
            "names": {"kind": format!("Kind{number}"), "plural": format!("kinds{number}"), "singular": format!("kind{number}"),
                "listKind": format!("Kind{number}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}]}})
}

fn object(number: usize) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": format!("Kind{number}"),
        "metadata": {"name": "one", "namespace": "kinds"}, "spec": {"size": number}})
}
