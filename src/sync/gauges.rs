//! How each GitSync is, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::{GitSyncStatus, SyncId};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCondition {
    namespace: String,
    name: String,
    condition: &'static str,
}

/// The conditions that are told.
const CONDITIONS: [&str; 4] = ["Ready", "Stalled", "Healthy", "Drifted"];

/// Gauges of all GitSyncs.
#[derive(Default)]
pub(super) struct Gauges {
    conditions: Family<OfCondition, Gauge>,
    objects: Family<Of, Gauge>,
}

impl Gauges {
    pub(super) fn new(registry: &mut Registry) -> Gauges {
        let gauges = Gauges::default();
        let help = "Whether a condition of a GitSync is True (1) or not (0)";
        registry.register("gitward_gitsync_condition", help, gauges.conditions.clone());
        registry.register("gitward_gitsync_objects", "Objects that a GitSync has created", gauges.objects.clone());
        gauges
    }

    /// Tells the status of a GitSync.
    pub(super) fn tell(&self, sync: &SyncId, status: &GitSyncStatus) {
        for condition in CONDITIONS {
            let is_true = status.conditions.iter().any(|c| c.type_ == condition && c.status == "True");
            self.conditions.get_or_create(&of_condition(sync, condition)).set(i64::from(is_true));
        }
        self.objects.get_or_create(&of(sync)).set(status.objects);
    }

    /// A GitSync is gone.
    pub(super) fn forget(&self, sync: &SyncId) {
        for condition in CONDITIONS {
            self.conditions.remove(&of_condition(sync, condition));
        }
        self.objects.remove(&of(sync));
    }
}

fn of(sync: &SyncId) -> Of {
    Of { namespace: sync.namespace.clone(), name: sync.name.clone() }
}

fn of_condition(sync: &SyncId, condition: &'static str) -> OfCondition {
    OfCondition { namespace: sync.namespace.clone(), name: sync.name.clone(), condition }
}
