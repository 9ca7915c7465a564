//! gitward's own kinds (group `gitward.dev`, version `v1alpha1`), one file each. The CRDs of the chart are generated
//! from these types by `gitward crds`.
//!
//! Imports nothing of gitward's but the names of `gitward-core`.

mod blockedchange;
mod gitsync;
mod guardpolicy;

pub use blockedchange::{BlockedChange, BlockedChangeSpec, BlockedField, BlockedObject};
pub use gitsync::{
    Chart, DeletionPolicy, Drift, FailedObject, GitSync, GitSyncSpec, GitSyncStatus, HISTORY_LENGTH, Helm, Hold,
    Ignore, MOST_DRIFTS, MOST_FAILED, OnFailure, PastRevision, Reference, Render, Renderer, RevisionOutcome,
    SecretReference, Source, SyncId, SyncReference, ValuesFrom, ValuesKind, Verify,
};
pub use guardpolicy::{
    Callers, DeclarationOwner, DescendantAccess, Descendants, ExceptedKind, ExclusiveNamespaces, GuardMode,
    GuardPolicy, GuardPolicySpec, Installers, OperatorPreset, OwnerPreset, StrayAction,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// Annotation of the CRDs: the version of gitward that made them.
pub const VERSION: &str = "gitward.dev/version";

/// The CRDs of all kinds, as the chart ships them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![GitSync::crd(), GuardPolicy::crd(), BlockedChange::crd()];
    for crd in &mut crds {
        // Uninstalling gitward must not delete what it recorded, nor orphan GitSyncs half-way.
        let annotations = [("helm.sh/resource-policy", "keep"), (VERSION, env!("CARGO_PKG_VERSION"))];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        crd.metadata.annotations.get_or_insert_default().extend(annotations);
    }
    crds
}
