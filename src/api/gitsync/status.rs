//! What is known of a GitSync.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many failed objects a status lists.
pub const MOST_FAILED: usize = 10;
/// How many drifts a status lists.
pub const MOST_DRIFTS: usize = 10;
/// How many revisions a status remembers.
pub const HISTORY_LENGTH: usize = 10;

/// What is known of a GitSync. Conditions follow kstatus: `Ready`, `Reconciling` and `Stalled`, with Flux' reasons; beside
/// them `Healthy` and `Drifted`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSyncStatus {
    /// The generation of the spec that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`, `Healthy`, `Drifted`.
    #[serde(default)]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The revision that was last tried, as `main@sha1:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// The revision that was last applied as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// The newest revision of which everything was healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_healthy_revision: Option<String>,
    /// The value of the annotation `reconcile.fluxcd.io/requestedAt` that was last followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// A hash of what was declared when hooks ran last; they run again when something else is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hook_run: Option<String>,
    /// The revision that is held instead of the newest, until git moves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// The revisions that were tried, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<PastRevision>,
    /// How many objects are in the inventory.
    #[serde(default)]
    pub objects: i64,
    /// The objects that could not be applied or pruned, the first few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedObject>,
    /// The drifts that were healed last, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifts: Vec<Drift>,
}

/// Lists conditions by type, so that two writers of different conditions do not meet.
fn conditions(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let mut schema = Vec::<Condition>::json_schema(generator);
    schema.insert("x-kubernetes-list-type".to_owned(), "map".into());
    schema.insert("x-kubernetes-list-map-keys".to_owned(), vec!["type"].into());
    schema
}

/// An object that could not be applied or pruned.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct FailedObject {
    /// Its pinned-id.
    pub object: String,
    /// The file and line that declare it; empty for what is pruned.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// What went wrong.
    pub message: String,
}

/// A revision that is held although git has a newer one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The revision that is applied.
    pub revision: String,
    /// The revision that git has, and that is passed over; anything newer ends the hold.
    pub instead_of: String,
    /// Why.
    pub reason: String,
    /// The value of the annotation `gitward.dev/rollback-to` that asked for it; empty where nobody did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub requested: String,
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RevisionOutcome {
    /// It is being applied, or could not be applied as a whole.
    Attempted,
    /// Everything is applied.
    Applied,
    /// Everything was healthy.
    Healthy,
    /// It was left for an older revision.
    RolledBack,
}

/// A revision that was tried.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PastRevision {
    /// As `main@sha1:…`.
    pub revision: String,
    /// Who wrote the commit.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// The first line of the commit's message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How far it came.
    pub outcome: RevisionOutcome,
    /// When it was first tried.
    pub attempted_at: Time,
}

/// A drift that was healed.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Drift {
    /// The object's pinned-id.
    pub object: String,
    /// When it was healed.
    pub time: Time,
    /// The field manager that caused it; empty where that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manager: String,
    /// The user, where the guard saw the change and let it through; empty elsewhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// What happened, in words.
    pub what: String,
}
