//! The end of a GitSync: its objects are released or deleted, as its `deletionPolicy` says.

use std::cmp::Reverse;

use gitward_core::plan::{ObjectKey, rank};
use tracing::{info, warn};

use super::RunError;
use super::controller::Context;
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
    ctx.pinned.forget_sync(&id);
    let mut inventory = ctx.inventories.get(&id).await;
    let before = inventory.clone();
    let mut keys: Vec<ObjectKey> = inventory.keys().cloned().collect();
    keys.sort_by_key(|key| Reverse(rank(key)));
    let deletes =
        sync.spec.deletion_policy == DeletionPolicy::Delete && may_delete(ctx, sync, &keys, &inventory).await?;
    for key in keys {
        let record = inventory.get(&key).cloned().unwrap_or_default();
        let ended = match deletes {
            true => prune_one(ctx, &id, &key, &record).await.map(|_| ()),
            false => release_one(ctx, &id, &key, &record).await,
        };
        if let Err(error) = ended {
            ctx.inventories.store(&id, inventory).await?;
            return Err(error.into());
        }
        inventory.remove(&key);
    }
    release_holders(ctx, &id, &before, &inventory).await?;
    ctx.inventories.store(&id, inventory).await?;
    info!(git_sync = %id, policy = ?sync.spec.deletion_policy, objects = before.len(), "cleaned up after a GitSync");
    Ok(())
}
