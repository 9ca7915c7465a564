//! Healing: an object that is not as it was left is applied again, at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gitward_core::fields::{FieldSet, Object, diff};
use gitward_core::plan::ObjectKey;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::reflector::ObjectRef;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, mpsc};
use tracing::{info, warn};

use super::pinned::{Pinned, PinnedObject, of, version};
use crate::api::GitSync;
use crate::apply::{ApplyError, apply};

/// How many objects are healed at a time.
const CONCURRENT: usize = 32;
/// An object that drifts again within this time after it was healed is being fought over, or cannot be healed.
const QUIET: Duration = Duration::from_secs(60);
/// The first heals come at once; a fight is slowed down after this many.
const PATIENCE: u32 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A drift that was healed.
#[derive(Clone, Debug)]
pub struct Drift {
    /// The GitSync whose object it is.
    pub sync: ObjectRef<GitSync>,
    /// What happened, in words.
    pub message: String,
}

/// How often an object was healed lately.
struct Streak {
    since: Instant,
    heals: u32,
}

/// Heals what the watches see.
pub struct Healer {
    client: Client,
    pinned: Arc<Pinned>,
    slots: Arc<Semaphore>,
    streaks: Mutex<HashMap<ObjectKey, Streak>>,
    drifts: mpsc::Sender<Drift>,
    healed: Counter,
}

/// What the watch saw of an object.
enum Seen {
    Changed(Box<DynamicObject>),
    Gone,
}

impl Healer {
    /// A healer, and the drifts that it heals, to be told to people.
    pub fn new(client: Client, pinned: Arc<Pinned>, registry: &mut Registry) -> (Arc<Healer>, mpsc::Receiver<Drift>) {
        let (drifts, told) = mpsc::channel(256);
        let healed = Counter::default();
        registry.register(
            "gitward_drifts_healed",
            "Pinned objects that were put back as git declares them",
            healed.clone(),
        );
        let slots = Arc::new(Semaphore::new(CONCURRENT));
        (Arc::new(Healer { client, pinned, slots, streaks: Mutex::default(), drifts, healed }), told)
    }

    /// What is pinned.
    pub fn pinned(&self) -> &Pinned {
        &self.pinned
    }

    /// A pinned object was seen in this state.
    pub fn seen(self: &Arc<Healer>, key: &ObjectKey, object: &DynamicObject) {
        let Some(known) = self.pinned.get(key) else { return };
        // An object on its way out is healed when it is gone; an apply before would not keep it.
        if object.metadata.deletion_timestamp.is_none() && is_news(object, &known) {
            self.start(key, Seen::Changed(Box::new(object.clone())));
        }
    }

    /// A pinned object was deleted, or lost its label.
    pub fn gone(self: &Arc<Healer>, key: &ObjectKey) {
        if self.pinned.get(key).is_some() {
            self.start(key, Seen::Gone);
        }
    }

    fn start(self: &Arc<Healer>, key: &ObjectKey, seen: Seen) {
        let (healer, key, started) = (self.clone(), key.clone(), Instant::now());
        tokio::spawn(async move {
            let wait = healer.wait(&key);
            if !wait.is_zero() {
                warn!(object = %key, seconds = wait.as_secs(), "drifts again and again; healing waits");
                tokio::time::sleep(wait).await;
            }
            let Ok(_slot) = healer.slots.acquire().await else { return };
            if let Err(error) = healer.heal(&key, &seen, started).await {
                warn!(object = %key, %error, "cannot be healed; trying again");
                healer.start(&key, seen);
            }
        });
    }

    /// How long to wait before the object is healed again: nothing for the first times, then longer and longer.
    fn wait(&self, key: &ObjectKey) -> Duration {
        let mut streaks = self.streaks.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let streak = streaks.entry(key.clone()).or_insert(Streak { since: now, heals: 0 });
        if now.duration_since(streak.since) > QUIET * 2 {
            *streak = Streak { since: now, heals: 0 };
        }
        streak.heals += 1;
        match streak.heals.checked_sub(PATIENCE) {
            None | Some(0) => Duration::ZERO,
            Some(over) => {
                streak.since = now;
                LONGEST_WAIT.min(Duration::from_millis(250) * 2_u32.saturating_pow(over))
            }
        }
    }

    async fn heal(&self, key: &ObjectKey, seen: &Seen, started: Instant) -> Result<(), ApplyError> {
        let _alone = self.pinned.lock(key).await;
        // Meanwhile it may have been healed by the next sync, or left git.
        let Some(known) = self.pinned.get(key) else { return Ok(()) };
        if let Seen::Changed(object) = seen
            && !is_news(object, &known)
        {
            return Ok(());
        }
        let declared = known.declared.read()?;
        let applied = apply(&self.client, &known.kind, key, &declared).await?;
        let changed = match seen {
            Seen::Changed(object) => of(object) != of(&applied),
            Seen::Gone => version(&applied) != known.version,
        };
        self.pinned.settle(key, known.sync.clone(), known.kind.clone(), known.declared.clone(), &applied);
        if changed {
            self.tell(key, known, seen, &applied, started);
        }
        Ok(())
    }

    fn tell(&self, key: &ObjectKey, known: PinnedObject, seen: &Seen, applied: &DynamicObject, started: Instant) {
        self.healed.inc();
        let took = started.elapsed().as_millis();
        let what = match seen {
            Seen::Changed(object) => describe(object, applied),
            Seen::Gone => "it was deleted".to_owned(),
        };
        info!(object = %key, what, took_ms = took, git_sync = %known.sync, "healed a drift");
        let message = format!("{}: {what}; put back after {took} ms", key.in_words());
        // Telling is a courtesy: the log line above is out, and healing never waits for it.
        let _ = self.drifts.try_send(Drift { sync: known.sync, message });
    }
}

fn is_news(object: &DynamicObject, known: &PinnedObject) -> bool {
    version(object) > known.version && of(object) != known.settled
}

/// Which fields drifted, and through which manager.
fn describe(drifted: &DynamicObject, applied: &DynamicObject) -> String {
    let text = |object| serde_json::to_string(object).unwrap_or_default();
    let (from, to) = (text(drifted), text(applied));
    let read = |text| serde_json::from_str::<Object<'_>>(text).unwrap_or_default();
    let (from, to) = (read(&from), read(&to));
    let mut shape = FieldSet::default();
    from.meta.managed_fields.iter().chain(&to.meta.managed_fields).for_each(|entry| shape.merge(&entry.fields()));
    let fields: Vec<_> = diff(&from, &to, &shape)
        .iter()
        .filter(|change| !["status", "metadata"].iter().any(|key| change.path.is_under(&[key])) || is_text(change))
        .map(|change| change.path.dotted())
        .take(5)
        .collect();
    let newest = drifted.metadata.managed_fields.iter().flatten().max_by_key(|entry| entry.time.as_ref().map(|t| t.0));
    let manager = newest.and_then(|entry| entry.manager.clone()).unwrap_or_else(|| "somebody".to_owned());
    match fields.as_slice() {
        [] => format!("{manager} changed who owns its fields"),
        fields => format!("{manager} changed {}", fields.join(", ")),
    }
}

/// Labels and annotations are metadata that people change.
fn is_text(change: &gitward_core::fields::Change<'_>) -> bool {
    ["labels", "annotations"].iter().any(|key| change.path.is_under(&["metadata", key]))
}
