//! Which revision is followed: the newest, or one that is held until git moves on. Pure.

use crate::api::{GitSyncStatus, Hold};
use crate::source::Revision;

/// Annotation of a GitSync: the revision to go back to, one of its history, as `main@sha1:…` or a commit's hash.
pub(super) const ROLLBACK_TO: &str = "gitward.dev/rollback-to";
/// Annotation of a GitSync, as Flux has it: a new value asks for a look at once.
pub(super) const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";

/// What is followed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    /// The newest revision.
    Newest {
        /// Whether a hold has ended, so that the annotation that asked for it has to go.
        moved_on: bool,
    },
    /// An older one.
    Held(Hold),
    /// What was asked for cannot be gone back to, and why.
    Refused(String),
}

/// Decides what is followed, where git has `newest` and the annotation asks for `asked`.
pub(super) fn target(asked: Option<&str>, status: &GitSyncStatus, newest: &Revision) -> Target {
    let newest = newest.to_string();
    if let Some(hold) = &status.hold {
        let is_over = hold.instead_of != newest;
        match asked {
            // Somebody asks for another revision than the one that is held.
            Some(asked) if asked != hold.requested => {}
            // Whoever asked for it does not any more.
            None if !hold.requested.is_empty() => return Target::Newest { moved_on: false },
            _ if is_over => return Target::Newest { moved_on: !hold.requested.is_empty() },
            _ => return Target::Held(hold.clone()),
        }
    }
    let Some(asked) = asked else { return Target::Newest { moved_on: false } };
    let known = status.history.iter().map(|past| past.revision.as_str()).chain(status.last_healthy_revision.as_deref());
    let is_asked = |revision: &&str| *revision == asked || revision.ends_with(&format!("sha1:{asked}"));
    match known.into_iter().find(is_asked) {
        Some(revision) if revision == newest => Target::Newest { moved_on: false },
        Some(revision) => Target::Held(Hold {
            revision: revision.to_owned(),
            instead_of: newest,
            reason: format!("asked for by the annotation {ROLLBACK_TO}"),
            requested: asked.to_owned(),
        }),
        None => Target::Refused(format!(
            "annotation {ROLLBACK_TO}: {asked:?} is none of the revisions in status.history; remove the annotation or name one of them"
        )),
    }
}

/// What to go back to, where `failed` cannot be had; `None` where nothing older was healthy.
pub(super) fn back(status: &GitSyncStatus, failed: &str, why: &str) -> Option<Hold> {
    let healthy = status.last_healthy_revision.as_ref().filter(|revision| *revision != failed)?;
    let reason: String = format!("{failed} failed: {why}").chars().take(1024).collect();
    Some(Hold { revision: healthy.clone(), instead_of: failed.to_owned(), reason, requested: String::new() })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::{PastRevision, RevisionOutcome};

    fn revision(letter: &str) -> String {
        format!("main@sha1:{}", letter.repeat(40))
    }

    fn status(hold: Option<Hold>) -> GitSyncStatus {
        let past = |letter: &str| PastRevision {
            revision: revision(letter),
            author: String::new(),
            message: String::new(),
            outcome: RevisionOutcome::Applied,
            attempted_at: Time(jiff::Timestamp::UNIX_EPOCH),
        };
        GitSyncStatus { hold, history: vec![past("b"), past("a")], ..GitSyncStatus::default() }
    }

    fn of(asked: Option<&str>, hold: Option<Hold>, newest: &str) -> Target {
        target(asked, &status(hold), &Revision::parse(&revision(newest)).unwrap())
    }

    fn hold(requested: &str) -> Hold {
        Hold { revision: revision("a"), instead_of: revision("b"), reason: "r".into(), requested: requested.into() }
    }

    #[test]
    fn a_revision_of_the_history_can_be_asked_for() {
        let commit = "a".repeat(40);
        for asked in [revision("a"), commit] {
            let Target::Held(held) = of(Some(&asked), None, "b") else { panic!("{asked}") };
            assert_eq!((held.revision, held.instead_of, held.requested), (revision("a"), revision("b"), asked));
        }
        assert!(matches!(of(Some("nonsense"), None, "b"), Target::Refused(_)));
        assert_eq!(of(None, None, "b"), Target::Newest { moved_on: false });
    }

    #[test]
    fn a_hold_ends_when_git_moves_on_or_nobody_asks_for_it() {
        assert_eq!(of(None, Some(hold("")), "b"), Target::Held(hold("")));
        assert_eq!(of(None, Some(hold("")), "c"), Target::Newest { moved_on: false });
        let asked = revision("a");
        assert_eq!(of(Some(&asked), Some(hold(&asked)), "b"), Target::Held(hold(&asked)));
        assert_eq!(of(Some(&asked), Some(hold(&asked)), "c"), Target::Newest { moved_on: true });
        assert_eq!(of(None, Some(hold(&asked)), "b"), Target::Newest { moved_on: false });
    }

    #[test]
    fn a_failed_revision_goes_back_to_the_last_healthy_one() {
        let mut status = status(None);
        assert_eq!(back(&status, &revision("b"), "no"), None);
        status.last_healthy_revision = Some(revision("a"));
        assert_eq!(back(&status, &revision("b"), "no").unwrap().revision, revision("a"));
        assert_eq!(back(&status, &revision("a"), "no"), None);
    }
}
