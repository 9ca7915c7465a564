//! The controller of all GitSyncs, and what it shares.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::Api;
use kube::discovery::Discovery;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::RunError;
use super::cleanup::clean_up;
use super::declared::name_of;
use super::inputs;
use super::inventory::{Inventories, InventoryError};
use super::run::carry_out;
use super::status::{self, Outcome};
use super::surroundings::Surroundings;
use crate::api::GitSync;
use crate::apply::Kinds;
use crate::certs::Renewal;
use crate::observe::{Drift, Healer, Pinned, Watches};
use crate::protect::{self, Protect};
use crate::provide::provide;
use crate::render::{Cluster, Programs, gather, render};
use crate::source::{Commit, Repositories, SourceError, Tree};
use crate::telemetry::{self, Readiness};

const FINALIZER: &str = "gitward.dev/gitsync";
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// How a reconciler is run.
#[derive(Clone, Debug)]
pub struct ReconcileConfig {
    /// Where probes and metrics are served.
    pub observe_listen: SocketAddr,
    /// gitward's own namespace.
    pub namespace: String,
    /// Where repositories and rendered objects are kept. May be lost at any time.
    pub cache: PathBuf,
    /// The programs that render.
    pub programs: Programs,
    /// What the guard's certificate is kept like.
    pub renewal: Renewal,
    /// The ConfigMap with the webhook configuration as the chart made it.
    pub webhook_copy: String,
}

/// Why the reconciler stopped.
#[derive(Debug, Error)]
pub enum ReconcileError {
    /// The address cannot be listened on.
    #[error("cannot serve on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The API server cannot be asked.
    #[error(transparent)]
    Connect(#[from] crate::kubernetes::ConnectError),
    /// What was created before is not known, so nothing may be pruned or created.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
}

/// What all runs share.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) cache: PathBuf,
    pub(super) kinds: Kinds,
    pub(super) pinned: Arc<Pinned>,
    pub(super) watches: Watches,
    pub(super) inventories: Inventories,
    pub(super) repositories: Repositories,
    pub(super) programs: Programs,
    progress: Mutex<HashMap<String, Progress>>,
}

/// What is known of a GitSync between two runs.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// Generation and revision that were applied as a whole.
    applied: Option<(Option<i64>, String)>,
    /// How often it failed in a row.
    failures: u32,
}

/// Runs until `stop` is done.
///
/// # Errors
/// Where it cannot begin.
pub async fn run(
    config: ReconcileConfig,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) -> Result<(), ReconcileError> {
    let client = crate::kubernetes::connect().await?;
    let mut registry = Registry::default();
    let pinned = Arc::new(Pinned::default());
    let (healer, drifts) = Healer::new(client.clone(), pinned.clone(), &mut registry);
    let surroundings = Surroundings::new(&mut registry);
    let readiness = Readiness::default();
    let observe = telemetry::serve(config.observe_listen, readiness.clone(), registry);
    let context = Arc::new(Context {
        kinds: Kinds::new(client.clone()),
        watches: Watches::new(client.clone(), healer),
        inventories: Inventories::load(client.clone(), &config.namespace).await?,
        namespace: config.namespace.clone(),
        repositories: Repositories::new(config.cache.clone()),
        programs: config.programs,
        cache: config.cache,
        progress: Mutex::default(),
        pinned,
        client: client.clone(),
    });
    tokio::spawn(tell(client.clone(), drifts));
    let webhook = Protect { namespace: config.namespace, copy: config.webhook_copy, renewal: config.renewal };
    tokio::spawn(protect::keep(client.clone(), webhook));
    tokio::spawn(provide(client.clone()));
    tokio::spawn(surroundings.report(context.clone()));
    let controller = Controller::new(Api::<GitSync>::all(client), watcher::Config::default())
        .graceful_shutdown_on(stop)
        .run(reconcile, retry, context)
        .for_each(|ended| async move {
            if let Err(error) = ended {
                warn!(%error, "a run was interrupted");
            }
        });
    readiness.set(true);
    info!("reconciles");
    tokio::select! {
        () = controller => Ok(()),
        ended = observe => {
            let source = ended.err().unwrap_or_else(|| std::io::Error::other("the server ended"));
            Err(ReconcileError::Listen { address: config.observe_listen, source })
        }
    }
}

#[derive(Debug, Error)]
enum LoopError {
    #[error("the status cannot be written: {}", crate::kubernetes::describe(.0))]
    Status(#[source] Box<kube::Error>),
    #[error(transparent)]
    Finalizer(Box<finalizer::Error<LoopError>>),
    #[error(transparent)]
    CleanUp(#[from] RunError),
}

async fn reconcile(sync: Arc<GitSync>, ctx: Arc<Context>) -> Result<Action, LoopError> {
    let (namespace, _) = name_of(&sync);
    if namespace != ctx.namespace {
        let message = format!("GitSyncs are only followed in the namespace {} for now", ctx.namespace);
        return write(&ctx, &sync, Outcome::Stalled("NotAllowed", message)).await.map(|()| Action::await_change());
    }
    let api: Api<GitSync> = Api::namespaced(ctx.client.clone(), namespace);
    // Boxed: the compiler cannot see through the borrows of the whole flow that this future may change threads.
    let ended = finalizer(&api, FINALIZER, sync, move |event| on_event(ctx, event).boxed()).boxed();
    ended.await.map_err(|error| LoopError::Finalizer(Box::new(error)))
}

async fn on_event(ctx: Arc<Context>, event: finalizer::Event<GitSync>) -> Result<Action, LoopError> {
    match event {
        finalizer::Event::Apply(sync) => follow(&ctx, &sync).await,
        finalizer::Event::Cleanup(sync) => {
            clean_up(&ctx, &sync).await?;
            ctx.set_progress(&sync, None);
            Ok(Action::await_change())
        }
    }
}

/// One look at the repository, and all that follows from it.
async fn follow(ctx: &Context, sync: &GitSync) -> Result<Action, LoopError> {
    if sync.spec.suspend {
        ctx.pinned.forget_sync(&ObjectRef::from_obj(sync));
        ctx.set_progress(sync, None);
        return write(ctx, sync, Outcome::Suspended).await.map(|()| Action::await_change());
    }
    let interval = interval(sync);
    let progress = ctx.progress_of(sync);
    let attempt = attempt(ctx, sync, &progress).await;
    let (outcome, revision) = match attempt {
        Ok(None) => {
            ctx.set_progress(sync, Some(Progress { failures: 0, ..progress }));
            return Ok(Action::requeue(interval));
        }
        Ok(Some((revision, failed))) if failed.is_empty() => (Outcome::Applied, Some(revision)),
        Ok(Some((revision, failed))) => (Outcome::Partly(failed), Some(revision)),
        Err((error @ RunError::Plan(_), revision)) => (Outcome::Stalled(error.reason(), error.to_string()), revision),
        Err((error, revision)) => (Outcome::Failed(error.reason(), error.to_string()), revision),
    };
    let applied = matches!(outcome, Outcome::Applied);
    let next = match (&revision, applied) {
        (Some(revision), true) => Progress { applied: Some((sync.metadata.generation, revision.clone())), failures: 0 },
        _ => Progress { applied: None, failures: progress.failures.saturating_add(1) },
    };
    let wait = if applied { interval } else { backoff(next.failures).min(interval.max(SHORTEST_INTERVAL)) };
    ctx.set_progress(sync, Some(next));
    write_attempted(ctx, sync, outcome, revision).await?;
    Ok(Action::requeue(wait))
}

type Attempt = Result<Option<(String, Vec<super::declared::Failed>)>, (RunError, Option<String>)>;

/// Applies what is new; `None` where nothing is.
async fn attempt(ctx: &Context, sync: &GitSync, progress: &Progress) -> Attempt {
    let before = |error: RunError| (error, None);
    let wanted = inputs::wanted(ctx, sync, interval(sync) / 2).await.map_err(before)?;
    let instructions = inputs::instructions(ctx, sync).await.map_err(before)?;
    let known = progress.applied.clone().filter(|(generation, revision)| {
        *generation == sync.metadata.generation && is_ready(sync, revision) && !inputs::depends_on_others(sync)
    });
    let (gathering, cache) = (instructions.clone(), ctx.cache.clone());
    let read = move |commit: &Commit, tree: Tree| {
        let is_known = known.is_some_and(|(_, revision)| revision == commit.revision.to_string());
        if is_known { Ok(None) } else { gather(&tree, &gathering, &cache).map(Some) }
    };
    let (commit, material) =
        ctx.repositories.get(wanted, read).await.map_err(|error: SourceError| before(error.into()))?;
    let Some(material) = material else { return Ok(None) };
    let revision = commit.revision.to_string();
    let after = |error: RunError| (error, Some(revision.clone()));
    info!(git_sync = name_of(sync).1, revision, "applies a revision");
    if progress.failures == 0 {
        // A courtesy to those who watch; the run does not depend on it.
        let _ = write_attempted(ctx, sync, Outcome::Progressing, Some(revision.clone())).await;
    }
    let cluster = ctx.cluster().await;
    let rendered = render(&material, &instructions, &ctx.programs, &cluster, &ctx.cache).await;
    drop(material);
    let declared = rendered.map_err(|error| after(error.into()))?;
    match carry_out(ctx, sync, declared).await {
        Ok(failed) => Ok(Some((revision, failed))),
        Err(error) => Err(after(error)),
    }
}

/// Whether the status says that this revision is applied, so that a status somebody overwrote is mended.
fn is_ready(sync: &GitSync, revision: &str) -> bool {
    sync.status.as_ref().is_some_and(|status| {
        status.last_applied_revision.as_deref() == Some(revision)
            && status.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
    })
}

async fn write(ctx: &Context, sync: &GitSync, outcome: Outcome) -> Result<(), LoopError> {
    write_attempted(ctx, sync, outcome, None).await
}

async fn write_attempted(
    ctx: &Context,
    sync: &GitSync,
    outcome: Outcome,
    revision: Option<String>,
) -> Result<(), LoopError> {
    let mut before = sync.status.clone().unwrap_or_default();
    before.last_attempted_revision = revision.or(before.last_attempted_revision);
    before.objects = i64::try_from(ctx.inventories.get(name_of(sync).1).await.len()).unwrap_or(i64::MAX);
    let status = status::next(sync, before, outcome, Timestamp::now());
    status::write(&ctx.client, sync, &status).await.map_err(|error| LoopError::Status(Box::new(error)))
}

fn retry(sync: Arc<GitSync>, error: &LoopError, ctx: Arc<Context>) -> Action {
    let mut progress = ctx.progress_of(&sync);
    progress.failures = progress.failures.saturating_add(1);
    let wait = backoff(progress.failures);
    ctx.set_progress(&sync, Some(progress));
    warn!(git_sync = name_of(&sync).1, %error, retry_in = ?wait, "tries again");
    Action::requeue(wait)
}

/// 1 s, 2 s, 4 s … 5 min.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1_u64 << failures.saturating_sub(1).min(9)).min(Duration::from_secs(300))
}

/// The interval of a GitSync; the CRD allows only what can be read here.
fn interval(sync: &GitSync) -> Duration {
    let parsed: Option<SignedDuration> = sync.spec.source.interval.parse().ok();
    parsed.and_then(|d| Duration::try_from(d).ok()).map_or(DEFAULT_INTERVAL, |d| d.max(SHORTEST_INTERVAL))
}

impl Context {
    /// What charts may ask of the cluster. Where it cannot be asked, charts get Helm's defaults.
    async fn cluster(&self) -> Cluster {
        let version = self.client.apiserver_version().await.map(|info| info.git_version).unwrap_or_default();
        let groups = Discovery::new(self.client.clone()).run_aggregated().await;
        let kinds = groups
            .iter()
            .flat_map(Discovery::groups)
            .flat_map(|group| group.versions().flat_map(move |version| group.versioned_resources(version)));
        let mut api_versions: Vec<String> = kinds
            .flat_map(|(kind, _)| [kind.api_version.clone(), format!("{}/{}", kind.api_version, kind.kind)])
            .collect();
        api_versions.sort();
        api_versions.dedup();
        Cluster { version, api_versions }
    }

    fn progress_of(&self, sync: &GitSync) -> Progress {
        let all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name_of(sync).1).cloned().unwrap_or_default()
    }

    fn set_progress(&self, sync: &GitSync, progress: Option<Progress>) {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Some(progress) => drop(all.insert(name_of(sync).1.to_owned(), progress)),
            None => drop(all.remove(name_of(sync).1)),
        }
    }
}

/// Tells drifts as Events of their GitSync.
async fn tell(client: Client, mut drifts: mpsc::Receiver<Drift>) {
    let recorder = Recorder::new(client, Reporter { controller: "gitward-reconciler".to_owned(), instance: None });
    while let Some(drift) = drifts.recv().await {
        let event = Event {
            type_: EventType::Warning,
            reason: "DriftHealed".to_owned(),
            note: Some(drift.message.chars().take(1000).collect()),
            action: "Heal".to_owned(),
            secondary: None,
        };
        let about: ObjectReference = drift.sync.into();
        if let Err(error) = recorder.publish(&event, &about).await {
            warn!(error = crate::kubernetes::describe(&error), "an Event could not be written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes() {
        let waits: Vec<u64> = [1, 2, 3, 9, 10, 100].map(|n| backoff(n).as_secs()).into();
        assert_eq!(waits, [1, 2, 4, 256, 300, 300]);
    }

    #[test]
    fn an_interval_is_read_as_people_write_it() {
        let read = |text: &str| {
            let spec = serde_json::json!({"source": {"url": "https://example.com/a", "interval": text}});
            interval(&GitSync::new("a", serde_json::from_value(spec).unwrap())).as_secs()
        };
        assert_eq!([read("30s"), read("1h30m"), read("0s")], [30, 5400, 1]);
    }
}
