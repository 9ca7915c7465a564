//! One kind in one namespace, or in all of them: each change is judged, each stray told and, where the policy says so, removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitward_core::plan::ObjectKey;
use gitward_core::stray::{Rules, Stray};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::time::Instant;
use tracing::{info, warn};

use super::Declared;
use super::ledger::{Ledger, Outcome};
use crate::kubernetes::{chain, describe, is_status};

/// An object whose name was removed within this time is waited for: what makes it again and again is not to be raced.
const QUIET: Duration = Duration::from_secs(600);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// What only an inventory keeps from being a stray is looked at this often: an inventory tells nobody of its changes.
const DECLARED: Duration = Duration::from_secs(30);

type Metadata = PartialObjectMeta<DynamicObject>;

/// How often the object of a name was removed, and when last.
struct Removed {
    times: u32,
    at: Instant,
}

/// The watch of one kind.
pub(super) struct Watch {
    client: Client,
    kind: ApiResource,
    scope: String,
    rules: Arc<Rules>,
    remove: bool,
    ledger: Arc<Ledger>,
    declared: Declared,
    removed: HashMap<ObjectKey, Removed>,
    /// What is looked at again though nothing changes, and when.
    due: BTreeMap<ObjectKey, Instant>,
}

impl Watch {
    pub(super) fn new(
        client: Client,
        kind: ApiResource,
        scope: String,
        rules: Arc<Rules>,
        remove: bool,
        ledger: Arc<Ledger>,
        declared: Declared,
    ) -> Watch {
        let (removed, due) = (HashMap::new(), BTreeMap::new());
        Watch { client, kind, scope, rules, remove, ledger, declared, removed, due }
    }

    /// Follows until it is dropped.
    pub(super) async fn follow(mut self) {
        let api = self.api(&self.scope);
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed = BTreeSet::new();
        let mut interrupted = false;
        loop {
            let due = self.due.values().min().copied();
            let event = tokio::select! {
                event = events.next() => event,
                () = sleep_until(due) => {
                    self.look_again().await;
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => {
                    interrupted = false;
                    self.on_event(event, &mut listed).await;
                }
                Some(Err(error)) => {
                    if !std::mem::replace(&mut interrupted, true) {
                        let kind = &self.kind.kind;
                        warn!(kind, error = chain(&error), "strays of a kind cannot be seen; trying again");
                    }
                }
                None => return,
            }
        }
    }

    async fn on_event(&mut self, event: watcher::Event<Metadata>, listed: &mut BTreeSet<ObjectKey>) {
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => {
                if let Some(key) = self.key_of(&object) {
                    self.seen(&key, &object).await;
                    listed.insert(key);
                }
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(listed);
                let (kind, scope) = (&self.kind, &self.scope);
                self.ledger.keep(|key| {
                    let is_here = (&key.group, &key.kind) == (&kind.group, &kind.kind)
                        && (scope.is_empty() || *scope == key.namespace);
                    !is_here || listed.contains(key)
                });
                self.due.retain(|key, _| listed.contains(key));
            }
            watcher::Event::Apply(object) => {
                if let Some(key) = self.key_of(&object) {
                    self.seen(&key, &object).await;
                }
            }
            watcher::Event::Delete(object) => {
                if let Some(key) = self.key_of(&object) {
                    self.forget(&key);
                }
            }
        }
    }

    /// The object's key, where it is in a namespace in which it may be a stray.
    fn key_of(&self, object: &Metadata) -> Option<ObjectKey> {
        let namespace = object.metadata.namespace.clone().filter(|namespace| self.rules.hold_in(namespace))?;
        let name = object.metadata.name.clone()?;
        Some(ObjectKey { group: self.kind.group.clone(), kind: self.kind.kind.clone(), namespace, name })
    }

    async fn seen(&mut self, key: &ObjectKey, object: &Metadata) {
        self.due.remove(key);
        let Some(stray) = self.stray(object) else { return self.ledger.forget(key) };
        if (self.declared)(key.clone()).await {
            self.ledger.forget(key);
            self.due.insert(key.clone(), Instant::now() + DECLARED);
            return;
        }
        if !self.remove || stray.spared.is_some() {
            return self.ledger.tell(&stray, self.reference(object), Outcome::Found).await;
        }
        let may = self.removed.get(key).map(|removed| removed.at + wait(removed.times));
        if let Some(later) = may.filter(|may| *may > Instant::now()) {
            self.due.insert(key.clone(), later);
            let why =
                Outcome::NotRemoved("it came back soon after it was removed; gitward waits longer each time".into());
            return self.ledger.tell(&stray, self.reference(object), why).await;
        }
        if let Some(outcome) = self.remove(key, object).await {
            self.ledger.tell(&stray, self.reference(object), outcome).await;
        }
    }

    /// Says whether the object is a stray. What cannot be read is none.
    fn stray(&self, object: &Metadata) -> Option<Stray> {
        let text = serde_json::to_string(object).ok()?;
        self.rules.stray(&serde_json::from_str(&text).ok()?, (&self.kind.group, &self.kind.kind))
    }

    /// Deletes an object as it was seen. `None` where it has changed meanwhile: then it is seen again.
    async fn remove(&mut self, key: &ObjectKey, object: &Metadata) -> Option<Outcome> {
        let now = Instant::now();
        self.removed.retain(|_, removed| now.duration_since(removed.at) < QUIET);
        let times = self.removed.get(key).map_or(0, |removed| removed.times).saturating_add(1);
        self.removed.insert(key.clone(), Removed { times, at: now });
        let (uid, resource_version) = (object.metadata.uid.clone(), object.metadata.resource_version.clone());
        // Before the deletion: a crash must not lose the record of it.
        info!(object = %key, uid, "removes a stray");
        let params = DeleteParams::background().preconditions(Preconditions { uid, resource_version });
        match self.api(&key.namespace).delete(&key.name, &params).await {
            Ok(_) => Some(Outcome::Removed),
            Err(error) if is_status(&error, 404) => None,
            Err(error) => {
                self.due.insert(key.clone(), now + wait(times));
                (!is_status(&error, 409)).then(|| Outcome::NotRemoved(describe(&error)))
            }
        }
    }

    /// Looks at what is due.
    async fn look_again(&mut self) {
        let now = Instant::now();
        let due: Vec<ObjectKey> = self.due.iter().filter(|(_, at)| **at <= now).map(|(key, _)| key.clone()).collect();
        for key in due {
            match self.api(&key.namespace).get_opt(&key.name).await {
                Ok(Some(object)) => self.seen(&key, &object).await,
                Ok(None) => self.forget(&key),
                Err(_) => drop(self.due.insert(key, now + DECLARED)),
            }
        }
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.due.remove(key);
        self.ledger.forget(key);
    }

    fn api(&self, namespace: &str) -> Api<Metadata> {
        match namespace {
            "" => Api::all_with(self.client.clone(), &self.kind),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &self.kind),
        }
    }

    fn reference(&self, object: &Metadata) -> ObjectReference {
        ObjectReference {
            api_version: Some(self.kind.api_version.clone()),
            kind: Some(self.kind.kind.clone()),
            namespace: object.metadata.namespace.clone(),
            name: object.metadata.name.clone(),
            uid: object.metadata.uid.clone(),
            ..ObjectReference::default()
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// 1 s, 2 s, 4 s … 5 min.
fn wait(times: u32) -> Duration {
    Duration::from_secs(1_u64 << times.saturating_sub(1).min(9)).min(LONGEST_WAIT)
}
