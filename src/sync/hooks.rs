//! Hooks: objects that are made anew whenever something else is declared, and are through when they are healthy. They are never
//! healed; what they did cannot be undone.

use std::collections::BTreeMap;
use std::time::Duration;

use gitward_core::health::Health;
use gitward_core::plan::{Hook, ObjectKey};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tracing::info;

use super::controller::Context;
use super::declared::Ready;
use crate::apply::{ApplyError, Declaration, get, put, remove, remove_and_wait};
use crate::observe::health_of;

/// Annotation: of which run a hook is.
const RUN: &str = "gitward.dev/hook-run";
/// How long an older one may take to go away.
const GONE: Duration = Duration::from_secs(30);

/// How far the hooks of what is declared came. Known for as long as the reconciler runs: what was deleted when it had succeeded
/// runs again after a restart in the middle of a run.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    /// A hash of what is declared.
    pub(super) token: String,
    /// Whether all have run for just this before.
    pub(super) are_done: bool,
    /// Whether those that failed are run again.
    pub(super) again: bool,
    /// How each ended.
    ended: BTreeMap<ObjectKey, Health>,
}

impl Hooks {
    /// The hooks of something that is declared now.
    pub(super) fn of(token: String, are_done: bool) -> Hooks {
        Hooks { token, are_done, ..Hooks::default() }
    }

    /// Those that failed run once more.
    pub(super) fn retry(&mut self) {
        self.again = true;
        self.ended.retain(|_, health| *health == Health::Healthy);
    }

    /// How a hook has ended.
    pub(super) fn ended(&self, key: &ObjectKey) -> Option<Health> {
        if self.are_done { Some(Health::Healthy) } else { self.ended.get(key).cloned() }
    }

    /// Notes how a hook is.
    pub(super) fn note(&mut self, key: &ObjectKey, health: &Health) {
        if !matches!(health, Health::Progressing(_)) {
            self.ended.insert(key.clone(), health.clone());
        }
    }
}

/// Makes sure that a hook runs for this run, once, and says how it is.
pub(super) async fn run_hook(
    ctx: &Context,
    ready: &Ready,
    hook: Hook,
    token: &str,
    again: bool,
) -> Result<Health, ApplyError> {
    let kind = ctx.kinds.get(&ready.api_version, &ready.key.kind).await?;
    let api = kind.api(&ctx.client, &ready.key.namespace);
    let live = get(&api, &ready.key).await?;
    if let Some(live) = live.as_ref().filter(|live| run_of(live) == Some(token)) {
        let health = health_of(live, &ready.key);
        let retry = again && matches!(health, Health::Failed(_));
        if !retry {
            if clears(hook, &health) {
                remove(&api, &ready.key, live).await?;
            }
            return Ok(health);
        }
    }
    if let Some(live) = live {
        // What somebody else has made is not deleted because a hook has its name.
        if run_of(&live).is_none() {
            return Err(ApplyError::NotAHook);
        }
        remove_and_wait(&api, &ready.key, &live, GONE).await?;
    }
    let mut declared: Declaration = ready.object.read()?;
    declared.object["metadata"]["annotations"][RUN] = json!(token);
    // When it goes its policy says: one that went by itself would look as if it had never run.
    if let Some(spec) = declared.object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("ttlSecondsAfterFinished");
    }
    info!(object = %ready.key, "runs a hook");
    let made = put(&ctx.client, &kind, &ready.key, &declared, &ctx.rules.now(), None).await?;
    Ok(health_of(&made, &ready.key))
}

fn run_of(live: &DynamicObject) -> Option<&str> {
    live.metadata.annotations.as_ref()?.get(RUN).map(String::as_str)
}

fn clears(hook: Hook, health: &Health) -> bool {
    match health {
        Health::Healthy => hook.delete_on_success,
        Health::Failed(_) => hook.delete_on_failure,
        Health::Progressing(_) => false,
    }
}
