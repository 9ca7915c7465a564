//! GitSyncs that have to be Ready before another one is applied.

use std::collections::HashSet;

use super::controller::Context;
use super::status::Outcome;
use crate::api::{GitSync, SyncId, SyncReference};

/// Checks that all that a GitSync depends on is Ready.
pub(super) async fn check(ctx: &Context, sync: &GitSync) -> Result<(), Outcome> {
    let id = SyncId::of(sync);
    for reference in &sync.spec.depends_on {
        let on = named(&id, reference);
        let Some(other) = ctx.store().and_then(|store| store.get(&on.to_ref())) else {
            let message = format!("spec.dependsOn: there is no GitSync {on}");
            return Err(Outcome::Failed("DependencyNotReady", message));
        };
        if leads_back(ctx, &id, &other) {
            let message = format!("spec.dependsOn: {id} and {on} wait for each other");
            return Err(Outcome::Stalled("DependencyNotReady", message));
        }
        if !is_ready(&other) {
            return Err(Outcome::Failed("DependencyNotReady", format!("Waits until GitSync {on} is Ready")));
        }
    }
    Ok(())
}

fn named(from: &SyncId, reference: &SyncReference) -> SyncId {
    let namespace = reference.namespace.clone().unwrap_or_else(|| from.namespace.clone());
    SyncId { namespace, name: reference.name.clone() }
}

/// Ready, and that is said of the spec as it is now.
fn is_ready(sync: &GitSync) -> bool {
    let Some(status) = &sync.status else { return false };
    status.observed_generation == sync.metadata.generation
        && status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether following dependencies from `sync` leads to `to`.
fn leads_back(ctx: &Context, to: &SyncId, sync: &GitSync) -> bool {
    let (mut seen, mut next) = (HashSet::new(), vec![SyncId::of(sync)]);
    while let Some(id) = next.pop() {
        if id == *to {
            return true;
        }
        if seen.insert(id.clone())
            && let Some(sync) = ctx.store().and_then(|store| store.get(&id.to_ref()))
        {
            next.extend(sync.spec.depends_on.iter().map(|reference| named(&id, reference)));
        }
    }
    false
}
