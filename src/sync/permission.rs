//! What a team's GitSync may not do is taken out of a run before anything is written, the inventory and the labels of namespaces
//! included.

use futures::{StreamExt, stream};
use gitward_core::plan::ObjectKey;
use gitward_core::rights::never_take;
use serde_json::Value;
use tracing::warn;

use super::RunError;
use super::controller::Context;
use super::declared::{Failed, Prepared, Ready};
use super::inventory::Inventory;
use super::rights::{Account, RightsError, target};
use crate::api::SyncId;
use crate::apply::{ApplyError, Declaration, Kind, get};
use crate::render::Slice;

/// How many objects are asked about at a time.
const CONCURRENT: usize = 16;

/// Takes out of what is declared whatever the account may not apply. An object that may not be applied is not healed either.
pub(super) async fn refuse_foreign(
    ctx: &Context,
    id: &SyncId,
    account: &Account,
    prepared: &mut Prepared,
) -> Result<(), RunError> {
    let asked = stream::iter(prepared.ready.drain(..)).map(async |ready| {
        let answer = may_apply(ctx, id, account, &ready).await;
        (ready, answer)
    });
    let answers: Vec<(Ready, Result<(), RunError>)> = asked.buffered(CONCURRENT).collect().await;
    for (ready, answer) in answers {
        let error = match answer {
            Ok(()) => {
                prepared.ready.push(ready);
                continue;
            }
            Err(RunError::Rights(error)) if error.is_denial() => ApplyError::NotAllowed(error.to_string()),
            Err(RunError::Apply(error)) if !error.is_outage() => error,
            Err(error) => return Err(error),
        };
        if matches!(error, ApplyError::NotAllowed(_)) {
            ctx.pinned.forget(&ready.key);
        }
        prepared.failed.push(Failed { object: ready.key.to_string(), origin: ready.origin, error });
    }
    Ok(())
}

async fn may_apply(ctx: &Context, id: &SyncId, account: &Account, ready: &Ready) -> Result<(), RunError> {
    let kind = ctx.kinds.get(&ready.api_version, &ready.key.kind).await?;
    let declared: Declaration = ready.object.read().map_err(ApplyError::from)?;
    let live = live(ctx, &kind, &ready.key).await?;
    let target = target(&kind, &ready.key);
    if let Some(why) =
        live.as_ref().and_then(|live| never_take(live, (&id.namespace, &id.name), &ready.key.to_string()))
    {
        return Err(ApplyError::NotAllowed(why).into());
    }
    ctx.rights.may_apply(account, &target, &declared.object, live.as_ref()).await?;
    if declared.is_replaceable() || ready.sequence.hook.is_some() {
        ctx.rights.may_prune(account, &target, live.as_ref()).await?;
    }
    Ok(())
}

/// Whether the account may delete what is to be pruned: the objects that it may not, and why.
pub(super) async fn may_not_prune(
    ctx: &Context,
    account: &Account,
    keys: &[ObjectKey],
    inventory: &Inventory,
) -> Result<Vec<Failed>, RunError> {
    let mut failed = Vec::new();
    for key in keys {
        let version = inventory.get(key).map(|record| record.api_version.as_str()).unwrap_or_default();
        let kind = match ctx.kinds.get(version, &key.kind).await {
            Ok(kind) => kind,
            // With its definition every object of a kind is gone.
            Err(ApplyError::UnknownKind { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let live = live(ctx, &kind, key).await?;
        match ctx.rights.may_prune(account, &target(&kind, key), live.as_ref()).await {
            Ok(()) => {}
            Err(error) if error.is_denial() => {
                let error = ApplyError::NotAllowed(error.to_string());
                failed.push(Failed { object: key.to_string(), origin: String::new(), error });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(failed)
}

async fn live(ctx: &Context, kind: &Kind, key: &ObjectKey) -> Result<Option<Value>, ApplyError> {
    let live = get(&kind.api(&ctx.client, &key.namespace), key).await?;
    Ok(live.and_then(|live| serde_json::to_value(live).ok()))
}

/// Whether a Secret or ConfigMap of the GitSync's namespace may be read for it.
pub(super) async fn may_read(
    ctx: &Context,
    account: Option<&Account>,
    resource: &str,
    name: &str,
) -> Result<(), RightsError> {
    match account {
        Some(account) => ctx.rights.may_read(account, resource, name).await,
        None => Ok(()),
    }
}

/// Whether an object of a team may be put back: rights that were taken away are not given back by healing. The object is forgotten
/// then, and the next look tells.
pub(super) async fn may_heal(ctx: &Context, id: &SyncId, key: &ObjectKey, declared: &Slice) -> Result<(), ApplyError> {
    if id.namespace == ctx.namespace {
        return Ok(());
    }
    let Some(sync) = ctx.store().and_then(|store| store.get(&id.to_ref())) else { return Ok(()) };
    let asked = async {
        let account = ctx.rights.account_of(&sync).await?;
        let Some((account, known)) = account.zip(ctx.pinned.get(key)) else { return Ok(()) };
        let declared: Declaration = declared.read().map_err(ApplyError::from)?;
        let live = live(ctx, &known.kind, key).await?;
        ctx.rights.may_apply(&account, &target(&known.kind, key), &declared.object, live.as_ref()).await?;
        Ok::<(), RunError>(())
    };
    match asked.await {
        Ok(()) => Ok(()),
        Err(RunError::Apply(error)) => Err(error),
        Err(RunError::Rights(error)) if error.is_denial() => {
            ctx.pinned.forget(key);
            ctx.progress.make_due(id);
            ctx.wakes.wake(id);
            warn!(object = %key, git_sync = %id, %error, "is not put back");
            Ok(())
        }
        Err(error) => Err(ApplyError::NotAllowed(error.to_string())),
    }
}
