//! GitSync: a part of a repository that a cluster follows.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Stops fetching, applying and healing until it is false again. The guard goes on.
    #[serde(default)]
    pub suspend: bool,
    /// What happens to the objects when this GitSync is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn yes() -> bool {
    true
}

/// A place in a git repository.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The repository: `https://…` or `file://…`. Credentials belong into `secretRef`.
    #[schemars(regex(pattern = r"^(https://[^@/]+/.+|file:///.+)$"), length(max = 2048))]
    pub url: String,
    /// What to follow in it.
    #[serde(default, rename = "ref")]
    pub reference: Reference,
    /// The folder whose manifests count, below the root of the repository.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub path: String,
    /// How often the repository is asked for something new, such as `30s` or `5m`; at least 1s.
    #[serde(default = "one_minute")]
    #[schemars(regex(pattern = r"^([0-9]+(s|m|h))+$"))]
    pub interval: String,
    /// A Secret of the same namespace with `username` and `password`, and `ca.crt` where the server's certificate
    /// is from a private authority; all optional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
}

fn one_minute() -> String {
    "1m".to_owned()
}

/// What a GitSync follows in its repository.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Reference {
    /// A branch.
    #[serde(default = "main")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"), length(max = 255))]
    pub branch: String,
}

impl Default for Reference {
    fn default() -> Reference {
        Reference { branch: main() }
    }
}

fn main() -> String {
    "main".to_owned()
}

/// A Secret of the GitSync's namespace.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct SecretReference {
    /// Its name.
    pub name: String,
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

/// What is known of a GitSync. Conditions follow kstatus: `Ready`, `Reconciling` and `Stalled`, with Flux' reasons.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitSyncStatus {
    /// The generation of the spec that the rest speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Reconciling`, `Stalled`.
    #[serde(default)]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The revision that was last tried, as `main@sha1:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// The revision that was last applied as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// How many objects are in the inventory.
    #[serde(default)]
    pub objects: i64,
    /// The objects that could not be applied or pruned, the first few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedObject>,
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
