//! From the answer to an edit to the sight of the heal.

use std::time::{Duration, Instant};

use axum::http::Request;
use futures::StreamExt;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot::{Sender, channel};

use crate::objects::{self, is_deployment, mixed, name, path};
use crate::world::{RECONCILER, World, kind, version};

/// How many objects are pinned, and how many edits are made.
const SIZES: [(usize, usize); 3] = [(10, 50), (1_000, 200), (10_000, 200)];
const NAMESPACE: &str = "bench";
/// Where the bare applies go.
const BARE: &str = "bare";
/// Between two edits.
const PAUSE: Duration = Duration::from_millis(50);
/// For a heal.
const PATIENCE: Duration = Duration::from_secs(30);

/// What somebody does around the guard.
#[derive(Clone, Copy)]
enum Edit {
    /// Changes a value that git declares.
    Value,
    /// Adds a label that git does not declare.
    Label,
}

pub(crate) fn run(world: &mut World<'_>) {
    println!(
        "edit to healed: from the answer to an edit around the guard to the watch event of the healed state; every tenth"
    );
    println!(
        "object is a Deployment, the others are ConfigMaps; less: the median of bare applies of the same kinds of objects by"
    );
    println!("the same identity, one after each heal\n");
    println!("pinned  edits  what            |     p50      p99 | bare apply | less: p50      p99");
    world.namespace(NAMESPACE);
    world.namespace(BARE);
    let repo = world.git.repo("heal");
    for (pinned, edits) in SIZES {
        for (file, text) in objects::files((0..pinned).map(|number| mixed(NAMESPACE, number))) {
            repo.write(&file, &text);
        }
        let commit = repo.push(&format!("{pinned} objects"));
        if pinned == SIZES[0].0 {
            world.follow("heal", &repo);
        }
        world.ask("heal", &pinned.to_string());
        world.wait_applied("heal", &commit);
        for edit in [Edit::Value, Edit::Label] {
            // A healer that was asked for the same object too often waits: it begins anew.
            world.gitward.crash_reconciler();
            world.gitward.revive_reconciler();
            let bench = Bench { admin: world.client("admin"), reconciler: world.client(RECONCILER) };
            world.runtime.block_on(bench.measure(pinned, edits, edit));
        }
    }
    println!();
}

struct Bench {
    admin: Client,
    reconciler: Client,
}

/// An object as a watch saw it, and when.
struct Sight {
    at: Instant,
    object: DynamicObject,
}

impl Bench {
    async fn measure(&self, pinned: usize, edits: usize, edit: Edit) {
        let mut sights = self.watch().await;
        let (mut heals, mut applies) = (Vec::new(), Vec::new());
        // The first ones find no connection yet, and a reconciler that has just begun. An object that is edited often is healed slower.
        let warm_up = if pinned > edits { 3 } else { 0 };
        for count in 0..edits + warm_up {
            let number = count * pinned.div_euclid(edits + warm_up).max(1) % pinned;
            // Every tenth of them is a Deployment, whatever the step is.
            let number = number - number % 10 + count % 10;
            let took = self.edit(&mut sights, number, edit).await;
            let bare = self.bare_apply(count).await;
            if count >= warm_up {
                heals.push(took);
                applies.push(bare);
            }
            tokio::time::sleep(PAUSE).await;
        }
        let bare = quantile(&mut applies, 0.5);
        let (p50, p99) = (quantile(&mut heals, 0.5), quantile(&mut heals, 0.99));
        let what = match edit {
            Edit::Value => "declared value",
            Edit::Label => "label added",
        };
        println!(
            "{pinned:>6} {edits:>6}  {what:<15} | {p50:>4.1} ms {p99:>5.1} ms | {bare:>7.1} ms | {:>6.1} ms {:>5.1} ms",
            p50 - bare,
            p99 - bare
        );
    }

    /// Edits an object, and waits until it is as git declares it.
    async fn edit(&self, sights: &mut UnboundedReceiver<Sight>, number: usize, edit: Edit) -> Duration {
        let patch = match edit {
            Edit::Label => json!({"metadata": {"labels": {"by": "hand"}}}),
            Edit::Value if is_deployment(number) => json!({"spec": {"minReadySeconds": 7}}),
            Edit::Value => json!({"data": {"color": "red"}}),
        };
        let manager = match edit {
            Edit::Label => "kubectl-label",
            Edit::Value => "kubectl-edit",
        };
        let edited = self.forged(&path(&mixed(NAMESPACE, number)), manager, &patch).await;
        let answered = Instant::now();
        loop {
            let sight = tokio::time::timeout(PATIENCE, sights.recv()).await.expect("it is healed").unwrap();
            let is_it = sight.object.name_any() == name(number) && version(&sight.object) > version(&edited);
            if is_it && is_healed(&sight.object) {
                return sight.at.saturating_duration_since(answered);
            }
        }
    }

    /// Patches as a cluster admin with the pod of the reconciler forged: no webhook is in the way.
    async fn forged(&self, path: &str, manager: &str, patch: &Value) -> DynamicObject {
        let request = Request::patch(format!("{path}?fieldManager={manager}"))
            .header("content-type", "application/merge-patch+json")
            .header("impersonate-user", "system:serviceaccount:gitward-system:gitward-reconciler")
            .header("impersonate-extra-authentication.kubernetes.io%2fpod-name", "forged")
            .body(patch.to_string().into_bytes())
            .unwrap();
        self.admin.request(request).await.expect("the edit is accepted")
    }

    /// A server-side apply that changes an object.
    async fn bare_apply(&self, count: usize) -> Duration {
        let mut object = mixed(BARE, count % 10);
        if is_deployment(count) {
            object["spec"]["minReadySeconds"] = json!(count);
        } else {
            object["data"]["color"] = json!(count.to_string());
        }
        let api = api(&self.reconciler, object["kind"].as_str().unwrap(), BARE);
        let begun = Instant::now();
        api.patch(&name(count % 10), &PatchParams::apply("bare").force(), &Patch::Apply(&object)).await.unwrap();
        begun.elapsed()
    }

    /// Sights of all objects, from now on.
    async fn watch(&self) -> UnboundedReceiver<Sight> {
        let (sender, sights) = unbounded_channel();
        for kind in ["ConfigMap", "Deployment"] {
            let (listed, ready) = channel();
            tokio::spawn(follow(api(&self.admin, kind, NAMESPACE), sender.clone(), listed));
            ready.await.expect("the watch begins");
        }
        sights
    }
}

async fn follow(api: Api<DynamicObject>, sights: UnboundedSender<Sight>, listed: Sender<()>) {
    let mut listed = Some(listed);
    let mut events = watcher(api, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        match event.expect("the watch lasts") {
            watcher::Event::Apply(object) => drop(sights.send(Sight { at: Instant::now(), object })),
            watcher::Event::InitDone => drop(listed.take().map(|listed| listed.send(()))),
            _ => {}
        }
    }
}

fn api(client: &Client, of: &str, namespace: &str) -> Api<DynamicObject> {
    let group = if of == "Deployment" { "apps" } else { "" };
    Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind(group, "v1", of)))
}

fn is_healed(object: &DynamicObject) -> bool {
    let is_declared = match object.data.pointer("/data/color") {
        Some(color) => color == "green",
        None => object.data["spec"]["minReadySeconds"] == 1,
    };
    is_declared && !object.labels().contains_key("by")
}

/// In milliseconds.
fn quantile(durations: &mut [Duration], quantile: f64) -> f64 {
    durations.sort();
    durations[((durations.len() - 1) as f64 * quantile).round() as usize].as_secs_f64() * 1e3
}
