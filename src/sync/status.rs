//! The status of a GitSync: conditions in the way of kstatus, with Flux' reasons.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::declared::{Failed, name_of};
use crate::api::{FailedObject, GitSync, GitSyncStatus};
use crate::kubernetes::MANAGER;

/// How many failed objects a status lists.
const MOST_FAILED: usize = 10;

/// What a run came to.
pub(super) enum Outcome {
    /// It has begun to apply a revision.
    Progressing,
    /// Everything is as git declares it.
    Applied,
    /// It is wanted that nothing happens.
    Suspended,
    /// Some objects failed; the others are applied.
    Partly(Vec<Failed>),
    /// It ended early, and is tried again.
    Failed(&'static str, String),
    /// It cannot succeed until somebody changes the GitSync.
    Stalled(&'static str, String),
}

/// The status after `outcome`, from the one before it.
pub(super) fn next(sync: &GitSync, before: GitSyncStatus, outcome: Outcome, now: Timestamp) -> GitSyncStatus {
    let generation = sync.metadata.generation;
    let mut status = GitSyncStatus { observed_generation: generation, ..before };
    let (ready, reason, message) = match &outcome {
        Outcome::Progressing => ("Unknown", "Progressing", "Applies a revision".to_owned()),
        Outcome::Applied => {
            let revision = status.last_attempted_revision.clone().unwrap_or_default();
            ("True", "ReconciliationSucceeded", format!("Applied revision: {revision}"))
        }
        Outcome::Suspended => ("False", "Suspended", "spec.suspend is true: nothing is applied or healed".to_owned()),
        Outcome::Partly(failed) => ("False", "ReconciliationFailed", failed_message(failed)),
        Outcome::Failed(reason, message) | Outcome::Stalled(reason, message) => ("False", *reason, message.clone()),
    };
    let progressing = matches!(outcome, Outcome::Progressing | Outcome::Partly(_) | Outcome::Failed(..));
    let stalled = matches!(outcome, Outcome::Stalled(..));
    let old = std::mem::take(&mut status.conditions);
    let condition = |kind: &str, value: &str| {
        let same = old.iter().find(|c| c.type_ == kind && c.status == value);
        Condition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(4096).collect(),
            observed_generation: generation,
            last_transition_time: same.map_or(Time(now), |c| c.last_transition_time.clone()),
        }
    };
    status.conditions.push(condition("Ready", ready));
    // kstatus: the abnormal conditions are there while they are true.
    if progressing {
        status.conditions.push(condition("Reconciling", "True"));
    }
    if stalled {
        status.conditions.push(condition("Stalled", "True"));
    }
    match outcome {
        Outcome::Applied => {
            status.last_applied_revision = status.last_attempted_revision.clone();
            status.failed.clear();
        }
        Outcome::Partly(failed) => status.failed = failed.iter().take(MOST_FAILED).map(failed_object).collect(),
        _ => {}
    }
    status
}

fn failed_object(failed: &Failed) -> FailedObject {
    FailedObject {
        object: failed.object.clone(),
        origin: failed.origin.clone(),
        message: failed.error.to_string().chars().take(1024).collect(),
    }
}

fn failed_message(failed: &[Failed]) -> String {
    let Some(first) = failed.first() else { return String::new() };
    let place = if first.origin.is_empty() { String::new() } else { format!(" ({})", first.origin) };
    let more = match failed.len() {
        1 => String::new(),
        n => format!("; and {} more, see status.failed", n - 1),
    };
    format!("{}{place}: {}{more}", first.object, first.error)
}

/// Writes a status.
///
/// # Errors
/// Where the API server fails; a GitSync that is gone is none.
pub(super) async fn write(client: &Client, sync: &GitSync, status: &GitSyncStatus) -> Result<(), kube::Error> {
    let (namespace, name) = name_of(sync);
    let api: Api<GitSync> = Api::namespaced(client.clone(), namespace);
    let patch = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync", "status": status});
    let written = api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await;
    match written {
        Err(error) if !crate::kubernetes::is_status(&error, 404) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::GitSyncSpec;

    fn sync() -> GitSync {
        let spec: GitSyncSpec = serde_json::from_value(json!({"source": {"url": "https://example.com/a"}})).unwrap();
        GitSync::new("shop", spec)
    }

    fn types(status: &GitSyncStatus) -> Vec<&str> {
        status.conditions.iter().map(|c| c.type_.as_str()).collect()
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_transition() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let failed = || Outcome::Failed("ArtifactFailed", "no".into());
        let first = next(&sync(), GitSyncStatus::default(), failed(), at(1));
        let second = next(&sync(), first.clone(), failed(), at(2));
        assert_eq!(second.conditions[0].last_transition_time.0, at(1));
        assert_eq!(types(&second), ["Ready", "Reconciling"]);
        let third = next(&sync(), second, Outcome::Applied, at(3));
        assert_eq!(third.conditions[0].last_transition_time.0, at(3));
        assert_eq!(types(&third), ["Ready"]);
    }

    #[test]
    fn a_failed_run_keeps_the_last_applied_revision() {
        let before = GitSyncStatus { last_applied_revision: Some("main@sha1:1".into()), ..GitSyncStatus::default() };
        let after = next(&sync(), before, Outcome::Stalled("NotAllowed", "no".into()), Timestamp::UNIX_EPOCH);
        assert_eq!(after.last_applied_revision.as_deref(), Some("main@sha1:1"));
        assert_eq!(types(&after), ["Ready", "Stalled"]);
    }
}
