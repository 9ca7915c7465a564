//! Which strays there are, and what was told of each: once as an Event and a log line, and as a metric while it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use gitward_core::plan::ObjectKey;
use gitward_core::stray::Stray;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tracing::warn;

use crate::kubernetes::MANAGER;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NamespaceLabel {
    namespace: String,
}

/// What became of a stray.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It stays: the policy says so, or it may not be removed.
    Found,
    /// It was deleted.
    Removed,
    /// It is to be deleted, and why that was not possible yet.
    NotRemoved(String),
}

/// All strays that are there.
pub(super) struct Ledger {
    known: Mutex<BTreeMap<ObjectKey, Told>>,
    gauges: Family<NamespaceLabel, Gauge>,
    recorder: Recorder,
}

/// What was told of a stray.
#[derive(PartialEq, Eq)]
struct Told {
    uid: Option<String>,
    outcome: Outcome,
}

impl Ledger {
    pub(super) fn new(client: Client, registry: &mut Registry) -> Ledger {
        let gauges = Family::default();
        let help = "Objects that no git declares, in namespaces that are git's alone";
        registry.register("gitward_strays", help, gauges.clone());
        let recorder = Recorder::new(client, Reporter { controller: MANAGER.into(), instance: None });
        Ledger { known: Mutex::default(), gauges, recorder }
    }

    /// Counts a stray, and tells of it where that was not told before.
    pub(super) async fn tell(&self, stray: &Stray, about: ObjectReference, outcome: Outcome) {
        let told = Told { uid: about.uid.clone(), outcome: outcome.clone() };
        {
            let mut known = self.known();
            let before = known.get(&stray.key);
            if before == Some(&told) {
                return;
            }
            if before.is_none() {
                self.gauge(&stray.key.namespace).inc();
            }
            known.insert(stray.key.clone(), told);
        }
        let reason = if outcome == Outcome::Removed { "StrayRemoved" } else { "StrayFound" };
        let note = note(stray, &outcome);
        warn!(object = %stray.key, manager = stray.manager, reason, note, "there is a stray");
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note.chars().take(1000).collect()),
            action: "Observe".to_owned(),
            secondary: None,
        };
        // Telling is a courtesy: the log line above is out.
        let _ = self.recorder.publish(&event, &about).await;
    }

    /// The object is none, or no longer there.
    pub(super) fn forget(&self, key: &ObjectKey) {
        if self.known().remove(key).is_some() {
            self.gauge(&key.namespace).dec();
        }
    }

    /// Forgets those of which `stays` does not hold.
    pub(super) fn keep(&self, stays: impl Fn(&ObjectKey) -> bool) {
        let gone: Vec<ObjectKey> = self.known().keys().filter(|key| !stays(key)).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
    }

    /// Forgets all but what is in these namespaces, and shows their numbers.
    pub(super) fn keep_namespaces(&self, namespaces: &BTreeSet<&String>) {
        let mut known = self.known();
        let left: BTreeSet<String> =
            known.keys().map(|key| key.namespace.clone()).filter(|namespace| !namespaces.contains(namespace)).collect();
        known.retain(|key, _| !left.contains(&key.namespace));
        for namespace in left {
            self.gauges.remove(&NamespaceLabel { namespace });
        }
        for namespace in namespaces {
            drop(self.gauge(namespace));
        }
    }

    fn gauge(&self, namespace: &str) -> Gauge {
        self.gauges.get_or_create_owned(&NamespaceLabel { namespace: namespace.to_owned() })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Told>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The whole of what is told: who, and what to do.
fn note(stray: &Stray, outcome: &Outcome) -> String {
    match (outcome, stray.spared) {
        (Outcome::Removed, _) => format!("{stray}. It was removed; what is put into git stays."),
        (Outcome::NotRemoved(why), _) => format!("{stray}. It is not removed yet: {why}"),
        (Outcome::Found, None) => format!(
            "{stray}. Put it into git, or delete it: `spec.exclusive.strays: Remove` in the GuardPolicy deletes what people make there."
        ),
        (Outcome::Found, Some(spared)) => {
            format!("{stray}. Put it into git, or delete it. gitward never removes it by itself: {spared}.")
        }
    }
}
