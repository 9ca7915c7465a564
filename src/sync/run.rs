//! One run of one GitSync, from fetch to prune.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, stream};
use gitward_core::plan::{ObjectKey, Plan, plan};
use kube::runtime::reflector::ObjectRef;
use tracing::{info, warn};

use super::RunError;
use super::controller::Context;
use super::declared::{Failed, Prepared, Ready, name_of, prepare};
use super::inventory::Inventory;
use crate::api::GitSync;
use crate::apply::{ApplyError, Holder, Pruned, apply, guard_holder, prune};
use crate::render::{Declared, Spool};

/// How many objects of a stage are written at a time.
const CONCURRENT: usize = 16;

/// Applies a commit: everything that it declares, then the pruning of what it no longer does. Returns the objects
/// that failed.
pub(super) async fn carry_out(ctx: &Context, sync: &GitSync, declared: Vec<Declared>) -> Result<Vec<Failed>, RunError> {
    let mut spool = Spool::create(&ctx.cache)?;
    let mut prepared = prepare(sync, declared, &ctx.kinds, &mut spool).await?;
    spool.finish()?;
    leave_others(ctx, sync, &mut prepared).await;

    let (_, name) = name_of(sync);
    let stored = ctx.inventories.get(name).await;
    let keys: Vec<ObjectKey> = prepared.ready.iter().map(|ready| ready.key.clone()).collect();
    let plan = plan(&keys, &stored.keys().cloned().collect())?;
    let mut inventory = stored.clone();
    inventory.extend(prepared.ready.iter().map(|ready| (ready.key.clone(), ready.api_version.clone())));
    ctx.inventories.store(name, inventory.clone()).await?;

    guard_holders(ctx, &prepared.ready).await?;
    let mut failed = apply_all(ctx, sync, &plan, &prepared).await;
    failed.append(&mut prepared.failed);
    // A commit that is not applied as a whole removes nothing: what it drops may be what keeps the rest alive.
    if failed.is_empty() && !prepared.unknown && sync.spec.prune {
        failed = prune_all(ctx, sync, &plan.prune, &mut inventory).await;
        ctx.inventories.store(name, inventory).await?;
        if let Err(error) = release_holders(ctx, &stored).await {
            warn!(%error, "something stays guarded, though it holds nothing that is pinned");
        }
    }
    Ok(failed)
}

/// Objects that another GitSync has created stay with it.
async fn leave_others(ctx: &Context, sync: &GitSync, prepared: &mut Prepared) {
    let (_, name) = name_of(sync);
    let mut mine = Vec::with_capacity(prepared.ready.len());
    for ready in prepared.ready.drain(..) {
        match ctx.inventories.other_owner(name, &ready.key).await {
            None => mine.push(ready),
            Some(other) => prepared.failed.push(Failed {
                object: ready.key.to_string(),
                origin: ready.origin,
                error: ApplyError::OtherSync(other),
            }),
        }
    }
    prepared.ready = mine;
}

/// Namespaces and definitions are guarded before the first object is in them. Those that git itself declares get the
/// label there.
async fn guard_holders(ctx: &Context, ready: &[Ready]) -> Result<(), RunError> {
    let is_definition = |key: &ObjectKey| key.kind == "CustomResourceDefinition";
    let declared: BTreeSet<Holder> = ready
        .iter()
        .filter_map(|ready| match ready.key.kind.as_str() {
            "Namespace" if ready.key.group.is_empty() => Some(Holder::Namespace(ready.key.name.clone())),
            _ if is_definition(&ready.key) => Some(Holder::Definition(ready.key.name.clone())),
            _ => None,
        })
        .collect();
    let mut used = BTreeSet::new();
    for ready in ready {
        used.extend(holders(ctx, &ready.key, &ready.api_version).await);
    }
    for holder in used.difference(&declared) {
        guard_holder(&ctx.client, holder, true).await?;
    }
    Ok(())
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

/// Takes the label off what holds no pinned object any more.
pub(super) async fn release_holders(ctx: &Context, before: &Inventory) -> Result<(), ApplyError> {
    let used = ctx.inventories.objects().await;
    let mut still = BTreeSet::new();
    for (key, version) in &used {
        still.extend(holders(ctx, key, version).await);
    }
    let mut was = BTreeSet::new();
    for (key, version) in before {
        was.extend(holders(ctx, key, version).await);
    }
    for holder in was.difference(&still) {
        guard_holder(&ctx.client, holder, false).await?;
    }
    Ok(())
}

async fn apply_all(ctx: &Context, sync: &GitSync, plan: &Plan, prepared: &Prepared) -> Vec<Failed> {
    let mut failed = Vec::new();
    for stage in &plan.stages {
        let mut writes = Vec::with_capacity(stage.len());
        for &index in stage {
            writes.push(apply_one(ctx, sync, &prepared.ready[index]).boxed());
        }
        let results: Vec<Option<Failed>> = stream::iter(writes).buffer_unordered(CONCURRENT).collect().await;
        failed.extend(results.into_iter().flatten());
    }
    failed
}

async fn apply_one(ctx: &Context, sync: &GitSync, ready: &Ready) -> Option<Failed> {
    let write = async {
        let kind = ctx.kinds.get(&ready.api_version, &ready.key.kind).await?;
        let object = ready.object.read()?;
        let _alone = ctx.pinned.lock(&ready.key).await;
        let applied = apply(&ctx.client, &kind, &ready.key, &object).await?;
        ctx.pinned.settle(&ready.key, ObjectRef::from_obj(sync), kind.clone(), ready.object.clone(), &applied);
        ctx.watches.watch(&kind);
        Ok(())
    };
    let failed = |error| Failed { object: ready.key.to_string(), origin: ready.origin.clone(), error };
    write.await.err().map(failed)
}

async fn prune_all(ctx: &Context, sync: &GitSync, keys: &[ObjectKey], inventory: &mut Inventory) -> Vec<Failed> {
    let mut failed = Vec::new();
    for key in keys {
        let version = inventory.get(key).cloned().unwrap_or_default();
        match prune_one(ctx, sync, key, &version).await {
            Ok(pruned) => {
                info!(object = %key, ?pruned, "pruned: git no longer declares it");
                inventory.remove(key);
            }
            Err(error) => failed.push(Failed { object: key.to_string(), origin: String::new(), error }),
        }
    }
    failed
}

/// Deletes one object, or finds that it is gone already.
pub(super) async fn prune_one(
    ctx: &Context,
    sync: &GitSync,
    key: &ObjectKey,
    api_version: &str,
) -> Result<Pruned, ApplyError> {
    let _alone = ctx.pinned.lock(key).await;
    ctx.pinned.forget(key);
    match ctx.kinds.get(api_version, &key.kind).await {
        Ok(kind) => prune(&ctx.client, &kind, key, name_of(sync)).await,
        // With its definition every object of a kind is gone.
        Err(ApplyError::UnknownKind { .. }) => Ok(Pruned::NotOurs),
        Err(error) => Err(error),
    }
}
