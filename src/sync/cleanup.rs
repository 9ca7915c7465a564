//! The end of a GitSync: its objects are released or deleted, as its `deletionPolicy` says.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

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

/// GitSyncs that were seen to go, as they were last, until they are cleaned up after.
#[derive(Default)]
pub(super) struct Gone {
    seen: Mutex<HashMap<SyncId, GitSync>>,
    told: Notify,
}

impl Gone {
    /// One goes.
    pub(super) fn goes(&self, sync: &GitSync) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(SyncId::of(sync), sync.clone());
        self.told.notify_one();
    }

    /// Some may have gone unseen.
    pub(super) fn look(&self) {
        self.told.notify_one();
    }

    fn ids(&self) -> Vec<SyncId> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    fn last(&self, id: &SyncId) -> Option<GitSync> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn forget(&self, id: &SyncId) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Whether the objects of a GitSync that is gone are deleted: where it was seen to go, said so at that time, and may.
async fn is_to_delete(ctx: &Context, id: &SyncId, inventory: &Inventory) -> Result<bool, RunError> {
    let Some(deletes) = ctx.inventories.owner(id).await.and_then(|owner| owner.deletes) else { return Ok(false) };
    let refused = may_not_delete(ctx, id, deletes.account, inventory).await?;
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

/// Releases or deletes the objects of every GitSync that is gone, whenever one may be. No finalizer holds a GitSync: where no
/// reconciler runs any more, after an uninstall say, it can be deleted all the same, and so can its namespace.
pub(super) async fn clean_up_after(ctx: Arc<Context>) {
    loop {
        ctx.gone.told.notified().await;
        let mut known = ctx.inventories.syncs().await;
        known.extend(ctx.progress.syncs());
        known.extend(ctx.gone.ids());
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

async fn clean_up(ctx: &Context, id: &SyncId) -> Result<(), RunError> {
    let _turn = ctx.turn(id).await;
    // Somebody may have made it again.
    if ctx.is_there(id) {
        return Ok(());
    }
    if let Some(sync) = ctx.gone.last(id) {
        write_down(ctx, id, &sync).await?;
        ctx.gone.forget(id);
    }
    let inventory = ctx.inventories.get(id).await;
    let deletes = is_to_delete(ctx, id, &inventory).await?;
    end(ctx, id, inventory, deletes).await
}

/// Writes down that the objects of this GitSync are deleted, if it said so and they are its own.
async fn write_down(ctx: &Context, id: &SyncId, sync: &GitSync) -> Result<(), RunError> {
    let Some(owner) = ctx.inventories.owner(id).await else { return Ok(()) };
    let is_its_own = sync.metadata.uid.as_ref() == Some(&owner.uid);
    if sync.spec.deletion_policy != DeletionPolicy::Delete || !is_its_own {
        return Ok(());
    }
    let deletes = Some(Deletes { account: sync.spec.service_account_name.clone() });
    Ok(ctx.inventories.belongs_to(id, Owner { deletes, ..owner }).await?)
}

/// What another GitSync of the same name has created is not pruned by this one: it is released first.
pub(super) async fn take_up(ctx: &Context, id: &SyncId, sync: &GitSync) -> Result<(), RunError> {
    ctx.gone.forget(id);
    let uid = sync.metadata.uid.clone().unwrap_or_default();
    if ctx.inventories.owner(id).await.is_some_and(|before| before.uid != uid) {
        end(ctx, id, ctx.inventories.get(id).await, false).await?;
    }
    Ok(ctx.inventories.belongs_to(id, Owner { uid, deletes: None }).await?)
}
