//! The controller of all GitSyncs, and what it shares.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use gitward_core::plan::ObjectKey;
use kube::Client;
use kube::api::Api;
use kube::discovery::Discovery;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{self, finalizer};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, info, warn};

use super::cleanup::clean_up;
use super::follow::follow;
use super::gauges::Gauges;
use super::inventory::{Inventories, InventoryError};
use super::permission::may_heal;
use super::progress::Progresses;
use super::rights::Rights;
use super::surroundings::Surroundings;
use super::{RunError, drifts, rules};
use crate::api::{GitSync, SyncId};
use crate::apply::{ApplyError, Kinds, Rules};
use crate::certs::Renewal;
use crate::observe::{Healer, Pinned, Strays, Told, Wakes, Watches};
use crate::protect::{self, Protect};
use crate::provide::provide;
use crate::render::{Cluster, Programs};
use crate::source::Repositories;
use crate::telemetry::{self, Readiness};

const FINALIZER: &str = "gitward.dev/gitsync";
/// How many renderers run at a time.
const RENDERS: usize = 4;
/// How soon a GitSync is looked at again whose status could not be written.
const RETRY: Duration = Duration::from_secs(2);

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
    Inventory(#[from] ConnectedError),
}

/// What all runs share cannot be had.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct ConnectedError(#[from] InventoryError);

/// What all runs share.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) cache: PathBuf,
    pub(super) kinds: Kinds,
    pub(super) pinned: Arc<Pinned>,
    pub(super) healer: Arc<Healer>,
    pub(super) rules: Arc<Rules>,
    pub(super) watches: Watches,
    pub(super) wakes: Arc<Wakes>,
    pub(super) inventories: Inventories,
    pub(super) repositories: Repositories,
    pub(super) programs: Programs,
    pub(super) rendering: Semaphore,
    pub(super) progress: Progresses,
    pub(super) rights: Rights,
    pub(super) gauges: Gauges,
    /// Whoever takes new objects into an inventory holds this.
    pub(super) claims: tokio::sync::Mutex<()>,
    /// Objects that a GitSync declares and another has: who lets one go leaves it to the one that waits.
    pub(super) wanted: Mutex<HashMap<ObjectKey, SyncId>>,
    store: OnceLock<Store<GitSync>>,
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
    let strays = Strays::new(client.clone(), &mut registry, &config.namespace);
    let surroundings = Surroundings::new(&mut registry);
    let (context, told) =
        Context::new(client.clone(), &config.namespace, config.programs, config.cache, &mut registry).await?;
    let readiness = Readiness::default();
    let observe = telemetry::serve(config.observe_listen, readiness.clone(), registry);
    let asked = Arc::downgrade(&context);
    context.healer.ask(Box::new(move |id, key, declared| {
        let asked = asked.clone();
        async move {
            match asked.upgrade() {
                Some(ctx) => may_heal(&ctx, &id, &key, &declared).await,
                None => Ok(()),
            }
        }
        .boxed()
    }));
    recall(&context).await;
    tokio::spawn(rules::follow(client.clone(), context.rules.clone()));
    tokio::spawn(drifts::tell(context.clone(), told));
    let webhook = Protect { namespace: config.namespace, copy: config.webhook_copy, renewal: config.renewal };
    tokio::spawn(protect::keep(client.clone(), webhook));
    tokio::spawn(provide(client.clone()));
    tokio::spawn(surroundings.report(context.clone()));
    let of = context.clone();
    tokio::spawn(strays.run(move |key| of.clone().is_declared(key)));
    let controller = Controller::new(Api::<GitSync>::all(client), watcher::Config::default());
    let _ = context.store.set(controller.store());
    let controller = controller
        .reconcile_on(woken(context.wakes.clone()))
        .graceful_shutdown_on(stop)
        .run(reconcile, retry, context)
        .for_each(|ended| async move {
            if let Err(error) = ended {
                debug!(%error, "a run was interrupted");
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

/// GitSyncs that have to be looked at because of their objects.
fn woken(wakes: Arc<Wakes>) -> impl Stream<Item = ObjectRef<GitSync>> + Send {
    stream::unfold(wakes, |wakes| async move {
        let woken: Vec<ObjectRef<GitSync>> = wakes.next().await.iter().map(SyncId::to_ref).collect();
        Some((stream::iter(woken), wakes))
    })
    .flatten()
}

/// Takes up what the inventories know, so that what is unchanged is not written again. A kind that cannot be had now is looked up
/// when its objects are applied.
async fn recall(ctx: &Context) {
    for (sync, inventory) in ctx.inventories.all().await {
        let sync = Arc::new(sync);
        for (key, record) in inventory {
            let Some(state) = record.state else { continue };
            if let Ok(kind) = ctx.kinds.get(&record.api_version, &key.kind).await {
                ctx.watches.watch(&kind);
                ctx.pinned.recall(key, sync.clone(), kind, state);
            }
        }
    }
}

#[derive(Debug, Error)]
pub(super) enum LoopError {
    #[error("the status cannot be written: {}", crate::kubernetes::describe(.0))]
    Status(#[source] Box<kube::Error>),
    #[error(transparent)]
    Finalizer(Box<finalizer::Error<LoopError>>),
    #[error(transparent)]
    CleanUp(#[from] RunError),
}

async fn reconcile(sync: Arc<GitSync>, ctx: Arc<Context>) -> Result<Action, LoopError> {
    let api: Api<GitSync> = Api::namespaced(ctx.client.clone(), &SyncId::of(&sync).namespace);
    // Boxed: the compiler cannot see through the borrows of the whole flow that this future may change threads.
    let ended = finalizer(&api, FINALIZER, sync, move |event| on_event(ctx, event).boxed()).boxed();
    ended.await.map_err(|error| LoopError::Finalizer(Box::new(error)))
}

async fn on_event(ctx: Arc<Context>, event: finalizer::Event<GitSync>) -> Result<Action, LoopError> {
    match event {
        finalizer::Event::Apply(sync) => follow(&ctx, &sync).await,
        finalizer::Event::Cleanup(sync) => {
            clean_up(&ctx, &sync).await?;
            let id = SyncId::of(&sync);
            ctx.progress.forget(&id);
            ctx.gauges.forget(&id);
            Ok(Action::await_change())
        }
    }
}

fn retry(sync: Arc<GitSync>, error: &LoopError, _: Arc<Context>) -> Action {
    warn!(git_sync = %SyncId::of(&sync), %error, "tries again");
    Action::requeue(RETRY)
}

impl Context {
    async fn new(
        client: Client,
        namespace: &str,
        programs: Programs,
        cache: PathBuf,
        registry: &mut Registry,
    ) -> Result<(Arc<Context>, mpsc::Receiver<Told>), ConnectedError> {
        let rules = Arc::new(Rules::default());
        let (pinned, wakes) = (Arc::new(Pinned::new(rules.clone())), Arc::new(Wakes::default()));
        let (healer, told) = Healer::new(client.clone(), pinned.clone(), rules.clone(), wakes.clone(), registry);
        let context = Context {
            kinds: Kinds::new(client.clone()),
            watches: Watches::new(client.clone(), healer.clone()),
            inventories: Inventories::load(client.clone(), namespace).await?,
            namespace: namespace.to_owned(),
            repositories: Repositories::new(cache.clone()),
            programs,
            cache,
            rendering: Semaphore::new(RENDERS),
            progress: Progresses::default(),
            rights: Rights::new(client.clone(), namespace),
            gauges: Gauges::new(registry),
            claims: tokio::sync::Mutex::default(),
            wanted: Mutex::default(),
            store: OnceLock::new(),
            client,
            pinned,
            healer,
            rules,
            wakes,
        };
        Ok((Arc::new(context), told))
    }

    /// To work out what a run would do: nothing is watched, healed or written.
    pub(super) async fn without_watches(
        client: Client,
        namespace: &str,
        programs: Programs,
        cache: PathBuf,
    ) -> Result<Arc<Context>, ConnectedError> {
        Context::new(client, namespace, programs, cache, &mut Registry::default()).await.map(|(context, _)| context)
    }

    /// What charts may ask of the cluster.
    ///
    /// # Errors
    /// Where it cannot be asked: a chart that believes that a kind is not served leaves its objects out.
    pub(super) async fn cluster(&self) -> Result<Cluster, ApplyError> {
        let version = self.client.apiserver_version().await?.git_version;
        let groups = Discovery::new(self.client.clone()).run_aggregated().await?;
        let kinds = groups
            .groups()
            .flat_map(|group| group.versions().flat_map(move |version| group.versioned_resources(version)));
        let mut api_versions: Vec<String> = kinds
            .flat_map(|(kind, _)| [kind.api_version.clone(), format!("{}/{}", kind.api_version, kind.kind)])
            .collect();
        api_versions.sort();
        api_versions.dedup();
        Ok(Cluster { version, api_versions })
    }

    /// Whether some inventory lists an object.
    async fn is_declared(self: Arc<Self>, key: ObjectKey) -> bool {
        self.inventories.other_owner(&SyncId::default(), &key).await.is_some()
    }

    /// The GitSync, other than `id`, whose object this is. One that is gone has none, however it went.
    pub(super) async fn other_owner(&self, id: &SyncId, key: &ObjectKey) -> Option<SyncId> {
        let owner = self.inventories.other_owner(id, key).await?;
        let is_there = self.store().is_none_or(|store| store.get(&owner.to_ref()).is_some());
        is_there.then_some(owner)
    }

    /// All GitSyncs, as they were seen last.
    pub(super) fn store(&self) -> Option<&Store<GitSync>> {
        self.store.get()
    }
}
