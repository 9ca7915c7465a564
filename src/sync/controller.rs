//! The controller of all GitSyncs, and what it shares.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, stream};
use gitward_core::plan::ObjectKey;
use kube::api::{Api, Patch, PatchParams};
use kube::discovery::Discovery;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use prometheus_client::registry::Registry;
use serde_json::json;
use thiserror::Error;
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc};
use tracing::{debug, info, warn};

use super::cleanup::{Gone, clean_up_after, take_up};
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
use crate::certs::{Certificates, Expiry};
use crate::kubernetes::MANAGER;
use crate::lead::{Fence, Lead, LeaseConfig, Lost};
use crate::observe::{Healer, Pinned, Strays, Told, Wakes, Watches};
use crate::protect::{self, Protect};
use crate::provide::{Definitions, provide};
use crate::render::{Cluster, Programs};
use crate::source::Repositories;
use crate::telemetry::{self, Readiness};

/// Of gitward 0.1.0. Today none has one.
const FINALIZER: &str = "gitward.dev/gitsync";
/// How many renderers run at a time.
const RENDERS: usize = 4;
/// How soon a GitSync is looked at again whose status could not be written.
pub(super) const RETRY: Duration = Duration::from_secs(2);

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
    pub certificates: Certificates,
    /// The ConfigMap with the webhook configuration as the chart made it.
    pub webhook_copy: String,
    /// The Lease of the one that leads.
    pub lease: LeaseConfig,
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
    /// Another one may lead. What is in memory is out of date then: a new process begins anew.
    #[error(transparent)]
    Lost(#[from] Lost),
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
    /// GitSyncs that are being looked at or cleaned up after: by one at a time.
    turns: Mutex<HashMap<SyncId, Arc<tokio::sync::Mutex<()>>>>,
    store: OnceLock<Store<GitSync>>,
    pub(super) gone: Gone,
}

/// Stands by until it leads, and then reconciles, until `stop` is done.
///
/// # Errors
/// Where it cannot begin, or leads no longer.
pub async fn run(
    config: ReconcileConfig,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ReconcileError> {
    let (fence, stop) = (Fence::default(), stop.boxed().shared());
    let client = crate::kubernetes::connect_behind(&fence).await?;
    let mut registry = Registry::default();
    let mut lead = Lead::new(crate::kubernetes::connect().await?, config.lease.clone(), fence, &mut registry);
    let reconciler = Reconciler::new(client, &config, &mut registry);
    let (readiness, address) = (Readiness::default(), config.observe_listen);
    let observe = telemetry::serve(address, readiness.clone(), registry);
    readiness.set(true);
    let reconciling = async {
        tokio::select! {
            () = lead.acquire() => {}
            // It may have been taken in this moment.
            () = stop.clone() => {
                lead.release().await;
                return Ok(());
            }
        }
        let ended = tokio::select! {
            ended = reconciler.run(config, stop) => ended,
            lost = lead.keep() => return Err(lost.into()),
        };
        lead.release().await;
        Ok(ended?)
    };
    tokio::select! {
        ended = reconciling => ended,
        ended = observe => {
            let source = ended.err().unwrap_or_else(|| std::io::Error::other("the server ended"));
            Err(ReconcileError::Listen { address, source })
        }
    }
}

/// Everything that has metrics: it is there before it does anything.
struct Reconciler {
    client: Client,
    strays: Strays,
    surroundings: Surroundings,
    expiry: Expiry,
    context: Arc<Context>,
    told: mpsc::Receiver<Told>,
}

impl Reconciler {
    fn new(client: Client, config: &ReconcileConfig, registry: &mut Registry) -> Reconciler {
        let strays = Strays::new(client.clone(), registry, &config.namespace);
        let surroundings = Surroundings::new(registry, &config.webhook_copy);
        let (programs, cache) = (config.programs.clone(), config.cache.clone());
        let (context, told) = Context::new(client.clone(), &config.namespace, programs, cache, registry);
        let expiry = Expiry::new(registry);
        Reconciler { client, strays, surroundings, expiry, context, told }
    }

    /// Reconciles until `stop` is done. It is the only one in the cluster.
    async fn run(
        self,
        config: ReconcileConfig,
        stop: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> Result<(), ConnectedError> {
        let Reconciler { client, strays, surroundings, expiry, context, told } = self;
        context.inventories.load().await?;
        ask_before_healing(&context);
        recall(&context).await;
        tokio::spawn(rules::follow(client.clone(), context.rules.clone()));
        tokio::spawn(drifts::tell(context.clone(), told));
        let (namespace, copy) = (config.namespace, config.webhook_copy);
        let webhook = Protect { namespace, copy, certificates: config.certificates, expiry };
        tokio::spawn(protect::keep(client.clone(), webhook));
        // Before the first status is written, of which an older definition would drop what is new.
        let definitions = Definitions::new(client.clone());
        definitions.upgrade().await;
        tokio::spawn(provide(client.clone(), definitions));
        tokio::spawn(surroundings.report(context.clone()));
        let of = context.clone();
        tokio::spawn(strays.run(move |key| of.clone().is_declared(key)));
        let (store, writer) = reflector::store();
        let _ = context.store.set(store.clone());
        tokio::spawn(clean_up_after(context.clone()));
        let seen = reflector::reflector(writer, watcher(Api::<GitSync>::all(client), watcher::Config::default()));
        // After the store: whoever is woken finds it as it is now.
        let of = context.clone();
        let seen = seen.inspect(move |event| match event {
            Ok(watcher::Event::Delete(sync)) => of.gone.goes(sync),
            Ok(watcher::Event::InitDone) => of.gone.look(),
            _ => {}
        });
        let controller = Controller::for_stream(seen.applied_objects(), store);
        info!("reconciles");
        controller
            .reconcile_on(woken(context.wakes.clone()))
            .graceful_shutdown_on(stop)
            .run(reconcile, retry, context)
            .for_each(|ended| async move {
                if let Err(error) = ended {
                    debug!(%error, "a run was interrupted");
                }
            })
            .await;
        Ok(())
    }
}

/// Teams' GitSyncs heal what their accounts may still write.
fn ask_before_healing(context: &Arc<Context>) {
    let asked = Arc::downgrade(context);
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
    #[error("the finalizer cannot be taken off: {}", crate::kubernetes::describe(.0))]
    LetGo(#[source] Box<kube::Error>),
    #[error(transparent)]
    CleanUp(#[from] RunError),
}

async fn reconcile(sync: Arc<GitSync>, ctx: Arc<Context>) -> Result<Action, LoopError> {
    let id = SyncId::of(&sync);
    let _turn = ctx.turn(&id).await;
    // As it is now: it may have waited for its turn.
    let Some(sync) = ctx.store().and_then(|store| store.get(&id.to_ref())) else {
        return Ok(Action::await_change());
    };
    take_up(&ctx, &id, &sync).await?;
    if sync.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
        let_go(&ctx, &sync).await?;
    }
    if sync.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    follow(&ctx, &sync).boxed().await
}

/// Takes off the finalizer that an older gitward has put on.
async fn let_go(ctx: &Context, sync: &GitSync) -> Result<(), LoopError> {
    let others: Vec<&String> = sync.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": sync.metadata.resource_version, "finalizers": others}});
    let api: Api<GitSync> = Api::namespaced(ctx.client.clone(), &SyncId::of(sync).namespace);
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch_metadata(&sync.name_any(), &params, &Patch::Merge(patch)).await;
    patched.map(drop).map_err(|error| LoopError::LetGo(Box::new(error)))
}

fn retry(sync: Arc<GitSync>, error: &LoopError, _: Arc<Context>) -> Action {
    warn!(git_sync = %SyncId::of(&sync), %error, "tries again");
    Action::requeue(RETRY)
}

impl Context {
    fn new(
        client: Client,
        namespace: &str,
        programs: Programs,
        cache: PathBuf,
        registry: &mut Registry,
    ) -> (Arc<Context>, mpsc::Receiver<Told>) {
        let rules = Arc::new(Rules::default());
        let (pinned, wakes) = (Arc::new(Pinned::new(rules.clone())), Arc::new(Wakes::default()));
        let (healer, told) = Healer::new(client.clone(), pinned.clone(), rules.clone(), wakes.clone(), registry);
        let context = Context {
            kinds: Kinds::new(client.clone()),
            watches: Watches::new(client.clone(), healer.clone()),
            inventories: Inventories::new(client.clone(), namespace),
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
            turns: Mutex::default(),
            store: OnceLock::new(),
            gone: Gone::default(),
            client,
            pinned,
            healer,
            rules,
            wakes,
        };
        (Arc::new(context), told)
    }

    /// To work out what a run would do: nothing is watched, healed or written.
    pub(super) async fn without_watches(
        client: Client,
        namespace: &str,
        programs: Programs,
        cache: PathBuf,
    ) -> Result<Arc<Context>, ConnectedError> {
        let (context, _) = Context::new(client, namespace, programs, cache, &mut Registry::default());
        context.inventories.load().await?;
        Ok(context)
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
        !self.inventories.other_owners(&SyncId::default(), &key).await.is_empty()
    }

    /// The GitSync, other than `id`, whose object this is. One that is gone has none, however it went.
    pub(super) async fn other_owner(&self, id: &SyncId, key: &ObjectKey) -> Option<SyncId> {
        self.inventories.other_owners(id, key).await.into_iter().find(|owner| self.is_there(owner))
    }

    /// Whether a GitSync was there when it was looked last; also where that is not known.
    pub(super) fn is_there(&self, id: &SyncId) -> bool {
        self.store().is_none_or(|store| store.get(&id.to_ref()).is_some())
    }

    /// Waits until nobody else looks at a GitSync or cleans up after it.
    pub(super) async fn turn(&self, id: &SyncId) -> OwnedMutexGuard<()> {
        let turn = self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_default().clone();
        turn.lock_owned().await
    }

    /// All GitSyncs, as they were seen last.
    pub(super) fn store(&self) -> Option<&Store<GitSync>> {
        self.store.get()
    }
}
