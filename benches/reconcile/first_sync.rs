//! The first sync of many objects, beside bare server-side applies of the same.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::objects::{self, config_map, name};
use crate::world::{RECONCILER, World, kind, with_world};

const OBJECTS: usize = 10_000;
/// How many objects gitward writes at a time.
const CONCURRENT: usize = 16;

pub(crate) fn run(rounds: usize) {
    println!(
        "first sync of {OBJECTS} ConfigMaps of some 500 bytes, from the GitSync's creation until it is Ready; bare: the same"
    );
    println!(
        "objects with as many marks, read from memory, applied {CONCURRENT} at a time by the same kind of client with the same"
    );
    println!("identity; each round on a new control plane, in turns; memory: the most that the reconciler had\n");
    println!("round  order      |    sync     bare  ratio | memory");
    for round in 0..rounds {
        with_world(|world| measure(world, round));
    }
    println!();
}

fn measure(world: &mut World<'_>, round: usize) {
    let repo = world.git.repo("first");
    ["first", "bare"].iter().for_each(|namespace| world.namespace(namespace));
    for (file, text) in objects::files((0..OBJECTS).map(|number| config_map("first", number))) {
        repo.write(&file, &text);
    }
    let commit = repo.push("Many objects");
    let sync = |world: &World<'_>| {
        let begun = Instant::now();
        world.follow("first", &repo);
        world.wait_applied("first", &commit);
        begun.elapsed()
    };
    let (order, synced, bare) = if round.is_multiple_of(2) {
        let synced = sync(world);
        ("sync, bare", synced, bare(world))
    } else {
        let bare = bare(world);
        ("bare, sync", sync(world), bare)
    };
    let ratio = synced.as_secs_f64() / bare.as_secs_f64();
    println!(
        "{round:>5}  {order} | {:>5.1} s  {:>5.1} s  {ratio:>5.2} | {:.1} MiB",
        synced.as_secs_f64(),
        bare.as_secs_f64(),
        world.reconciler_mib("VmHWM"),
    );
}

fn bare(world: &World<'_>) -> Duration {
    let objects: Vec<(String, Value)> = (0..OBJECTS).map(|number| (name(number), marked(number))).collect();
    let resource = ApiResource::from_gvk(&kind("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> = Api::namespaced_with(world.client(RECONCILER), "bare", &resource);
    let params = PatchParams::apply("bare").force();
    let begun = Instant::now();
    let writes = objects.iter().map(async |(name, object)| api.patch(name, &params, &Patch::Apply(object)).await);
    let ended = stream::iter(writes).buffer_unordered(CONCURRENT);
    world.runtime.block_on(ended.for_each(async |ended| drop(ended.expect("it is applied"))));
    begun.elapsed()
}

/// As many labels and annotations as gitward gives, and as long ones.
fn marked(number: usize) -> Value {
    let mut object = config_map("bare", number);
    object["metadata"]["labels"] =
        json!({"example.dev/sync-namespace": "gitward-system", "example.dev/sync-name": "first"});
    object["metadata"]["annotations"] = json!({
        "example.dev/pinned-id": format!("/ConfigMap:first/{}", name(number)),
        "example.dev/origin": format!("part-{:04}.yaml:{}", number / 10, number % 10),
    });
    object
}
