//! Strays: what no git declares, in namespaces that are git's alone. Reported, or removed, as the GuardPolicy says.
//!
//! One watch of metadata per kind and namespace, and none where no namespace is exclusive. What is a stray, and which may
//! be removed, [`gitward_core::stray`] decides. Imports [`crate::api`].

mod ledger;
mod watch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use gitward_core::fields::People;
use gitward_core::plan::ObjectKey;
use gitward_core::stray::Rules;
use gitward_core::verdict::{Exclusive, Owner};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, ApiResource};
use kube::core::PartialObjectMeta;
use kube::discovery::{Discovery, Scope, verbs};
use kube::runtime::reflector::store;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use prometheus_client::registry::Registry;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::api::{DeclarationOwner, ExclusiveNamespaces, GuardPolicy, OwnerPreset, StrayAction};
use crate::kubernetes::describe;
use ledger::Ledger;
use watch::Watch;

/// Kinds of aggregated API servers come and go without a CustomResourceDefinition, so all is looked at this often.
const LOOK: Duration = Duration::from_secs(30);
/// Changes of definitions come in bunches.
const BUNCH: Duration = Duration::from_millis(300);
/// Each watch is a connection: with more exclusive namespaces than these a kind is watched in all namespaces at once.
const WATCHED_ALONE: usize = 4;

/// Whether the inventory of a GitSync lists an object.
type Declared = Arc<dyn Fn(ObjectKey) -> BoxFuture<'static, bool> + Send + Sync>;

/// Finds strays for as long as it is polled.
pub struct Strays {
    client: Client,
    own_namespace: String,
    ledger: Arc<Ledger>,
}

impl Strays {
    /// Watches nothing yet. The metric `gitward_strays` is registered.
    pub fn new(client: Client, registry: &mut Registry, own_namespace: &str) -> Strays {
        let ledger = Arc::new(Ledger::new(client.clone(), registry));
        Strays { client, own_namespace: own_namespace.to_owned(), ledger }
    }

    /// Follows the GuardPolicy and the kinds that are served. `declared` says whether the inventory of a GitSync lists an
    /// object: what git declares is no stray, even while it lacks its marks or cannot be applied.
    pub async fn run<D>(self, declared: impl Fn(ObjectKey) -> D + Send + Sync + 'static)
    where
        D: Future<Output = bool> + Send + 'static,
    {
        let (policies, writer) = store();
        let only = watcher::Config::default().fields("metadata.name=default");
        let of_policies = reflector(writer, watcher(Api::<GuardPolicy>::all(self.client.clone()), only));
        let definitions = Api::<PartialObjectMeta<CustomResourceDefinition>>::all(self.client.clone());
        let of_definitions = watcher(definitions, watcher::Config::default());
        let changes = stream::select(
            of_policies.default_backoff().map(|event| event.map(|_| Change::Policy)),
            of_definitions.default_backoff().map(|event| event.map(|_| Change::Kinds)),
        );
        let mut changes = pin!(changes);
        let declared: Declared = Arc::new(move |key| declared(key).boxed());
        let mut following = Following { strays: self, declared, said: None, watches: HashMap::new() };
        loop {
            next(&mut changes).await;
            // Nothing begins or ends only because the policy is not yet known.
            if policies.wait_until_ready().now_or_never().is_some() {
                let policy = policies.state().first().map(|policy| policy.spec.clone()).unwrap_or_default();
                following.follow(policy.exclusive, policy.owner, policy.callers.tools).await;
            }
        }
    }
}

/// What may change what is watched.
enum Change {
    Policy,
    Kinds,
}

/// Waits until it is time to look again: at once where the policy changed, since it may have said that nothing more is removed.
async fn next(changes: &mut (impl Stream<Item = Result<Change, watcher::Error>> + Unpin)) {
    let mut until = Instant::now() + LOOK;
    loop {
        let change = tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            change = changes.next() => change,
        };
        match change {
            Some(Ok(Change::Policy)) => return,
            Some(Ok(Change::Kinds)) => until = until.min(Instant::now() + BUNCH),
            Some(Err(error)) => warn!(%error, "the GuardPolicy or the definitions cannot be watched; trying again"),
            // They never end.
            None => return tokio::time::sleep_until(until).await,
        }
    }
}

/// A kind, and the namespace in which it is watched; all where it is empty.
type Place = (ApiResource, String);

/// What is watched now.
struct Following {
    strays: Strays,
    declared: Declared,
    said: Option<(ExclusiveNamespaces, DeclarationOwner, Vec<String>)>,
    watches: HashMap<Place, AbortOnDropHandle<()>>,
}

impl Following {
    async fn follow(&mut self, exclusive: ExclusiveNamespaces, owner: DeclarationOwner, tools: Vec<String>) {
        let rules = Arc::new(rules(&exclusive, &owner, &tools, &self.strays.own_namespace));
        let remove = exclusive.strays == StrayAction::Remove;
        let said = Some((exclusive, owner, tools));
        if self.said != said {
            // All are begun anew, so that what is known already is judged by the new rules.
            self.watches.clear();
            self.said = said;
        }
        let namespaces: BTreeSet<&String> =
            rules.exclusive.namespaces.iter().filter(|namespace| rules.hold_in(namespace)).collect();
        self.strays.ledger.keep_namespaces(&namespaces);
        if namespaces.is_empty() {
            return;
        }
        let kinds = match kinds(&self.strays.client, &rules).await {
            Ok(kinds) => kinds,
            Err(error) => return warn!(error = describe(&error), "which kinds there are is not known; trying again"),
        };
        let scopes: Vec<String> = match namespaces.len() {
            0..=WATCHED_ALONE => namespaces.into_iter().cloned().collect(),
            _ => vec![String::new()],
        };
        let places: HashSet<Place> =
            kinds.iter().flat_map(|kind| scopes.iter().map(|scope| (kind.clone(), scope.clone()))).collect();
        self.watches.retain(|place, task| places.contains(place) && !task.is_finished());
        self.strays.ledger.keep(|key| kinds.iter().any(|kind| (&kind.group, &kind.kind) == (&key.group, &key.kind)));
        let known = self.watches.len();
        for place in places {
            if !self.watches.contains_key(&place) {
                let task = self.watch(&place, rules.clone(), remove).follow();
                self.watches.insert(place, AbortOnDropHandle::new(tokio::spawn(task)));
            }
        }
        if self.watches.len() != known {
            info!(kinds = kinds.len(), watches = self.watches.len(), remove, "looks for strays");
        }
    }

    fn watch(&self, (kind, scope): &Place, rules: Arc<Rules>, remove: bool) -> Watch {
        let client = self.strays.client.clone();
        let ledger = self.strays.ledger.clone();
        Watch::new(client, kind.clone(), scope.clone(), rules, remove, ledger, self.declared.clone())
    }
}

/// The rules of a GuardPolicy. gitward's own declarations count, whoever else is the owner.
fn rules(exclusive: &ExclusiveNamespaces, owner: &DeclarationOwner, tools: &[String], own_namespace: &str) -> Rules {
    let except = exclusive.except.iter().map(|kind| (kind.group.clone(), kind.kind.clone())).collect();
    // The accounts of an owner say who may write, which is the guard's question.
    let mut owners = vec![Owner::reconciler(own_namespace, "")];
    match owner.preset {
        OwnerPreset::Gitward => {}
        OwnerPreset::Flux => owners.push(Owner::flux("")),
        OwnerPreset::ArgoCd => owners.push(Owner::argo_cd("")),
    }
    Rules {
        exclusive: Exclusive { namespaces: exclusive.namespaces.clone(), except },
        owners,
        people: People { more: tools.to_vec() },
        own_namespace: own_namespace.to_owned(),
    }
}

/// The kinds whose objects may be strays, each in its most stable version.
async fn kinds(client: &Client, rules: &Rules) -> Result<Vec<ApiResource>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run_aggregated().await?;
    let served = discovery.groups().flat_map(|group| group.resources_by_stability());
    Ok(served
        .filter(|(kind, capabilities)| {
            capabilities.scope == Scope::Namespaced
                && [verbs::LIST, verbs::WATCH].iter().all(|verb| capabilities.supports_operation(verb))
                && rules.cover(&kind.group, &kind.kind)
        })
        .map(|(kind, _)| kind)
        .collect())
}
