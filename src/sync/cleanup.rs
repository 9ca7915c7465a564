//! The end of a GitSync: its objects are released or deleted, as its `deletionPolicy` says.

use std::cmp::Reverse;
use std::sync::Arc;

use gitward_core::plan::{ObjectKey, rank};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::RunError;
use super::controller::{Context, RETRY};
use super::holders::release_holders;
use super::inventory::{Deletes, Inventory, Owner};
use super::permission::may_not_prune;
use super::run::{prune_one, release_one};
use crate::api::{DeletionPolicy, GitSync, SyncId};

/// What is written down of a GitSync for its end.
fn owner(ctx: &Context, sync: &GitSync) -> Owner {
    let deletes = || {
        let installation = ctx.installation.get()?.clone();
        Some(Deletes { account: sync.spec.service_account_name.clone(), installation })
    };
    let deletes = (sync.spec.deletion_policy == DeletionPolicy::Delete).then(deletes).flatten();
    Owner { uid: sync.metadata.uid.clone().unwrap_or_default(), deletes }
}

/// Whether the objects of a GitSync that is gone are deleted: by its `deletionPolicy`, if this installation followed it and it may.
async fn is_to_delete(ctx: &Context, id: &SyncId, inventory: &Inventory) -> Result<bool, RunError> {
    let Some(deletes) = ctx.inventories.owner(id).await.and_then(|owner| owner.deletes) else { return Ok(false) };
    let refused = if ctx.installation.get() == Some(&deletes.installation) {
        may_not_delete(ctx, id, deletes.account, inventory).await?
    } else {
        Some("it went before gitward was installed here anew".to_owned())
    };
    if let Some(why) = &refused {
        warn!(git_sync = %id, why, "deletionPolicy is Delete, and its objects are only released");
    }
    Ok(refused.is_none())
}

/// Why a GitSync may not delete all of its objects. A team that may not leaves them as they are.
async fn may_not_delete(
    ctx: &Context,
    id: &SyncId,
    account: Option<String>,
    inventory: &Inventory,
) -> Result<Option<String>, RunError> {
    let keys: Vec<ObjectKey> = inventory.keys().cloned().collect();
    match ctx.rights.account_named(id, account).await {
        Ok(None) => Ok(None),
        Ok(Some(account)) => {
            let refused = may_not_prune(ctx, &account, &keys, inventory).await?;
            Ok(refused.into_iter().next().map(|failed| failed.error.to_string()))
        }
        Err(error) if error.is_denial() => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Deletes or releases all that a GitSync that is gone has created, and forgets it.
async fn end(ctx: &Context, id: &SyncId) -> Result<(), RunError> {
    let mut inventory = ctx.inventories.get(id).await;
    let deletes = is_to_delete(ctx, id, &inventory).await?;
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

/// Releases or deletes the objects of every GitSync that is gone, whenever `gone` says that one may be. No finalizer holds a GitSync:
/// where no reconciler runs any more, after an uninstall say, it can be deleted all the same, and so can its namespace.
pub(super) async fn clean_up_after(ctx: Arc<Context>, gone: Arc<Notify>) {
    loop {
        gone.notified().await;
        let mut known = ctx.inventories.syncs().await;
        known.extend(ctx.progress.syncs());
        // None waits for another, whose last look may still be under way.
        for id in known.into_iter().filter(|id| !ctx.is_there(id)) {
            let ctx = ctx.clone();
            tokio::spawn(async move {
                while let Err(error) = clean_up(&ctx, &id).await {
                    warn!(git_sync = %id, %error, "cannot clean up after a GitSync that is gone; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
    }
}

/// What another GitSync of the same name has created is not pruned by this one: that one ends first.
pub(super) async fn take_up(ctx: &Context, id: &SyncId, sync: &GitSync) -> Result<(), RunError> {
    let owner = owner(ctx, sync);
    if ctx.inventories.owner(id).await.is_some_and(|before| before.uid != owner.uid) {
        end(ctx, id).await?;
    }
    Ok(ctx.inventories.belongs_to(id, owner).await?)
}

async fn clean_up(ctx: &Context, id: &SyncId) -> Result<(), RunError> {
    let _turn = ctx.turn(id).await;
    // Somebody may have made it again.
    if ctx.is_there(id) {
        return Ok(());
    }
    end(ctx, id).await
}
