//! What the guard follows in the cluster: GitSyncs, for the message, and the GuardPolicy.

use std::sync::{Arc, PoisonError, RwLock};

use futures::{StreamExt, TryStreamExt};
use gitward_core::verdict::{Pin, Policy, SyncInfo};
use kube::Client;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use tokio::sync::watch;
use tracing::{info, warn};

use super::policy::policy;
use crate::api::{GitSync, GuardPolicy};

/// What the guard knows of the cluster.
#[derive(Clone)]
pub(super) struct State {
    /// None where there is no cluster.
    syncs: Option<Store<GitSync>>,
    policy: Arc<RwLock<Arc<Policy>>>,
    /// Whether it is known if there is a GuardPolicy.
    loaded: watch::Receiver<bool>,
}

impl State {
    /// The policy at this moment.
    pub(super) fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is known of the GitSync that declares an object.
    pub(super) fn sync(&self, pin: &Pin) -> Option<SyncInfo> {
        let sync = self.syncs.as_ref()?.get(&ObjectRef::new(&pin.sync_name).within(&pin.sync_namespace))?;
        let revision = sync.status.as_ref().and_then(|status| status.last_applied_revision.clone()).unwrap_or_default();
        let found = revision.rsplit_once("sha1:").map(|(name, commit)| match name.trim_end_matches('@') {
            "" => commit.to_owned(),
            name => name.to_owned(),
        });
        let reference =
            found.or_else(|| sync.spec.source.reference.branch.clone()).unwrap_or_else(|| "main".to_owned());
        Some(SyncInfo { url: sync.spec.source.url.clone(), reference, revision })
    }

    /// A policy that stays as it is.
    pub(super) fn fixed(policy: Policy) -> State {
        State { syncs: None, policy: Arc::new(RwLock::new(Arc::new(policy))), loaded: watch::channel(true).1 }
    }

    /// Starts to follow the cluster. `built_in` holds where there is no GuardPolicy.
    pub(super) fn follow(client: &Client, built_in: Policy) -> State {
        let (syncs, writer) = reflector::store();
        let stream = watcher(Api::<GitSync>::all(client.clone()), watcher::Config::default()).default_backoff();
        tokio::spawn(reflector(writer, stream).for_each(|event| async {
            if let Err(error) = event {
                warn!(%error, "GitSyncs cannot be watched: refusals name no revision until they can");
            }
        }));
        let built_in = Arc::new(built_in);
        let (loaded, receiver) = watch::channel(false);
        let policy = Arc::new(RwLock::new(built_in.clone()));
        let state = State { syncs: Some(syncs), policy, loaded: receiver };
        tokio::spawn(follow_policy(client.clone(), built_in, state.policy.clone(), loaded));
        state
    }

    /// Waits until the policy and the GitSyncs are known.
    pub(super) async fn ready(&self) {
        // The only errors are that a task ended, and with it the process.
        let _ = self.loaded.clone().wait_for(|loaded| *loaded).await;
        if let Some(syncs) = &self.syncs {
            let _ = syncs.wait_until_ready().await;
        }
    }
}

/// Keeps `current` as the GuardPolicy named `default` says. While it is missing or invalid the last valid one holds, and the
/// strict built-in one where there was none: whose declarations are enforced does not change because a policy is gone.
async fn follow_policy(
    client: Client,
    built_in: Arc<Policy>,
    current: Arc<RwLock<Arc<Policy>>>,
    loaded: watch::Sender<bool>,
) {
    let only = watcher::Config::default().fields("metadata.name=default");
    let mut events = Box::pin(watcher(Api::<GuardPolicy>::all(client), only).default_backoff());
    let mut seen = false;
    loop {
        let next = match events.try_next().await {
            Ok(None) => return,
            Ok(Some(watcher::Event::Init)) => {
                seen = false;
                continue;
            }
            Ok(Some(watcher::Event::Apply(found) | watcher::Event::InitApply(found))) => {
                seen = true;
                policy(&found.spec, &built_in.own, &built_in.owner)
            }
            Ok(Some(event @ (watcher::Event::InitDone | watcher::Event::Delete(_)))) => {
                if !seen || matches!(event, watcher::Event::Delete(_)) {
                    warn!("there is no GuardPolicy: the last valid one holds");
                }
                loaded.send_replace(true);
                continue;
            }
            Err(error) => {
                warn!(%error, "the GuardPolicy cannot be watched: the last one known holds");
                continue;
            }
        };
        match next {
            Ok(next) => {
                info!(mode = ?next.mode, allowed_fields = next.allow.len(), "follows the policy");
                *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
            }
            Err(error) => warn!(%error, "the GuardPolicy is invalid: the last valid one holds"),
        }
        loaded.send_replace(true);
    }
}
