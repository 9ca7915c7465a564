//! What a run would do, without doing it. A person cannot ask the API server by a dry run: the guard refuses people's dry runs like
//! their writes. So each live object is read, and what an apply would make of it is worked out.

use std::path::PathBuf;
use std::time::Duration;

use gitward_core::fields::{leave, preview_with};
use gitward_core::plan::ObjectKey;
use kube::api::Api;
use serde_json::Value;
use thiserror::Error;

use super::RunError;
use super::controller::{ConnectedError, Context};
use super::declared::{Failed, Ready, prepare};
use super::inputs::{self, Of};
use super::inventory::Record;
use super::rules;
use super::run::planned;
use crate::api::{GitSync, SyncId};
use crate::apply::{ApplyError, Declaration, TakeOver, get};
use crate::kubernetes::describe;
use crate::render::{Programs, gather, render};
use crate::source::{Commit, SourceError, Tree};

/// Why no difference can be told.
#[derive(Debug, Error)]
pub enum DiffError {
    /// There is no such GitSync.
    #[error("there is no GitSync {0}")]
    Missing(SyncId),
    /// The API server refused or failed.
    #[error("{}", describe(.0))]
    Api(#[source] Box<kube::Error>),
    /// Git cannot be had or rendered, or the plan is refused.
    #[error("{reason}: {message}")]
    Run {
        /// As in the condition of the GitSync.
        reason: &'static str,
        /// What is wrong.
        message: String,
    },
    /// There is no place for the repository.
    #[error("the repository cannot be kept in the temporary folder: {0}; check that the disk is not full")]
    Cache(#[source] std::io::Error),
    /// The cluster cannot be asked.
    #[error(transparent)]
    Connect(#[from] ConnectedError),
}

impl From<RunError> for DiffError {
    fn from(error: RunError) -> DiffError {
        DiffError::Run { reason: error.reason(), message: error.to_string() }
    }
}

impl From<kube::Error> for DiffError {
    fn from(error: kube::Error) -> DiffError {
        DiffError::Api(Box::new(error))
    }
}

/// What a run would do to one object.
#[derive(Debug)]
pub struct Difference {
    /// The object.
    pub key: ObjectKey,
    /// The file and line that declare it.
    pub origin: String,
    /// The live object; null where it is not there.
    pub live: Value,
    /// The object as an apply would leave it.
    pub after: Value,
}

/// What a run would do.
#[derive(Debug)]
pub struct Differences {
    /// The commit that would be applied, as `main@sha1:…`.
    pub revision: String,
    /// The objects that would be created or changed, in the order in which they would be written.
    pub changed: Vec<Difference>,
    /// How many are as git declares them.
    pub unchanged: usize,
    /// What would be deleted: git no longer declares it.
    pub pruned: Vec<ObjectKey>,
    /// What could not be applied: the object, where it is declared, and why.
    pub failed: Vec<(String, String, String)>,
}

/// Works out what a run of a GitSync would do with the newest commit, with the rights of whoever asks.
///
/// # Errors
/// Where git cannot be had or rendered, the plan is refused, or the API server fails.
pub async fn diff(
    client: kube::Client,
    id: &SyncId,
    namespace: &str,
    programs: Programs,
    cache: PathBuf,
) -> Result<Differences, DiffError> {
    let api: Api<GitSync> = Api::namespaced(client.clone(), &id.namespace);
    let sync = api.get_opt(&id.name).await?.ok_or_else(|| DiffError::Missing(id.clone()))?;
    let ctx = Context::without_watches(client.clone(), namespace, programs, cache).await?;
    let account = ctx.rights.account_of(&sync).await.map_err(RunError::from)?;
    let of = Of { sync: &sync, account: account.as_ref() };
    let wanted = inputs::wanted(&ctx, of, Duration::ZERO).await?;
    let instructions = inputs::instructions(&ctx, of).await?;
    let (gathering, cache) = (instructions.clone(), ctx.cache.clone());
    let read = move |_: &Commit, tree: Tree| gather(&tree, &gathering, &cache);
    let fetched = ctx.repositories.get(wanted, read).await;
    let (commit, material) = fetched.map_err(|error: SourceError| RunError::from(error))?;
    let cluster = ctx.cluster().await.map_err(RunError::from)?;
    let rendered = render(&material, &instructions, &ctx.programs, &cluster, &ctx.cache, None).await;
    let objects = rendered.map_err(RunError::from)?.map(|rendered| rendered.objects).unwrap_or_default();
    let prepared = prepare(&ctx, of, objects).await?;
    let stored = ctx.inventories.get(id).await;
    let plan = planned(&sync, &prepared, &stored).map_err(RunError::from)?;
    let rules = rules::read(client).await?;
    let told = |failed: &Failed| (failed.object.clone(), failed.origin.clone(), failed.error.to_string());
    let mut found = Differences {
        revision: commit.revision.to_string(),
        changed: Vec::new(),
        unchanged: 0,
        pruned: if sync.spec.prune { plan.prune } else { Vec::new() },
        failed: prepared.failed.iter().map(told).collect(),
    };
    for (index, error) in &plan.refused {
        let ready = &prepared.ready[*index];
        found.failed.push((ready.key.to_string(), ready.origin.clone(), error.to_string()));
    }
    for index in plan.gates.iter().flat_map(|gate| gate.stages.iter().flatten()) {
        let ready = &prepared.ready[*index];
        if let Some(other) = ctx.other_owner(id, &ready.key).await {
            found.failed.push((ready.key.to_string(), ready.origin.clone(), ApplyError::OtherSync(other).to_string()));
            continue;
        }
        // A hook runs when something else is declared; what has done its work stays gone.
        let has_ended =
            |record: &Record| record.state.is_some_and(|s| s.done && s.content.meaning == ready.content.meaning);
        if ready.sequence.hook.is_some() || stored.get(&ready.key).is_some_and(has_ended) {
            continue;
        }
        match compare(&ctx, ready, &rules).await {
            Ok(difference) if is_same(&difference) => found.unchanged += 1,
            Ok(difference) => found.changed.push(difference),
            Err(error) => found.failed.push((ready.key.to_string(), ready.origin.clone(), error.to_string())),
        }
    }
    Ok(found)
}

async fn compare(ctx: &Context, ready: &Ready, rules: &TakeOver) -> Result<Difference, ApplyError> {
    let declared: Declaration = ready.object.read()?;
    let live = match ctx.kinds.get(&ready.api_version, &ready.key.kind).await {
        Ok(kind) => get(&kind.api(&ctx.client, &ready.key.namespace), &ready.key).await?,
        // Its definition comes with the same commit.
        Err(ApplyError::UnknownKind { .. }) => None,
        Err(error) => return Err(error),
    };
    let live = live.and_then(|live| serde_json::to_value(live).ok()).unwrap_or_default();
    let mut object = declared.object.clone();
    if !live.is_null() {
        leave(&mut object, &declared.leave);
    }
    let after = preview_with(&live, &object, &rules.people, |path| rules.stays(path, &declared));
    Ok(Difference { key: ready.key.clone(), origin: ready.origin.clone(), live, after })
}

/// Whether nothing would change but who owns what.
fn is_same(difference: &Difference) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = value["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        value
    };
    !difference.live.is_null() && bare(&difference.live) == bare(&difference.after)
}
