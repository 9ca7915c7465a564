//! Whose additions to pinned objects are removed, and which stay, as the GuardPolicy says.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use gitward_core::fields::People;
use gitward_core::verdict::Pattern;
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use tracing::warn;

use crate::api::{GuardPolicy, GuardPolicySpec};
use crate::apply::{Rules, TakeOver};
use crate::kubernetes::chain;

/// Follows the GuardPolicy for as long as it is polled.
pub(super) async fn follow(client: Client, rules: Arc<Rules>) {
    let only = watcher::Config::default().fields("metadata.name=default");
    let mut events = pin!(watcher(Api::<GuardPolicy>::all(client), only).default_backoff());
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(policy) | watcher::Event::InitApply(policy)) => rules.set(of(&policy.spec)),
            Ok(watcher::Event::Delete(_)) => rules.set(TakeOver::default()),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => warn!(error = chain(&error), "the GuardPolicy cannot be watched; trying again"),
        }
    }
}

/// The rules at this moment.
///
/// # Errors
/// Where the API server refuses or fails.
pub(super) async fn read(client: Client) -> Result<TakeOver, kube::Error> {
    let policy = Api::<GuardPolicy>::all(client).get_opt("default").await?;
    Ok(policy.map(|policy| of(&policy.spec)).unwrap_or_default())
}

fn of(spec: &GuardPolicySpec) -> TakeOver {
    TakeOver {
        people: People { more: spec.callers.tools.clone() },
        // What is no pointer the guard tells of.
        allow: spec.allow.iter().filter_map(|pointer| Pattern::parse(pointer)).collect(),
    }
}
