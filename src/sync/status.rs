//! The status of a GitSync: conditions in the way of kstatus, with Flux' reasons.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::declared::Failed;
use super::objects::Objects;
use crate::api::{
    FailedObject, GitSync, GitSyncStatus, HISTORY_LENGTH, MOST_FAILED, PastRevision, RevisionOutcome, SyncId,
};
use crate::apply::ApplyError;
use crate::kubernetes::MANAGER;
use crate::source::Commit;

/// What a look at a GitSync came to.
#[derive(Clone, Debug, Default)]
pub(super) enum Outcome {
    /// It is under way, or waits for something.
    Progressing(String),
    /// Everything is as git declares it.
    #[default]
    Applied,
    /// It is wanted that nothing happens.
    Suspended(String),
    /// Some objects failed; the others are applied.
    Partly {
        /// The first few of them.
        failed: Vec<FailedObject>,
        /// All of them, in words.
        message: String,
        /// Why, in one word.
        reason: &'static str,
        /// Whether nothing helps but a change of git.
        stalled: bool,
    },
    /// It ended early, and is tried again.
    Failed(&'static str, String),
    /// It cannot succeed until somebody changes the GitSync.
    Stalled(&'static str, String),
}

impl Outcome {
    /// Some objects failed: those that could not even be tried, and those that were.
    pub(super) fn partly(untried: &[Failed], tried: &[Failed]) -> Outcome {
        let failed: Vec<&Failed> = untried.iter().chain(tried).collect();
        let is_refused = |one: &&Failed| matches!(one.error, ApplyError::NotAllowed(_));
        Outcome::Partly {
            failed: failed.iter().take(MOST_FAILED).map(|one| failed_object(one)).collect(),
            message: failed_message(&failed),
            reason: if failed.iter().any(is_refused) { "NotAllowed" } else { "ReconciliationFailed" },
            stalled: !failed.iter().any(|one| one.error.may_pass()),
        }
    }
}

/// The status after a look, from the one before it.
pub(super) fn next(
    sync: &GitSync,
    before: GitSyncStatus,
    outcome: &Outcome,
    objects: Option<&Objects>,
    now: Timestamp,
) -> GitSyncStatus {
    let mut status = GitSyncStatus { observed_generation: sync.metadata.generation, ..before };
    let (ready, reason, message) = match outcome {
        Outcome::Progressing(message) => ("Unknown", "Progressing", message.clone()),
        Outcome::Applied => applied(&status),
        Outcome::Suspended(message) => ("False", "Suspended", message.clone()),
        Outcome::Partly { reason, message, .. } => ("False", *reason, message.clone()),
        Outcome::Failed(reason, message) | Outcome::Stalled(reason, message) => ("False", *reason, message.clone()),
    };
    let stalled = matches!(outcome, Outcome::Stalled(..) | Outcome::Partly { stalled: true, .. });
    let busy =
        matches!(outcome, Outcome::Progressing(_) | Outcome::Failed(..) | Outcome::Partly { stalled: false, .. });
    let mut conditions = Conditions { old: std::mem::take(&mut status.conditions), new: Vec::new(), sync, now };
    conditions.add("Ready", ready, reason, &message);
    // kstatus: the abnormal conditions are there while they are true.
    if busy {
        conditions.add("Reconciling", "True", reason, &message);
    }
    if stalled {
        conditions.add("Stalled", "True", reason, &message);
    }
    if let Some(objects) = objects {
        let (value, reason, message) = objects.healthy();
        conditions.add("Healthy", value, reason, &message);
        let (value, reason, message) = objects.drifted();
        conditions.add("Drifted", value, reason, &message);
    }
    status.conditions = conditions.new;
    match outcome {
        Outcome::Applied => status.failed.clear(),
        Outcome::Partly { failed, .. } => status.failed.clone_from(failed),
        _ => {}
    }
    status
}

fn applied(status: &GitSyncStatus) -> (&'static str, &'static str, String) {
    let revision = status.last_applied_revision.as_deref().unwrap_or_default();
    match &status.hold {
        None => ("True", "ReconciliationSucceeded", format!("Applied revision: {revision}")),
        Some(hold) => {
            let message = format!(
                "Applied revision: {revision}, held instead of {} until git moves on: {}",
                hold.instead_of, hold.reason
            );
            ("True", "RollbackSucceeded", message)
        }
    }
}

struct Conditions<'a> {
    old: Vec<Condition>,
    new: Vec<Condition>,
    sync: &'a GitSync,
    now: Timestamp,
}

impl Conditions<'_> {
    fn add(&mut self, kind: &str, value: &str, reason: &str, message: &str) {
        let same = self.old.iter().find(|c| c.type_ == kind && c.status == value);
        self.new.push(Condition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: reason.to_owned(),
            message: message.chars().take(4096).collect(),
            observed_generation: self.sync.metadata.generation,
            // The API server keeps whole seconds: more would look like a change each time.
            last_transition_time: same
                .map_or_else(|| Time(whole_seconds(self.now)), |c| c.last_transition_time.clone()),
        });
    }
}

pub(super) fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Notes in the history how far a revision came.
pub(super) fn note(status: &mut GitSyncStatus, commit: &Commit, outcome: RevisionOutcome, now: Timestamp) {
    let revision = commit.revision.to_string();
    let shorten = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    match status.history.first_mut().filter(|newest| newest.revision == revision) {
        Some(newest) if rank(newest.outcome) >= rank(outcome) => {}
        Some(newest) => newest.outcome = outcome,
        None => {
            let past = PastRevision {
                revision,
                author: shorten(&commit.author, 100),
                message: shorten(&commit.message, 200),
                outcome,
                attempted_at: Time(whole_seconds(now)),
            };
            status.history.insert(0, past);
            status.history.truncate(HISTORY_LENGTH);
        }
    }
}

fn rank(outcome: RevisionOutcome) -> u8 {
    match outcome {
        RevisionOutcome::Attempted => 0,
        RevisionOutcome::Applied => 1,
        RevisionOutcome::Healthy => 2,
        RevisionOutcome::RolledBack => 3,
    }
}

fn failed_object(failed: &Failed) -> FailedObject {
    FailedObject {
        object: failed.object.clone(),
        origin: failed.origin.clone(),
        message: failed.error.to_string().chars().take(1024).collect(),
    }
}

fn failed_message(failed: &[&Failed]) -> String {
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
    let id = SyncId::of(sync);
    let api: Api<GitSync> = Api::namespaced(client.clone(), &id.namespace);
    let patch = json!({"apiVersion": "gitward.dev/v1alpha1", "kind": "GitSync", "status": status});
    let written = api.patch_status(&id.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&patch)).await;
    match written {
        Err(error) if !crate::kubernetes::is_status(&error, 404) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{GitSyncSpec, Hold};

    fn sync() -> GitSync {
        let spec: GitSyncSpec = serde_json::from_value(json!({"source": {"url": "https://example.com/a"}})).unwrap();
        GitSync::new("shop", spec)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn after(before: GitSyncStatus, outcome: &Outcome, second: i64) -> GitSyncStatus {
        next(&sync(), before, outcome, None, at(second))
    }

    fn types(status: &GitSyncStatus) -> Vec<&str> {
        status.conditions.iter().map(|c| c.type_.as_str()).collect()
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_transition() {
        let failed = Outcome::Failed("ArtifactFailed", "no".into());
        let first = after(GitSyncStatus::default(), &failed, 1);
        let second = after(first.clone(), &failed, 2);
        assert_eq!(second, first, "nothing to write");
        assert_eq!(types(&second), ["Ready", "Reconciling"]);
        let third = after(second, &Outcome::Applied, 3);
        assert_eq!(third.conditions[0].last_transition_time.0, at(3));
        assert_eq!(types(&third), ["Ready"]);
    }

    #[test]
    fn a_failed_run_keeps_the_last_applied_revision() {
        let before = GitSyncStatus { last_applied_revision: Some("main@sha1:1".into()), ..GitSyncStatus::default() };
        let after = after(before, &Outcome::Stalled("NotAllowed", "no".into()), 0);
        assert_eq!(after.last_applied_revision.as_deref(), Some("main@sha1:1"));
        assert_eq!(types(&after), ["Ready", "Stalled"]);
    }

    #[test]
    fn a_revision_that_is_held_says_so() {
        let hold =
            Hold { revision: "a".into(), instead_of: "b".into(), reason: "b failed".into(), requested: String::new() };
        let before =
            GitSyncStatus { hold: Some(hold), last_applied_revision: Some("a".into()), ..GitSyncStatus::default() };
        let after = after(before, &Outcome::Applied, 0);
        assert_eq!(after.conditions[0].message, "Applied revision: a, held instead of b until git moves on: b failed");
    }

    #[test]
    fn the_history_remembers_how_far_each_revision_came() {
        let commit = |letter: &str| Commit {
            revision: crate::source::Revision { name: "main".into(), commit: letter.into() },
            author: "Sam".into(),
            message: "m".repeat(500),
        };
        let mut status = GitSyncStatus::default();
        note(&mut status, &commit("a"), RevisionOutcome::Attempted, at(1));
        note(&mut status, &commit("a"), RevisionOutcome::Healthy, at(2));
        note(&mut status, &commit("a"), RevisionOutcome::Applied, at(3));
        assert_eq!((status.history[0].outcome, status.history[0].attempted_at.0), (RevisionOutcome::Healthy, at(1)));
        for n in 0..20 {
            note(&mut status, &commit(&n.to_string()), RevisionOutcome::Attempted, at(n));
        }
        assert_eq!(status.history.len(), HISTORY_LENGTH);
        assert_eq!(status.history[0].message.len(), 200);
    }
}
