//! Tells people what was healed, and which copies there are: as Events, and in the status of the GitSync.

use std::sync::Arc;

use gitward_core::plan::ObjectKey;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::warn;

use super::controller::Context;
use super::status::whole_seconds;
use crate::api::{self, BlockedChange, SyncId};
use crate::kubernetes::describe;
use crate::observe::{Drift, Told};

/// A record of the guard that is older than this, in seconds, is about something else.
const RECENT: i64 = 60;

/// Tells for as long as it is polled.
pub(super) async fn tell(ctx: Arc<Context>, mut told: mpsc::Receiver<Told>) {
    let recorder =
        Recorder::new(ctx.client.clone(), Reporter { controller: "gitward-reconciler".to_owned(), instance: None });
    while let Some(news) = told.recv().await {
        match news {
            Told::Copy { sync, what } => publish(&recorder, &sync, "CopyFound", &what).await,
            Told::Healed(drift) => healed(&ctx, &recorder, drift).await,
        }
    }
}

async fn healed(ctx: &Context, recorder: &Recorder, drift: Drift) {
    let user = who(ctx, &drift.object).await;
    let by = match (drift.manager.as_str(), user.as_str()) {
        ("", "") => String::new(),
        (manager, "") => format!("{manager} "),
        (manager, user) => format!("{user} ({manager}) "),
    };
    let took = drift.took.as_millis();
    let note = format!("{}: {by}{}; put back after {took} ms", drift.object.in_words(), drift.what);
    publish(recorder, &drift.sync, "DriftHealed", &note).await;
    let told = api::Drift {
        object: drift.object.to_string(),
        time: Time(whole_seconds(Timestamp::now())),
        manager: drift.manager,
        user,
        what: drift.what,
    };
    ctx.progress.drifted(&drift.sync, told);
    ctx.wakes.wake(&drift.sync);
}

async fn publish(recorder: &Recorder, sync: &SyncId, reason: &str, note: &str) {
    let event = Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(note.chars().take(1000).collect()),
        action: "Heal".to_owned(),
        secondary: None,
    };
    let about: ObjectReference = sync.to_ref().into();
    if let Err(error) = recorder.publish(&event, &about).await {
        warn!(error = describe(&error), "an Event could not be written");
    }
}

/// The user whose change the guard let through a moment ago, where it only warns or watches; empty where it saw none.
async fn who(ctx: &Context, object: &ObjectKey) -> String {
    let namespace = if object.namespace.is_empty() { &ctx.namespace } else { &object.namespace };
    let api: Api<BlockedChange> = Api::namespaced(ctx.client.clone(), namespace);
    let Ok(records) = api.list(&ListParams::default()).await else { return String::new() };
    let now = Timestamp::now().as_second();
    let is_about = |record: &&BlockedChange| {
        let of = &record.spec.object;
        (&of.group, &of.kind, &of.namespace, &of.name) == (&object.group, &object.kind, &object.namespace, &object.name)
            && record.spec.decision != "deny"
            && now - record.spec.last_time.0.as_second() < RECENT
    };
    let newest = records.items.iter().filter(is_about).max_by_key(|record| record.spec.last_time.0);
    newest.map(|record| record.spec.user.clone()).unwrap_or_default()
}
