//! CREATE and UPDATE of objects, through the object itself or a subresource that returns it (`status`, `finalize`).

use serde_json::Value;

use super::marks::Owned;
use super::review::{Objects, Operation, Request};
use super::{Policy, Reason, Verdict, Who, holder, pin_of, subject_of};
use crate::fields::{self, Change, FieldSet, Path, Segment};
use crate::names;

/// The annotation by which the deployment controller still rewrites a template (removed from the API with
/// `extensions/v1beta1`, obeyed to this day).
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

pub(super) fn judge(request: &Request<'_>, objects: &Objects, who: Who, policy: &Policy) -> Verdict {
    let (group, kind) = (request.kind.group.as_ref(), request.kind.kind.as_ref());
    let new = Owned::read(&objects.new, group, kind);
    if request.operation == Operation::Create {
        let changes = if new.marks.claims() { marks_of(&objects.new) } else { Vec::new() };
        return unpinned(request, objects, changes, &new, who, policy);
    }
    let old = Owned::read(&objects.old, group, kind);
    let mut shape = FieldSet::default();
    old.entries.iter().chain(&new.entries).for_each(|entry| shape.merge(&entry.fields));
    let mut changes = fields::diff(&objects.old, &objects.new, &shape);
    changes.retain(|change| !is_server_managed(&change.path));
    if old.pinned() {
        pinned(request, &objects.old, &Ownership { old, new }, &changes, who, policy)
    } else {
        unpinned(request, objects, changes, &new, who, policy)
    }
}

/// A new object, or a change of one that git does not declare. A person may not make it look declared. Parts of
/// Kubernetes may: they copy labels (those of a Service to its EndpointSlices), and without the reconciler's
/// declaration such an object is not pinned.
fn unpinned(
    request: &Request<'_>,
    objects: &Objects,
    mut changes: Vec<Change<'_>>,
    new: &Owned<'_>,
    who: Who,
    policy: &Policy,
) -> Verdict {
    let subject = subject_of(request, objects.subject());
    if who == Who::System {
        return Verdict::allow(Reason::NotPinned);
    }
    if holder::is_holder(&objects.old, &subject) {
        return holder::changed(subject, &changes, policy);
    }
    changes.retain(|change| is_mark(&change.path));
    leave_out_consequences(&mut changes, &subject.kind);
    if !new.marks.claims() || changes.is_empty() {
        return Verdict::allow(Reason::NotPinned);
    }
    Verdict::refuse(policy, Reason::ForgedPin, subject, None).with_fields(&changes)
}

/// The ownership of a pinned object before and after.
struct Ownership<'a> {
    old: Owned<'a>,
    new: Owned<'a>,
}

/// A change of a pinned object.
fn pinned(
    request: &Request<'_>,
    old: &Value,
    ownership: &Ownership<'_>,
    changes: &[Change<'_>],
    who: Who,
    policy: &Policy,
) -> Verdict {
    let kind = request.kind.kind.as_ref();
    let declared = ownership.old.declared();
    let same_version = ownership.old.declared_version().is_some_and(|declared| {
        declared.split_once('/').unwrap_or(("", declared)) == (&*request.kind.group, &*request.kind.version)
    });
    let rule = Rule { who, declared: &declared, same_version, policy };
    let mut refused: Vec<Change<'_>> = changes.iter().filter(|change| !rule.allows(change)).cloned().collect();
    // A refused write of a field also takes it from its owner: that is not worth a word of its own, unless the
    // declaration as a whole would be gone.
    let moved = match (refused.is_empty(), same_version, who) {
        (false, _, _) => ownership.new.declared().is_empty(),
        (true, true, _) => ownership.moves(&declared),
        (true, false, Who::Person) => ownership.old.entries != ownership.new.entries,
        (true, false, _) => false,
    };
    let reason = if refused.is_empty() { Reason::OwnershipChanged } else { Reason::PinnedFieldChanged };
    if moved {
        refused.push(Change { path: Path::of_fields(&["metadata", "managedFields"]), before: None, after: None });
    }
    leave_out_consequences(&mut refused, kind);
    if refused.is_empty() {
        let system = who == Who::System && !changes.is_empty();
        return Verdict::allow(if system { Reason::SystemWork } else { Reason::NoRefusedChange });
    }
    Verdict::refuse(policy, reason, subject_of(request, old), pin_of(&ownership.old.marks)).with_fields(&refused)
}

/// What one caller may change of one pinned object.
struct Rule<'a> {
    who: Who,
    declared: &'a FieldSet,
    /// Whether the objects of the review are in the version in which `declared` is written.
    same_version: bool,
    policy: &'a Policy,
}

impl Rule<'_> {
    fn allows(&self, change: &Change<'_>) -> bool {
        // A forged owner lets the garbage collector delete the object, the annotation lets the deployment
        // controller rewrite it: nobody but git, whatever the policy says.
        if change.path.is_under(&["metadata", "ownerReferences"]) || sets_rollback(change) {
            return false;
        }
        match self.who {
            Who::GitOps => true,
            Who::System => !self.same_version || !self.declared.is_touched_by(&change.path),
            Who::Person => {
                self.same_version
                    && !change.path.is_under(&["status"])
                    && !self.declared.is_touched_by(&change.path)
                    && self.policy.allows(&change.path)
            }
        }
    }
}

fn sets_rollback(change: &Change<'_>) -> bool {
    let all = ["metadata", "annotations"];
    let whole = change.path == Path::of_fields(&all);
    change.path.is_under(&[all[0], all[1], ROLLBACK])
        || (whole && change.after.is_some_and(|annotations| annotations.get(ROLLBACK).is_some()))
}

impl Ownership<'_> {
    /// Whether the declaration is narrowed, widened or doubled through a subresource, or a declared field gets one
    /// more owner, so that its removal from git would no longer remove it.
    fn moves(&self, declared: &FieldSet) -> bool {
        let claims = |owned: &Owned<'_>| owned.entries.iter().filter(|e| e.claims_declaration()).count();
        *declared != self.new.declared() || claims(&self.new) > claims(&self.old) || self.shares(declared)
    }

    fn shares(&self, declared: &FieldSet) -> bool {
        self.new.entries.iter().filter(|entry| !entry.claims_declaration()).any(|entry| {
            let key = (entry.manager, entry.operation, entry.subresource);
            let before = self.old.entries.iter().find(|e| (e.manager, e.operation, e.subresource) == key);
            let had = |path: &Path| before.is_some_and(|before| before.fields.has(path));
            before.is_none_or(|before| before.fields != entry.fields)
                && entry.fields.paths().iter().any(|path| declared.has(path) && !had(path))
        })
    }
}

/// Leaves out what follows from another refused change, so that the message names what the caller did: the two
/// labels of a GitSync are one mark, and the API server sets a Service's ports and policies when its type changes.
fn leave_out_consequences(refused: &mut Vec<Change<'_>>, kind: &str) {
    const OF_TYPE: [&str; 5] = ["nodePort", "externalTrafficPolicy", "healthCheckNodePort", "clusterIP", "clusterIPs"];
    let names = |change: &Change<'_>, keys: &[&str]| change.path == Path::of_fields(keys);
    if refused.iter().any(|change| names(change, &MARKS[1])) {
        refused.retain(|change| !names(change, &MARKS[0]));
    }
    if kind == "Service" && refused.iter().any(|change| names(change, &["spec", "type"])) {
        refused.retain(|change| match change.path.segments().last() {
            Some(Segment::Field(name)) => !(OF_TYPE.contains(&name.as_str()) && change.path.is_under(&["spec"])),
            _ => true,
        });
    }
}

/// What the API server sets by itself: no change of the caller's.
fn is_server_managed(path: &Path) -> bool {
    ["generation", "resourceVersion", "managedFields"].iter().any(|key| path.is_under(&["metadata", key]))
        || path.is_under(&["metadata", "annotations", "deprecated.daemonset.template.generation"])
}

const MARKS: [[&str; 3]; 4] = [
    ["metadata", "labels", names::SYNC_NAMESPACE],
    ["metadata", "labels", names::SYNC_NAME],
    ["metadata", "annotations", names::PINNED_ID],
    ["metadata", "annotations", names::ORIGIN],
];

/// Whether a change at this path puts on, or takes off, one of gitward's marks.
fn is_mark(path: &Path) -> bool {
    MARKS.iter().map(|keys| Path::of_fields(keys)).any(|mark| mark.contains(path) || path.contains(&mark))
}

/// The marks that an object wears, as changes from nothing.
fn marks_of(object: &Value) -> Vec<Change<'_>> {
    let worn = |keys: &[&str; 3]| {
        let after = keys.iter().try_fold(object, |value, key| value.get(key))?;
        Some(Change { path: Path::of_fields(keys), before: None, after: Some(after) })
    };
    MARKS.iter().filter_map(worn).collect()
}
