//! What the guard needs and may not write itself: gitward's own definitions, the labels by which the API server's selectors
//! find namespaces, and the rights to look objects up. Run by the reconciler, beside the flow from git.
//!
//! Imports [`crate::api`].

mod definitions;
mod exclusive;
mod lookups;

pub use definitions::Definitions;
use kube::Client;

/// Provides until the process ends.
pub async fn provide(client: Client, definitions: Definitions) {
    tokio::join!(definitions.finish(), exclusive::keep_labels(client.clone()), lookups::keep_role(client));
}
