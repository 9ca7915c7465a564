//! Reports what no webhook sees: admission policies, webhook configurations, FlowSchemas and APIServices that touch what
//! git declares. They cannot be refused; whoever made them has a right that leads around the guard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use gitward_core::surroundings::{Around, PinnedKinds, finding};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tracing::warn;

use super::controller::Context;
use crate::kubernetes::{MANAGER, is_status};
use crate::protect::{self, ProtectError};

/// What is looked at: group, version, kind, plural.
const WATCHED: [(&str, &str, &str, &str); 6] = [
    ("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies"),
    ("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas"),
    ("apiregistration.k8s.io", "v1", "APIService", "apiservices"),
];
/// What says which policies are in force.
const BINDINGS: [(&str, &str, &str, &str); 2] = [
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
];
/// Mutating policies are served as one of these before Kubernetes 1.36, where they are switched on. No watch tells of them then.
const OLDER: [&str; 2] = ["v1beta1", "v1alpha1"];
/// What git declares changes too, so all is looked at this often.
const LOOK: Duration = Duration::from_secs(15);
/// Changes come in bunches.
const BUNCH: Duration = Duration::from_millis(300);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Reports for as long as it is polled.
pub(super) struct Surroundings {
    /// The ConfigMap with the copies of what is gitward's own.
    copy: String,
    gauges: Family<KindLabel, Gauge>,
    /// What was reported, by kind and name.
    reported: BTreeMap<(&'static str, String), String>,
}

impl Surroundings {
    pub(super) fn new(registry: &mut Registry, copy: &str) -> Surroundings {
        let gauges = Family::<KindLabel, Gauge>::default();
        for (_, _, kind, _) in WATCHED {
            gauges.get_or_create(&KindLabel { kind }).set(0);
        }
        let help = "Objects that no webhook sees and that touch what git declares, by kind";
        registry.register("gitward_ways_around", help, gauges.clone());
        Surroundings { copy: copy.to_owned(), gauges, reported: BTreeMap::new() }
    }

    pub(super) async fn report(mut self, ctx: Arc<Context>) {
        let reporter = Reporter { controller: MANAGER.into(), instance: None };
        let recorder = Recorder::new(ctx.client.clone(), reporter);
        let mut changes =
            futures::stream::select_all(WATCHED.iter().chain(&BINDINGS).map(|of| changes(&ctx.client, *of).boxed()));
        loop {
            match look(&ctx, &self.copy).await {
                Ok(found) => self.tell(found, &recorder).await,
                Err(error) => warn!(%error, "what stands around the guard cannot be looked at"),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = changes.next() => tokio::time::sleep(BUNCH).await,
            }
        }
    }

    async fn tell(&mut self, found: BTreeMap<(&'static str, String), String>, recorder: &Recorder) {
        for (_, _, kind, _) in WATCHED {
            let count = found.keys().filter(|(of, _)| *of == kind).count();
            self.gauges.get_or_create(&KindLabel { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for ((kind, name), what) in &found {
            if self.reported.get(&(*kind, name.clone())) == Some(what) {
                continue;
            }
            warn!(kind, name, what, "there is a way around the guard");
            let event = Event {
                type_: EventType::Warning,
                reason: "WayAroundGuard".to_owned(),
                note: Some(format!(
                    "{kind} {name}: {what}, and the guard does not see it. `gitward access` lists who may write such objects."
                )),
                action: "Observe".to_owned(),
                secondary: None,
            };
            let api_version = WATCHED.iter().find(|of| of.2 == *kind).map(|of| format!("{}/{}", of.0, of.1));
            let regarding = ObjectReference {
                api_version,
                kind: Some((*kind).to_owned()),
                name: Some(name.clone()),
                ..ObjectReference::default()
            };
            // Telling is a courtesy: the log line above is out.
            let _ = recorder.publish(&event, &regarding).await;
        }
        self.reported = found;
    }
}

fn resource((group, version, kind, plural): (&str, &str, &str, &str)) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// A tick for every change of an object of the kind.
fn changes(
    client: &Client,
    of: (&'static str, &'static str, &'static str, &'static str),
) -> impl futures::Stream<Item = ()> + use<> {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource(of));
    let events = watcher(api, watcher::Config::default()).default_backoff();
    // A kind that this cluster does not serve has nothing to tell.
    events.filter_map(async |event| {
        matches!(event, Ok(watcher::Event::Apply(_) | watcher::Event::Delete(_))).then_some(())
    })
}

async fn look(ctx: &Context, copy: &str) -> Result<BTreeMap<(&'static str, String), String>, ProtectError> {
    let pinned = pinned_kinds(ctx).await;
    let own = protect::own(&ctx.client, &ctx.namespace, copy).await?;
    let mut bound = BTreeSet::new();
    for of in BINDINGS {
        let bindings = list(&ctx.client, of).await?;
        bound.extend(bindings.iter().filter_map(|b| Some(b.data.pointer("/spec/policyName")?.as_str()?.to_owned())));
    }
    let around = Around { pinned: &pinned, bound: &bound, own: &own, namespace: &ctx.namespace };
    let mut found = BTreeMap::new();
    for of in WATCHED {
        for object in list(&ctx.client, of).await? {
            let name = object.name_any();
            let object: Value = serde_json::to_value(&object).unwrap_or_default();
            if let Some(what) = finding(of.2, &object, &around) {
                found.insert((of.2, name), what);
            }
        }
    }
    Ok(found)
}

/// All objects of a kind; none where the cluster does not serve it in any version.
async fn list(client: &Client, of: (&str, &str, &str, &str)) -> Result<Vec<DynamicObject>, kube::Error> {
    let (group, version, kind, plural) = of;
    for version in std::iter::once(version).chain(OLDER) {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource((group, version, kind, plural)));
        match api.list(&ListParams::default()).await {
            Err(error) if is_status(&error, 404) => {}
            listed => return Ok(listed?.items),
        }
    }
    Ok(Vec::new())
}

async fn pinned_kinds(ctx: &Context) -> PinnedKinds {
    let mut kinds = BTreeMap::new();
    for (key, version) in ctx.inventories.objects().await {
        kinds.entry((key.group, key.kind)).or_insert(version);
    }
    let mut pinned = PinnedKinds::new();
    for ((group, kind), version) in kinds {
        if let Ok(kind) = ctx.kinds.get(&version, &kind).await {
            pinned.insert((group, kind.resource.plural.clone()));
        }
    }
    pinned
}
