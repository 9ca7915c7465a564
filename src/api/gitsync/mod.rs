//! GitSync: a part of a repository that a cluster follows.

mod render;
mod source;
mod status;

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::reflector::ObjectRef;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use render::{Chart, Helm, Render, Renderer, ValuesFrom, ValuesKind};
pub use source::{Reference, SecretReference, Source, Verify};
pub use status::{
    Drift, FailedObject, GitSyncStatus, HISTORY_LENGTH, Hold, MOST_DRIFTS, MOST_FAILED, PastRevision, RevisionOutcome,
};

/// Declares that the cluster follows a part of a git repository. What it declares is created, kept and, when it
/// leaves git, pruned; nobody else may change it.
#[derive(Clone, Debug, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "gitward.dev",
    version = "v1alpha1",
    kind = "GitSync",
    namespaced,
    status = "GitSyncStatus",
    category = "gitward",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name becomes a label's value: at most 63 characters"),
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Healthy","type":"string","jsonPath":".status.conditions[?(@.type==\"Healthy\")].status"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.lastAppliedRevision"}"#,
    printcolumn = r#"{"name":"Objects","type":"integer","jsonPath":".status.objects"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".spec.source.url","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct GitSyncSpec {
    /// Where the objects are declared.
    pub source: Source,
    /// How files become objects.
    #[serde(default)]
    pub render: Render,
    /// The service account of the GitSync's namespace whose rights it has. Whoever writes the GitSync must be allowed to
    /// impersonate it. Not in gitward's own namespace, whose GitSyncs may do everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"), length(max = 253))]
    pub service_account_name: Option<String>,
    /// The namespace of objects that name none. Without it such an object is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_namespace: Option<String>,
    /// Whether an object that leaves git is deleted.
    #[serde(default = "yes")]
    pub prune: bool,
    /// The largest share of the objects that may be pruned at once, in percent, where it is more than a few. A plan that would
    /// prune more, or everything, is refused: more often a wrong path than a wish.
    #[serde(default = "half")]
    #[schemars(range(min = 0, max = 100))]
    pub max_prune_percent: u8,
    /// GitSyncs that must be Ready before this one is applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub depends_on: Vec<SyncReference>,
    /// Whether the GitSync is Ready only when everything that it declares is healthy.
    #[serde(default)]
    pub wait: bool,
    /// How long objects may take to become healthy, such as `5m`: between two waves, and where `wait` or `onFailure` ask for
    /// it at the end.
    #[serde(default = "five_minutes")]
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub timeout: String,
    /// Fields that are left to others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub ignore: Vec<Ignore>,
    /// Stops fetching, applying and healing until it is false again. The guard goes on.
    #[serde(default)]
    pub suspend: bool,
    /// Ends `suspend` at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend_until: Option<Time>,
    /// What happens when a revision cannot be applied as a whole, or does not become healthy in time.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What happens to the objects when this GitSync is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn yes() -> bool {
    true
}

fn half() -> u8 {
    50
}

fn five_minutes() -> String {
    "5m".to_owned()
}

/// Names a GitSync in the cluster. Its text is `namespace/name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl SyncId {
    /// The name of a GitSync.
    pub fn of(sync: &GitSync) -> SyncId {
        let metadata = &sync.metadata;
        SyncId {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// How the controller names it.
    pub fn to_ref(&self) -> ObjectRef<GitSync> {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

impl fmt::Display for SyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Another GitSync.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SyncReference {
    /// Its name.
    pub name: String,
    /// Its namespace; that of this GitSync where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Fields of some objects that git may declare, but that are left to others.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Ignore {
    /// The API group; empty for the core API.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The kind.
    pub kind: String,
    /// The namespace; any where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name; any where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// JSON pointers (RFC 6901) to the fields, such as `/spec/replicas`.
    #[schemars(length(min = 1, max = 64), inner(regex(pattern = r"^(/[^/]+)+$")))]
    pub pointers: Vec<String>,
}

/// What happens when a revision fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum OnFailure {
    /// It stays, and is tried again.
    #[default]
    Retry,
    /// The last healthy revision is applied again and held until git moves on.
    Rollback,
}

/// What happens to the objects of a GitSync that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay as they are and are nobody's: the guard lets them be changed.
    #[default]
    Orphan,
    /// They are deleted.
    Delete,
}
