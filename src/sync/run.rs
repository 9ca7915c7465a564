//! Carrying out what a commit declares: gate by gate, then the pruning. Can be begun again at any time: what is there already as
//! git declares it is not written again.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};
use gitward_core::health::Health;
use gitward_core::plan::{Gate, ObjectKey, Plan, PlanError, plan};
use tracing::{info, warn};

use super::RunError;
use super::controller::Context;
use super::declared::{Failed, Prepared, Ready};
use super::holders::{guard_holders, held_by_other, release_holders};
use super::hooks::{Hooks, run_hook};
use super::inventory::{Inventory, Record};
use super::permission::{may_not_prune, refuse_foreign};
use super::rights::Account;
use crate::api::{GitSync, OnFailure, SyncId};
use crate::apply::{ApplyError, Pruned, prune, put, release};
use crate::observe::{Recalled, Settled};

/// How long the rights of an account are known while a run waits.
const RIGHTS: Duration = Duration::from_secs(30);
/// How many objects of a stage are written at a time.
const CONCURRENT: usize = 16;

/// What is to be carried out, and how far it came.
pub(super) struct Work {
    /// The revision, as `main@sha1:…`.
    pub(super) revision: String,
    pub(super) prepared: Prepared,
    /// Whose rights the GitSync has, where it is not gitward's own.
    pub(super) account: Option<Account>,
    /// What it was rendered from beside git; `None` where that cannot be told.
    pub(super) input: Option<String>,
    /// When the rights of the account were asked for last.
    pub(super) checked: Option<Instant>,
}

/// How far a run came.
#[derive(Debug)]
pub(super) enum Ended {
    /// To the end; these objects failed, beside those that could not even be tried.
    Through(Vec<Failed>),
    /// To a gate whose objects are not healthy yet.
    Waits {
        /// Which: how many were passed.
        gate: usize,
        /// Who is waited for, in words.
        whom: String,
        /// Whether they will not become healthy by themselves.
        hopeless: bool,
        /// Whether hooks are among them, of which no watch tells.
        for_hooks: bool,
    },
}

/// Applies what is declared, and prunes what is no longer.
pub(super) async fn carry_out(
    ctx: &Context,
    sync: &GitSync,
    work: &mut Work,
    hooks: &mut Hooks,
) -> Result<Ended, RunError> {
    let id = Arc::new(SyncId::of(sync));
    let stored = ctx.inventories.get(&id).await;
    if let Some(account) = &work.account
        && work.checked.is_none_or(|at| at.elapsed() > RIGHTS)
    {
        refuse_foreign(ctx, &id, account, &mut work.prepared).await?;
        work.checked = Some(Instant::now());
    }
    let (plan, mut inventory) = claim(ctx, sync, work, &stored).await?;
    guard_holders(ctx, &work.prepared.ready).await?;
    let run = Run { ctx, id: &id };
    let last = plan.gates.len().saturating_sub(1);
    let mut failed = Vec::new();
    for (index, gate) in plan.gates.iter().enumerate() {
        let (bad, states) = run.pass(work, hooks, gate).await;
        let is_bad = !bad.is_empty();
        failed.extend(bad);
        let has_hooks = gate.stages.iter().flatten().any(|&i| work.prepared.ready[i].sequence.hook.is_some());
        let waits = index < last || holds(sync) || has_hooks;
        if is_bad {
            // What comes later may need what failed.
            break;
        }
        if waits && let Some((whom, hopeless)) = not_healthy(&states) {
            remember(ctx, &id, inventory).await?;
            return Ok(Ended::Waits { gate: index, whom, hopeless, for_hooks: has_hooks });
        }
    }
    hooks.again = false;
    failed.extend(refused(work, &plan));
    // A commit that is not applied as a whole removes nothing: what it drops may be what keeps the rest alive.
    if failed.is_empty() && work.prepared.failed.is_empty() {
        failed = drop_all(ctx, sync, work, &plan.prune, &mut inventory).await?;
    }
    if let Err(error) = release_holders(ctx, &id, &stored, &inventory).await {
        warn!(%error, "something stays guarded, though it holds nothing that is pinned");
    }
    remember(ctx, &id, inventory).await?;
    Ok(Ended::Through(failed))
}

/// Whether a run is over only when everything is healthy.
fn holds(sync: &GitSync) -> bool {
    sync.spec.wait || sync.spec.on_failure == OnFailure::Rollback
}

/// Plans, and stores what is going to be there before it is. One GitSync at a time: two that declare the same new object must not
/// both take it.
async fn claim(
    ctx: &Context,
    sync: &GitSync,
    work: &mut Work,
    stored: &Inventory,
) -> Result<(Plan, Inventory), RunError> {
    let id = SyncId::of(sync);
    let _alone = ctx.claims.lock().await;
    let mut mine = Vec::with_capacity(work.prepared.ready.len());
    for ready in work.prepared.ready.drain(..) {
        let Some(other) = ctx.other_owner(&id, &ready.key).await else {
            mine.push(ready);
            continue;
        };
        ctx.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(ready.key.clone(), id.clone());
        let error = ApplyError::OtherSync(other);
        work.prepared.failed.push(Failed { object: ready.key.to_string(), origin: ready.origin, error });
    }
    work.prepared.ready = mine;
    let plan = planned(sync, &work.prepared, stored)?;
    let mut inventory = stored.clone();
    for ready in &work.prepared.ready {
        let record = inventory.entry(ready.key.clone()).or_default();
        record.api_version.clone_from(&ready.api_version);
        record.is_hook = ready.sequence.hook.is_some();
    }
    ctx.inventories.store(&id, inventory.clone()).await?;
    Ok((plan, inventory))
}

/// The plan of what a commit declares. What could not be tried is declared nevertheless, and no reason to refuse the plan.
pub(super) fn planned(sync: &GitSync, prepared: &Prepared, stored: &Inventory) -> Result<Plan, PlanError> {
    let declared: Vec<_> = prepared.ready.iter().map(|r| (r.key.clone(), r.sequence.clone())).collect();
    let failed: BTreeSet<ObjectKey> = prepared.failed.iter().filter_map(|failed| failed.object.parse().ok()).collect();
    // Of an object whose identity is not known nobody can tell whether the inventory holds it.
    let stored = match prepared.unknown {
        true => BTreeSet::new(),
        false => stored.keys().filter(|key| !failed.contains(*key)).cloned().collect(),
    };
    // What leaves git is only let go where nothing is pruned.
    let percent = if sync.spec.prune { sync.spec.max_prune_percent } else { 100 };
    plan(&declared, &stored, percent)
}

fn refused(work: &Work, plan: &Plan) -> Vec<Failed> {
    let failed = plan.refused.iter().map(|(index, error)| {
        let ready = &work.prepared.ready[*index];
        Failed { object: ready.key.to_string(), origin: ready.origin.clone(), error: error.clone().into() }
    });
    failed.collect()
}

/// Who is not healthy, in words, and whether one of them will not become so.
fn not_healthy(states: &[(ObjectKey, Health)]) -> Option<(String, bool)> {
    let bad: Vec<_> = states.iter().filter(|(_, health)| *health != Health::Healthy).collect();
    let hopeless = bad.iter().any(|(_, health)| matches!(health, Health::Failed(_)));
    let (key, health) = bad.iter().find(|(_, h)| matches!(h, Health::Failed(_))).or(bad.first())?;
    let more = if bad.len() > 1 { format!("; and {} more", bad.len() - 1) } else { String::new() };
    Some((format!("{}: {}{more}", key.in_words(), health.why()), hopeless))
}

/// Stores the states in which objects were left: one has done its work, and must not be made again after a restart.
pub(super) async fn remember_now(ctx: &Context, id: &SyncId) -> Result<(), RunError> {
    remember(ctx, id, ctx.inventories.get(id).await).await
}

/// Stores the states in which objects were left.
async fn remember(ctx: &Context, id: &SyncId, mut inventory: Inventory) -> Result<(), RunError> {
    ctx.pinned.each_of(id, |key, object| {
        if let Some(record) = inventory.get_mut(key) {
            record.state = Some(Recalled { content: object.content, settled: object.settled, done: object.done });
        }
    });
    Ok(ctx.inventories.store(id, inventory).await?)
}

struct Run<'a> {
    ctx: &'a Context,
    id: &'a Arc<SyncId>,
}

impl Run<'_> {
    /// Applies the objects of a gate. Returns those that failed, and how the others are.
    async fn pass(&self, work: &Work, hooks: &mut Hooks, gate: &Gate) -> (Vec<Failed>, Vec<(ObjectKey, Health)>) {
        let (mut failed, mut states) = (Vec::new(), Vec::new());
        for stage in &gate.stages {
            // Each is made when its turn comes: a future of an apply is several KiB large.
            let (this, all, known) = (self, work, &*hooks);
            let write =
                |index: usize| this.one(known, &all.prepared.ready[index]).map(move |ended| (index, ended)).boxed();
            let writes = stream::iter(stage.iter().copied().map(write));
            let results: Vec<(usize, Result<Health, ApplyError>)> = writes.buffer_unordered(CONCURRENT).collect().await;
            for (index, ended) in results {
                let ready = &work.prepared.ready[index];
                match ended {
                    Ok(health) => {
                        if ready.sequence.hook.is_some() {
                            hooks.note(&ready.key, &health);
                        }
                        states.push((ready.key.clone(), health));
                    }
                    Err(error) => {
                        failed.push(Failed { object: ready.key.to_string(), origin: ready.origin.clone(), error });
                    }
                }
            }
        }
        (failed, states)
    }

    async fn one(&self, hooks: &Hooks, ready: &Ready) -> Result<Health, ApplyError> {
        let Some(hook) = ready.sequence.hook else { return self.apply(ready).await };
        match hooks.ended(&ready.key) {
            Some(health) => Ok(health),
            None => run_hook(self.ctx, ready, hook, &hooks.token, hooks.again).await,
        }
    }

    async fn apply(&self, ready: &Ready) -> Result<Health, ApplyError> {
        let (ctx, key) = (self.ctx, &ready.key);
        let _alone = ctx.pinned.lock(key).await;
        if !ctx.pinned.keep(key, self.id, ready.content, &ready.object) {
            let kind = ctx.kinds.get(&ready.api_version, &key.kind).await?;
            let declared = ready.object.read()?;
            let applied = put(&ctx.client, &kind, key, &declared, &ctx.rules.now(), None).await;
            let applied = match applied {
                // The definition may have gone, or have come back in another scope.
                Err(error) if error.is_not_found() => {
                    ctx.kinds.forget(&ready.api_version, &key.kind).await;
                    return Err(error);
                }
                ended => ended?,
            };
            let (sync, declared) = (self.id.clone(), ready.object.clone());
            let settled = Settled { sync, kind: kind.clone(), declared, content: ready.content, applied: &applied };
            ctx.pinned.settle(key, settled);
            ctx.watches.watch(&kind);
        }
        Ok(ctx.pinned.get(key).map(|object| object.health).unwrap_or_default())
    }
}

/// Deletes what git no longer declares, or lets it go where nothing is pruned.
async fn drop_all(
    ctx: &Context,
    sync: &GitSync,
    work: &Work,
    keys: &[ObjectKey],
    inventory: &mut Inventory,
) -> Result<Vec<Failed>, RunError> {
    let id = SyncId::of(sync);
    let mut failed = match &work.account {
        Some(account) if sync.spec.prune => may_not_prune(ctx, account, keys, inventory).await?,
        _ => Vec::new(),
    };
    if !failed.is_empty() {
        return Ok(failed);
    }
    for key in keys {
        let record = inventory.get(key).cloned().unwrap_or_default();
        let waiting = ctx.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let waiting = waiting.filter(|waiting| *waiting != id);
        let dropped = match sync.spec.prune && waiting.is_none() {
            true => prune_one(ctx, &id, key, &record).await,
            false => release_one(ctx, &id, key, &record).await.map(|()| Pruned::Kept),
        };
        match dropped {
            Ok(pruned) => {
                info!(object = %key, ?pruned, git_sync = %id, "dropped: git no longer declares it");
                inventory.remove(key);
                if let Some(waiting) = waiting {
                    ctx.progress.make_due(&waiting);
                    ctx.wakes.wake(&waiting);
                }
            }
            Err(error) => failed.push(Failed { object: key.to_string(), origin: String::new(), error }),
        }
    }
    Ok(failed)
}

/// Deletes one object, or finds that it is gone already.
pub(super) async fn prune_one(
    ctx: &Context,
    id: &SyncId,
    key: &ObjectKey,
    record: &Record,
) -> Result<Pruned, ApplyError> {
    if let Some(other) = held_by_other(ctx, id, key).await {
        return Err(ApplyError::Holds(other));
    }
    let _alone = ctx.pinned.lock(key).await;
    ctx.pinned.forget(key);
    match ctx.kinds.served(&record.api_version, key).await? {
        Some(kind) => prune(&ctx.client, &kind, key, id).await,
        // With its definition every object of a kind is gone.
        None => Ok(Pruned::NotOurs),
    }
}

/// Takes the marks off one object, which nobody heals any more.
pub(super) async fn release_one(
    ctx: &Context,
    id: &SyncId,
    key: &ObjectKey,
    record: &Record,
) -> Result<(), ApplyError> {
    let _alone = ctx.pinned.lock(key).await;
    // Another one may have taken it over already.
    ctx.pinned.forget_of(key, id);
    match ctx.kinds.served(&record.api_version, key).await? {
        Some(kind) => release(&ctx.client, &kind, key, id).await,
        None => Ok(()),
    }
}
