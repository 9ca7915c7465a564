//! The end of a GitSync: its objects are released or deleted, as its `deletionPolicy` says.

use std::cmp::Reverse;
use std::sync::Arc;

use gitward_core::plan::{ObjectKey, rank};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::RunError;
use super::controller::{Context, RETRY};
use super::holders::release_holders;
use super::inventory::Inventory;
use super::permission::may_not_prune;
use super::run::{prune_one, release_one};
use crate::api::{DeletionPolicy, GitSync, SyncId};

/// Whether the GitSync may delete all of its objects. A team that may not leaves them as they are: its GitSync must not stay for
/// ever because of that.
async fn may_delete(
    ctx: &Context,
    sync: &GitSync,
    keys: &[ObjectKey],
    inventory: &Inventory,
) -> Result<bool, RunError> {
    let refused = match ctx.rights.account_of(sync).await {
        Ok(None) => return Ok(true),
        Ok(Some(account)) => {
            may_not_prune(ctx, &account, keys, inventory).await?.into_iter().next().map(|f| f.error.to_string())
        }
        Err(error) if error.is_denial() => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    if let Some(why) = &refused {
        warn!(git_sync = %SyncId::of(sync), why, "deletionPolicy is Delete, and its objects are only released");
    }
    Ok(refused.is_none())
}

/// Cleans up after a GitSync that is being deleted. What fails is tried again until it is through.
pub(super) async fn clean_up(ctx: &Context, sync: &GitSync) -> Result<(), RunError> {
    let id = SyncId::of(sync);
    let inventory = ctx.inventories.get(&id).await;
    let keys: Vec<ObjectKey> = inventory.keys().cloned().collect();
    let deletes =
        sync.spec.deletion_policy == DeletionPolicy::Delete && may_delete(ctx, sync, &keys, &inventory).await?;
    end(ctx, &id, inventory, deletes).await
}

/// Deletes or releases all that a GitSync has created, and forgets it.
async fn end(ctx: &Context, id: &SyncId, mut inventory: Inventory, deletes: bool) -> Result<(), RunError> {
    ctx.pinned.forget_sync(id);
    ctx.progress.forget(id);
    ctx.gauges.forget(id);
    let before = inventory.clone();
    let mut keys: Vec<ObjectKey> = inventory.keys().cloned().collect();
    keys.sort_by_key(|key| Reverse(rank(key)));
    for key in keys {
        let record = inventory.get(&key).cloned().unwrap_or_default();
        let ended = match deletes {
            true => prune_one(ctx, id, &key, &record).await.map(|_| ()),
            false => release_one(ctx, id, &key, &record).await,
        };
        if let Err(error) = ended {
            ctx.inventories.store(id, inventory).await?;
            return Err(error.into());
        }
        inventory.remove(&key);
    }
    release_holders(ctx, id, &before, &inventory).await?;
    ctx.inventories.store(id, inventory).await?;
    info!(git_sync = %id, deletes, objects = before.len(), "cleaned up after a GitSync");
    Ok(())
}

/// Releases the objects of every GitSync that is gone, whenever `gone` says that one may be. No finalizer holds a GitSync
/// that keeps its objects: where no reconciler runs any more, after an uninstall say, it can be deleted all the same, and so can its
/// namespace.
pub(super) async fn release_after(ctx: Arc<Context>, gone: Arc<Notify>) {
    loop {
        gone.notified().await;
        let mut known = ctx.inventories.syncs().await;
        known.extend(ctx.progress.syncs());
        // None waits for another, whose last look may still be under way.
        for id in known.into_iter().filter(|id| !ctx.is_there(id)) {
            let ctx = ctx.clone();
            tokio::spawn(async move {
                while let Err(error) = release_gone(&ctx, &id).await {
                    warn!(git_sync = %id, %error, "objects of a GitSync that is gone are not released; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
    }
}

/// What another GitSync of the same name has created is not pruned by this one: it is released first, as that one was to do.
pub(super) async fn take_up(ctx: &Context, id: &SyncId, sync: &GitSync) -> Result<(), RunError> {
    let uid = sync.metadata.uid.as_deref().unwrap_or_default();
    if ctx.inventories.is_of_another(id, uid).await {
        end(ctx, id, ctx.inventories.get(id).await, false).await?;
    }
    ctx.inventories.belongs_to(id, uid).await;
    Ok(())
}

async fn release_gone(ctx: &Context, id: &SyncId) -> Result<(), RunError> {
    let _turn = ctx.turn(id).await;
    // Somebody may have made it again.
    if ctx.is_there(id) {
        return Ok(());
    }
    end(ctx, id, ctx.inventories.get(id).await, false).await
}
