//! Heals one object at a time, the moment it is seen to have drifted.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use futures::future::BoxFuture;
use gitward_core::fields::Object;
use gitward_core::names;
use gitward_core::plan::{ObjectKey, autoscaler};
use gitward_core::stray::copy_of;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::Client;
use kube::api::{Api, DynamicObject, ListParams};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

use super::drift::{Drift, Told, describe, manager_of};
use super::pinned::{Pinned, PinnedObject, Sight, version};
use super::streak::Streaks;
use super::wake::Wakes;
use crate::api::SyncId;
use crate::apply::{ApplyError, Declaration, Rules, put};
use crate::render::Slice;

/// How many objects are healed at a time.
const CONCURRENT: usize = 32;
/// What an autoscaler writes.
const REPLICAS: &str = "/spec/replicas";

/// Says of an object of a GitSync whether it may be put back; an error says why not, or that it cannot be told.
pub type Permission = Box<dyn Fn(SyncId, ObjectKey, Slice) -> BoxFuture<'static, Result<(), ApplyError>> + Send + Sync>;

/// Heals what the watches see.
pub struct Healer {
    client: Client,
    pinned: Arc<Pinned>,
    rules: Arc<Rules>,
    wakes: Arc<Wakes>,
    slots: Semaphore,
    /// What is being healed, and what was seen of it that was not looked at yet.
    pending: Mutex<HashMap<ObjectKey, Option<(Seen, Instant)>>>,
    /// Whether an object may be put back.
    permission: OnceLock<Permission>,
    streaks: Streaks,
    /// Copies that were told of.
    copies: Mutex<HashSet<ObjectKey>>,
    told: mpsc::Sender<Told>,
    healed: Counter,
}

/// What the watch saw of an object.
enum Seen {
    Changed(Box<DynamicObject>),
    Gone,
}

impl Healer {
    /// A healer, and what it has to tell people.
    pub fn new(
        client: Client,
        pinned: Arc<Pinned>,
        rules: Arc<Rules>,
        wakes: Arc<Wakes>,
        registry: &mut Registry,
    ) -> (Arc<Healer>, mpsc::Receiver<Told>) {
        let (told, news) = mpsc::channel(256);
        let healed = Counter::default();
        let help = "Pinned objects that were put back as git declares them";
        registry.register("gitward_drifts_healed", help, healed.clone());
        let healer = Healer {
            client,
            pinned,
            rules,
            wakes,
            slots: Semaphore::new(CONCURRENT),
            pending: Mutex::default(),
            permission: OnceLock::new(),
            streaks: Streaks::default(),
            copies: Mutex::default(),
            told,
            healed,
        };
        (Arc::new(healer), news)
    }

    /// Asks this from now on whether an object may be put back. Without it all may.
    pub fn ask(&self, permission: Permission) {
        let _ = self.permission.set(permission);
    }

    /// What is pinned.
    pub fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// What cannot be healed at this moment, or is fought over, in words.
    pub fn trouble(&self, key: &ObjectKey) -> Option<String> {
        self.streaks.trouble(key)
    }

    /// An object that wears gitward's labels was seen in this state.
    pub fn seen(self: &Arc<Healer>, key: &ObjectKey, object: DynamicObject) {
        if self.pinned.get(key).is_none() {
            self.report_copy(key, &object);
            return;
        }
        let sight = self.pinned.see(key, &object);
        self.act(key, &sight, || Seen::Changed(Box::new(object)));
    }

    /// Tells once of an object that is marked as if git declared it, and is none that git declares.
    fn report_copy(&self, key: &ObjectKey, object: &DynamicObject) {
        let text = serde_json::to_string(object).unwrap_or_default();
        let read: Object<'_> = serde_json::from_str(&text).unwrap_or_default();
        let Some(what) = copy_of(&read, (&key.group, &key.kind)) else { return };
        let label = |key: &str| read.label(key).map(Cow::into_owned).unwrap_or_default();
        let sync = SyncId { namespace: label(names::SYNC_NAMESPACE), name: label(names::SYNC_NAME) };
        if self.copies.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            warn!(object = %key, what, "a copy of what git declares");
            let _ = self.told.try_send(Told::Copy { sync, what });
        }
    }

    /// A pinned object was deleted, or lost its label.
    pub fn gone(self: &Arc<Healer>, key: &ObjectKey) {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let sight = self.pinned.miss(key);
        self.act(key, &sight, || Seen::Gone);
    }

    fn act(self: &Arc<Healer>, key: &ObjectKey, sight: &Sight, seen: impl FnOnce() -> Seen) {
        if let Some(sync) = &sight.health_of {
            self.wakes.wake(sync);
        }
        if sight.is_drift {
            self.start(key, seen());
        }
    }

    /// One task heals an object, whatever is seen of it meanwhile: only the last sight counts.
    fn start(self: &Arc<Healer>, key: &ObjectKey, seen: Seen) {
        let sight = (seen, Instant::now());
        if self.pending().insert(key.clone(), Some(sight)).is_none() {
            let (healer, key) = (self.clone(), key.clone());
            tokio::spawn(async move { healer.work_off(&key).await });
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<ObjectKey, Option<(Seen, Instant)>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work_off(self: &Arc<Healer>, key: &ObjectKey) {
        while self.has_work(key) {
            let wait = self.streaks.count(key);
            if !wait.is_zero() {
                warn!(
                    object = %key,
                    seconds = wait.as_secs(),
                    "waits before it is put back: it drifts again and again, or could not be put back"
                );
                tokio::time::sleep(wait).await;
            }
            let Ok(_slot) = self.slots.acquire().await else { return };
            let sight = self.pending().get_mut(key).and_then(Option::take);
            let Some((seen, started)) = sight else { continue };
            match self.heal(key, &seen, started).await {
                Ok(true) => {}
                Ok(false) => self.streaks.take_back(key),
                Err(error) => {
                    warn!(object = %key, %error, "cannot be healed; trying again");
                    self.trouble_with(key, Some(format!("cannot be put back: {error}")));
                    // Unless something newer was seen.
                    self.pending().get_mut(key).map(|pending| pending.get_or_insert((seen, started)));
                }
            }
        }
    }

    /// Whether there is something to heal; where there is not, the task ends.
    fn has_work(&self, key: &ObjectKey) -> bool {
        let mut pending = self.pending();
        let has_work = pending.get(key).is_some_and(Option::is_some);
        if !has_work {
            pending.remove(key);
        }
        has_work
    }

    fn trouble_with(&self, key: &ObjectKey, trouble: Option<String>) {
        self.streaks.tell(key, trouble);
        if let Some(known) = self.pinned.get(key) {
            self.wakes.wake(&known.sync);
        }
    }

    /// Whether there was something to heal.
    async fn heal(&self, key: &ObjectKey, seen: &Seen, started: Instant) -> Result<bool, ApplyError> {
        let _alone = self.pinned.lock(key).await;
        // Meanwhile it may have been healed by the next sync, or left git.
        let Some(known) = self.pinned.get(key) else { return Ok(false) };
        let Some(slice) = known.declared.clone() else { return Ok(false) };
        if let Seen::Changed(object) = seen
            && !self.pinned.is_news(object, &known)
        {
            return Ok(false);
        }
        if let Some(permission) = self.permission.get() {
            permission(SyncId::clone(&known.sync), key.clone(), slice.clone()).await?;
            if self.pinned.get(key).is_none() {
                return Ok(false);
            }
        }
        let mut declared: Declaration = slice.read()?;
        let live = match seen {
            Seen::Changed(object) => Some(&**object),
            Seen::Gone => None,
        };
        if known.is_scaled || self.is_scaled(key, live).await? {
            self.pinned.leave_replicas(key);
            declared.leave.push(REPLICAS.to_owned());
        }
        let applied = put(&self.client, &known.kind, key, &declared, &self.rules.now(), live).await?;
        self.pinned.settle_healed(key, &known.sync, &applied);
        let changed = match seen {
            Seen::Changed(object) => self.pinned.get(key).is_some_and(|now| self.pinned.is_other(object, &now)),
            Seen::Gone => version(&applied) != known.version,
        };
        if changed {
            self.tell(key, &known, seen, &applied, started);
        }
        Ok(changed)
    }

    /// Whether an autoscaler that git does not know scales the object: one that another repository or an operator made.
    async fn is_scaled(&self, key: &ObjectKey, live: Option<&DynamicObject>) -> Result<bool, ApplyError> {
        let entries = live.into_iter().flat_map(|live| live.metadata.managed_fields.iter().flatten());
        let rules = self.rules.now();
        let is_by_controller = |manager: &Option<String>| !manager.as_deref().is_some_and(|m| rules.people.is_tool(m));
        let scaled = entries
            .filter(|entry| entry.subresource.as_deref() == Some("scale"))
            .any(|entry| is_by_controller(&entry.manager));
        if !scaled {
            return Ok(false);
        }
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &key.namespace);
        Ok(api.list(&ListParams::default()).await?.items.iter().any(|hpa| {
            let target = serde_json::to_value(hpa).ok().and_then(|hpa| autoscaler(&hpa, &key.namespace));
            target.is_some_and(|target| target.scales(key))
        }))
    }

    fn tell(&self, key: &ObjectKey, known: &PinnedObject, seen: &Seen, applied: &DynamicObject, started: Instant) {
        self.healed.inc();
        let took = started.elapsed();
        let (manager, what) = match seen {
            Seen::Changed(object) => (manager_of(object), describe(object, applied)),
            Seen::Gone => (String::new(), "it was deleted".to_owned()),
        };
        info!(object = %key, what, manager, took_ms = took.as_millis(), git_sync = %known.sync, "healed a drift");
        let fight = self.streaks.is_fight(key).then(|| match manager.as_str() {
            "" => format!("{what} again and again, and gitward makes it anew"),
            manager => {
                format!("{manager} {what} again and again, and gitward puts it back: let one of the two leave it alone")
            }
        });
        self.trouble_with(key, fight);
        let drift = Drift { sync: SyncId::clone(&known.sync), object: key.clone(), manager, what, took };
        // Telling is a courtesy: the log line above is out, and healing never waits for it.
        let _ = self.told.try_send(Told::Healed(drift));
    }
}
