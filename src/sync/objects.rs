//! How all objects of a GitSync are, in a few words.

use gitward_core::health::Health;

use super::controller::Context;
use crate::api::SyncId;

/// How many objects are named.
const NAMED: usize = 3;

/// How the objects of a GitSync are.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    all: usize,
    /// Who will not become healthy by themselves, and who is on the way, in words.
    failed: Vec<String>,
    progressing: Vec<String>,
    /// Who is fought over or cannot be healed, in words.
    troubles: Vec<String>,
    /// Who is not as git declares it at this moment.
    drifted: Vec<String>,
}

impl Objects {
    /// Looks at them.
    pub(super) fn of(ctx: &Context, sync: &SyncId) -> Objects {
        let mut objects = Objects::default();
        ctx.pinned.each_of(sync, |key, object| {
            objects.all += 1;
            match &object.health {
                // What has done its work and went is no loss.
                _ if object.done && object.live.is_none() => {}
                Health::Healthy => {}
                Health::Progressing(why) => objects.progressing.push(format!("{}: {why}", key.in_words())),
                Health::Failed(why) => objects.failed.push(format!("{}: {why}", key.in_words())),
            }
            if let Some(trouble) = ctx.healer.trouble(key) {
                objects.troubles.push(format!("{}: {trouble}", key.in_words()));
            } else if !object.is_in_sync() && !object.done {
                objects.drifted.push(key.in_words());
            }
        });
        for words in [&mut objects.failed, &mut objects.progressing, &mut objects.troubles, &mut objects.drifted] {
            words.sort();
        }
        objects
    }

    /// Whether all are healthy.
    pub(super) fn are_healthy(&self) -> bool {
        self.failed.is_empty() && self.progressing.is_empty()
    }

    /// The condition `Healthy`: status, reason, message.
    pub(super) fn healthy(&self) -> (&'static str, &'static str, String) {
        match (self.failed.as_slice(), self.progressing.as_slice()) {
            ([], []) => ("True", "Healthy", format!("All {} objects are healthy", self.all)),
            ([], progressing) => ("False", "Progressing", named(progressing)),
            (failed, _) => ("False", "Degraded", named(failed)),
        }
    }

    /// The condition `Drifted`: status, reason, message.
    pub(super) fn drifted(&self) -> (&'static str, &'static str, String) {
        match (self.troubles.as_slice(), self.drifted.as_slice()) {
            ([], []) => ("False", "InSync", format!("All {} objects are as git declares them", self.all)),
            ([], drifted) => ("True", "Healing", named(drifted)),
            (troubles, _) => ("True", "Conflict", named(troubles)),
        }
    }
}

fn named(all: &[String]) -> String {
    let first = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    match all.len().checked_sub(NAMED) {
        None | Some(0) => first,
        Some(more) => format!("{first}; and {more} more"),
    }
}
