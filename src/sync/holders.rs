//! The label on Namespaces and definitions that hold pinned objects.

use std::collections::BTreeSet;

use gitward_core::plan::ObjectKey;

use super::controller::Context;
use super::declared::Ready;
use super::inventory::Inventory;
use crate::api::SyncId;
use crate::apply::{ApplyError, Holder, guard_holder};

/// Namespaces and definitions are guarded before the first object is in them. Those that git itself declares get the
/// label there.
pub(super) async fn guard_holders(ctx: &Context, ready: &[Ready]) -> Result<(), ApplyError> {
    let declared: BTreeSet<Holder> = ready.iter().filter_map(|ready| as_holder(&ready.key)).collect();
    let mut used = BTreeSet::new();
    for ready in ready {
        used.extend(holders(ctx, &ready.key, &ready.api_version).await);
    }
    for holder in used.difference(&declared) {
        guard_holder(&ctx.client, holder, true).await?;
    }
    Ok(())
}

/// The GitSync, other than `id`, that has objects in a Namespace or of a definition.
pub(super) async fn held_by_other(ctx: &Context, id: &SyncId, key: &ObjectKey) -> Option<SyncId> {
    let holder = as_holder(key)?;
    for (other, inventory) in ctx.inventories.all().await.into_iter().filter(|(other, _)| other != id) {
        for (key, record) in &inventory {
            if holders(ctx, key, &record.api_version).await.contains(&holder) {
                return Some(other);
            }
        }
    }
    None
}

/// The holder that an object is.
fn as_holder(key: &ObjectKey) -> Option<Holder> {
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "Namespace") => Some(Holder::Namespace(key.name.clone())),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => Some(Holder::Definition(key.name.clone())),
        _ => None,
    }
}

/// What holds an object. A kind that is not served yet comes with its definition, which bears the label itself.
async fn holders(ctx: &Context, key: &ObjectKey, api_version: &str) -> Vec<Holder> {
    let mut holders = Vec::new();
    if !key.namespace.is_empty() {
        holders.push(Holder::Namespace(key.namespace.clone()));
    }
    // Kubernetes' own groups have no dot, or end in k8s.io as some definitions do.
    if key.group.contains('.')
        && let Ok(kind) = ctx.kinds.get(api_version, &key.kind).await
    {
        holders.push(Holder::Definition(format!("{}.{}", kind.resource.plural, key.group)));
    }
    holders
}

/// Takes the label off what holds no pinned object any more, once `after` is the inventory of a GitSync. Before that is stored: who
/// comes back from a crash still knows what was held.
pub(super) async fn release_holders(
    ctx: &Context,
    id: &SyncId,
    before: &Inventory,
    after: &Inventory,
) -> Result<(), ApplyError> {
    if before.keys().all(|key| after.contains_key(key)) {
        return Ok(());
    }
    let mut still = BTreeSet::new();
    for (other, inventory) in ctx.inventories.all().await {
        let inventory = if other == *id { after } else { &inventory };
        for (key, record) in inventory {
            still.extend(holders(ctx, key, &record.api_version).await);
            // What git declares itself bears the label there.
            still.extend(as_holder(key));
        }
    }
    let mut was = BTreeSet::new();
    for (key, record) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
        was.extend(holders(ctx, key, &record.api_version).await);
        was.extend(as_holder(key));
    }
    for holder in was.difference(&still) {
        guard_holder(&ctx.client, holder, false).await?;
    }
    Ok(())
}
