//! The end of a GitSync: its objects are released or deleted, as its `deletionPolicy` says.

use std::cmp::Reverse;

use gitward_core::plan::{ObjectKey, rank};
use kube::runtime::reflector::ObjectRef;
use tracing::info;

use super::RunError;
use super::controller::Context;
use super::declared::name_of;
use super::run::{prune_one, release_holders};
use crate::api::{DeletionPolicy, GitSync};
use crate::apply::{ApplyError, release};

/// Cleans up after a GitSync that is being deleted. What fails is tried again until it is through.
pub(super) async fn clean_up(ctx: &Context, sync: &GitSync) -> Result<(), RunError> {
    let (_, name) = name_of(sync);
    ctx.pinned.forget_sync(&ObjectRef::from_obj(sync));
    let mut inventory = ctx.inventories.get(name).await;
    let before = inventory.clone();
    let mut keys: Vec<ObjectKey> = inventory.keys().cloned().collect();
    keys.sort_by_key(|key| Reverse(rank(key)));
    for key in keys {
        let version = inventory.get(&key).cloned().unwrap_or_default();
        let ended = match sync.spec.deletion_policy {
            DeletionPolicy::Delete => prune_one(ctx, sync, &key, &version).await.map(|_| ()),
            DeletionPolicy::Orphan => release_one(ctx, sync, &key, &version).await,
        };
        if let Err(error) = ended {
            ctx.inventories.store(name, inventory).await?;
            return Err(error.into());
        }
        inventory.remove(&key);
    }
    ctx.inventories.store(name, inventory).await?;
    release_holders(ctx, &before).await?;
    info!(git_sync = name, policy = ?sync.spec.deletion_policy, objects = before.len(), "cleaned up after a GitSync");
    Ok(())
}

async fn release_one(ctx: &Context, sync: &GitSync, key: &ObjectKey, version: &str) -> Result<(), ApplyError> {
    match ctx.kinds.get(version, &key.kind).await {
        Ok(kind) => release(&ctx.client, &kind, key, name_of(sync)).await,
        Err(ApplyError::UnknownKind { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
