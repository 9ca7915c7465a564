//! One watch per pinned kind.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use gitward_core::names;
use gitward_core::plan::ObjectKey;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::heal::Healer;
use crate::apply::Kind;
use crate::kubernetes::chain;

/// The watches of all pinned kinds, each in a task of its own.
pub struct Watches {
    client: Client,
    healer: Arc<Healer>,
    running: Mutex<HashMap<(String, String), JoinHandle<()>>>,
}

impl Watches {
    /// Watches nothing yet.
    pub fn new(client: Client, healer: Arc<Healer>) -> Watches {
        Watches { client, healer, running: Mutex::default() }
    }

    /// Makes sure that the kind is watched.
    pub fn watch(&self, kind: &Kind) {
        let id = (kind.resource.group.clone(), kind.resource.kind.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.get(&id).is_none_or(JoinHandle::is_finished) {
            info!(kind = kind.resource.kind, group = kind.resource.group, "watches");
            let task = follow(self.client.clone(), kind.clone(), self.healer.clone());
            running.insert(id, tokio::spawn(task));
        }
    }
}

async fn follow(client: Client, kind: Kind, healer: Arc<Healer>) {
    let pinned_only = watcher::Config::default().labels(names::SYNC_NAME).streaming_lists();
    let mut events = watcher(kind.api(&client, ""), pinned_only).default_backoff().boxed();
    // The objects of a new list: what is pinned and not among them was deleted while nobody watched.
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => {
                let key = key_of(&kind, &object);
                healer.seen(&key, &object);
                listed.insert(key);
            }
            Ok(watcher::Event::InitDone) => {
                let pinned = healer.pinned().of_kind(&kind.resource.group, &kind.resource.kind);
                pinned.iter().filter(|key| !listed.contains(key)).for_each(|key| healer.gone(key));
                listed = HashSet::new();
            }
            Ok(watcher::Event::Apply(object)) => healer.seen(&key_of(&kind, &object), &object),
            // The label may be all that went: the object itself is looked at by the apply.
            Ok(watcher::Event::Delete(object)) => healer.gone(&key_of(&kind, &object)),
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
