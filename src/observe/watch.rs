//! One watch per pinned kind.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use gitward_core::names;
use gitward_core::plan::ObjectKey;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::heal::Healer;
use crate::apply::Kind;
use crate::kubernetes::{chain, is_status};

/// How long a run waits for what is there. Without it everything is applied, which changes nothing where nothing changed.
const LISTED: Duration = Duration::from_secs(20);

/// The watches of all pinned kinds, each in a task of its own.
pub struct Watches {
    client: Client,
    healer: Arc<Healer>,
    running: Mutex<HashMap<(String, String), Running>>,
}

struct Running {
    /// The version in which the kind is watched.
    version: String,
    task: JoinHandle<()>,
    /// Whether everything that is there was seen once.
    listed: watch::Receiver<bool>,
}

impl Watches {
    /// Watches nothing yet.
    pub fn new(client: Client, healer: Arc<Healer>) -> Watches {
        Watches { client, healer, running: Mutex::default() }
    }

    /// Makes sure that the kind is watched.
    pub fn watch(&self, kind: &Arc<Kind>) {
        self.start(kind);
    }

    /// Waits until everything of a kind was seen once.
    pub async fn listed(&self, kind: &Arc<Kind>) {
        let mut listed = self.start(kind);
        if tokio::time::timeout(LISTED, listed.wait_for(|listed| *listed)).await.is_err() {
            warn!(kind = kind.resource.kind, "what is there is not known yet; going on without");
        }
    }

    fn start(&self, kind: &Arc<Kind>) -> watch::Receiver<bool> {
        let id = (kind.resource.group.clone(), kind.resource.kind.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let version = &kind.resource.version;
        let fits = |running: &&Running| !running.task.is_finished() && running.version == *version;
        if let Some(running) = running.get(&id).filter(fits) {
            return running.listed.clone();
        }
        info!(kind = kind.resource.kind, group = kind.resource.group, "watches");
        let (done, listed) = watch::channel(false);
        let task = tokio::spawn(follow(self.client.clone(), kind.clone(), self.healer.clone(), done));
        let started = Running { version: version.clone(), task, listed: listed.clone() };
        // A version that is not served any more is watched in vain.
        if let Some(older) = running.insert(id, started) {
            older.task.abort();
        }
        listed
    }
}

async fn follow(client: Client, kind: Arc<Kind>, healer: Arc<Healer>, done: watch::Sender<bool>) {
    let pinned_only = watcher::Config::default().labels(names::SYNC_NAME);
    let start = |config| watcher(kind.api(&client, ""), config).default_backoff().boxed();
    let (mut events, mut streams) = (start(pinned_only.clone().streaming_lists()), true);
    // The objects of a new list: what is pinned and not among them was deleted while nobody watched.
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                let key = key_of(&kind, &object);
                healer.seen(&key, object);
                listed.insert(key);
            }
            Ok(watcher::Event::InitDone) => {
                let pinned = healer.pinned().of_kind(&kind.resource.group, &kind.resource.kind);
                pinned.iter().filter(|key| !listed.contains(key)).for_each(|key| healer.gone(key));
                listed = HashSet::new();
                done.send_replace(true);
            }
            Ok(watcher::Event::Apply(object)) => healer.seen(&key_of(&kind, &object), object),
            // The label may be all that went: the object itself is looked at by the apply.
            Ok(watcher::Event::Delete(object)) => healer.gone(&key_of(&kind, &object)),
            // With its definition a kind is gone, and comes back with the next object that is applied.
            Err(error)
                if is_answer(&error, 404) && !healer.pinned().holds(&kind.resource.group, &kind.resource.kind) =>
            {
                info!(
                    kind = kind.resource.kind,
                    group = kind.resource.group,
                    "is not served any more; watches no longer"
                );
                return;
            }
            // Without the feature WatchList, as in Kubernetes 1.33, an API server streams no lists.
            Err(error) if streams && is_answer(&error, 422) => {
                (events, streams) = (start(pinned_only.clone()), false);
            }
            Err(error) => {
                warn!(kind = kind.resource.kind, error = chain(&error), "the watch is interrupted; trying again")
            }
        }
    }
}

fn key_of(kind: &Kind, object: &DynamicObject) -> ObjectKey {
    ObjectKey {
        group: kind.resource.group.clone(),
        kind: kind.resource.kind.clone(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

fn is_answer(error: &watcher::Error, code: u16) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => is_status(error, code),
        watcher::Error::WatchError(status) => status.code == code,
        _ => false,
    }
}
