//! BlockedChange: the record of a refusal.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Changes that the guard refused, one object per caller, object and set of fields. Written by the guard only.
#[derive(Clone, Debug, CustomResource, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "gitward.dev",
    version = "v1alpha1",
    kind = "BlockedChange",
    namespaced,
    category = "gitward",
    printcolumn = r#"{"name":"User","type":"string","jsonPath":".spec.user"}"#,
    printcolumn = r#"{"name":"Verb","type":"string","jsonPath":".spec.verb"}"#,
    printcolumn = r#"{"name":"Object","type":"string","jsonPath":".spec.summary"}"#,
    printcolumn = r#"{"name":"Fields","type":"string","jsonPath":".spec.fieldSummary"}"#,
    printcolumn = r#"{"name":"Count","type":"integer","jsonPath":".spec.count"}"#,
    printcolumn = r#"{"name":"Declared in","type":"string","jsonPath":".spec.origin"}"#,
    printcolumn = r#"{"name":"Last","type":"date","jsonPath":".spec.lastTime"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct BlockedChangeSpec {
    /// Who tried: the name that the API server gave the caller, or the one that the caller impersonated.
    pub user: String,
    /// What the API server shows of how the caller proved who it is: `ServiceAccountToken` or `Certificate`. Empty for
    /// every other way, and for an impersonated name: the API server does not tell a webhook who impersonates.
    #[serde(default)]
    pub credential: String,
    /// `create`, `update`, `delete`; with the subresource, where there is one: `update scale`.
    pub verb: String,
    /// What it was tried on.
    pub object: BlockedObject,
    /// The object in words, for `kubectl get`.
    pub summary: String,
    /// Why it was refused, in one word.
    pub reason: String,
    /// What became of it: `deny`, `warn` or `allow`, by the policy's mode.
    pub decision: String,
    /// The refused fields, the first few of them.
    #[serde(default)]
    pub fields: Vec<BlockedField>,
    /// The paths of the refused fields, for `kubectl get`.
    #[serde(default)]
    pub field_summary: String,
    /// The GitSync that declares the object, as `namespace/name`.
    #[serde(default)]
    pub git_sync: String,
    /// The file and line to change instead.
    #[serde(default)]
    pub origin: String,
    /// How often it was tried.
    pub count: i64,
    /// When it was first tried.
    pub first_time: Time,
    /// When it was last tried.
    pub last_time: Time,
}

/// The object of a refused change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct BlockedObject {
    /// API group; empty for the core API.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A field that could not be changed. Values are shortened, and never those of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockedField {
    /// JSON pointer, with list items by their keys: `/spec/containers[name=web]/image`.
    pub path: String,
    /// The value that stays, at the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value that was tried, at the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The value that stayed at the first try, where it was another; `(none)` where there was no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_before: Option<String>,
    /// The value that was tried first, where it was another; `(none)` where the field was to be removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_after: Option<String>,
}
