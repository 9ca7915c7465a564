//! CREATE and UPDATE of objects, through the object itself or a subresource that returns it (`status`, `finalize`).

use super::lookup::Answer;
use super::marks::{Declared, Owned};
use super::review::Operation;
use super::{Case, Policy, Reason, Subject, Verdict, Who, holder};
use crate::fields::Object;
use crate::fields::{self, Change, Entry, FieldSet, Path, Segment};

/// The annotation by which the deployment controller still rewrites a template (removed from the API with
/// `extensions/v1beta1`, obeyed to this day).
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

impl<'a> Case<'a> {
    /// A new object. A person may not make it look declared. Parts of Kubernetes may: they copy labels (those of a
    /// Service to its EndpointSlices), and without the reconciler's declaration such an object is not pinned.
    pub(super) fn created(&self, new: &Object<'a>) -> Answer<Verdict> {
        if self.who == Who::System {
            return Ok(Verdict::allow(Reason::NotPinned));
        }
        let owned = Owned::read(new, self.kind(), &self.policy.owner);
        if owned.claims() {
            let marks = self.marks_of(new);
            return Ok(self.refuse(Reason::ForgedPin, new, None).with_fields(&marks));
        }
        self.of_no_git(None, new, &[])
    }

    /// A change of an object.
    pub(super) fn updated(&self, old: &Object<'a>, new: &Object<'a>) -> Answer<Verdict> {
        let owned = Owned::read(old, self.kind(), &self.policy.owner);
        if owned.pinned() {
            return Ok(self.pinned_changed(old, new, &owned));
        }
        if self.who == Who::System {
            return Ok(Verdict::allow(Reason::NotPinned));
        }
        let changes = changes(old, new, &old.meta.managed_fields, &new.meta.managed_fields);
        let subject = self.subject(old);
        if let Some(verdict) = holder::changed(self, old, &subject, &changes)? {
            return Ok(verdict);
        }
        let claims = Owned::read(new, self.kind(), &self.policy.owner).claims();
        let mut marks: Vec<_> = changes.iter().filter(|change| self.is_mark(&change.path)).cloned().collect();
        if claims && !marks.is_empty() {
            leave_out_consequences(&mut marks, &subject.kind);
            return Ok(self.refuse(Reason::ForgedPin, old, None).with_fields(&marks));
        }
        if changes.is_empty() {
            return Ok(Verdict::allow(Reason::NoRefusedChange));
        }
        self.of_no_git(Some(old), new, &changes)
    }

    /// What git does not declare itself: it may belong to what git declares, stand beside it, or in a namespace that is
    /// git's alone.
    fn of_no_git(&self, old: Option<&Object<'a>>, new: &Object<'a>, changes: &[Change<'a>]) -> Answer<Verdict> {
        if self.who == Who::Operator {
            return Ok(Verdict::allow(Reason::NotPinned));
        }
        if let Some(verdict) = self.child_changed(old, new, changes)? {
            return Ok(verdict);
        }
        if let Some(verdict) = self.exclusive(new) {
            return Ok(verdict.with_fields(changes));
        }
        Ok(self.beside(old, new, changes)?.unwrap_or_else(|| Verdict::allow(Reason::NotPinned)))
    }

    fn pinned_changed(&self, old: &Object<'a>, new: &Object<'a>, owned: &Owned<'a>) -> Verdict {
        let after = &new.meta.managed_fields;
        let changes = changes(old, new, owned.entries, after);
        let declared = owned.declared();
        let request = self.request;
        let same_version = owned.declared_version().is_some_and(|declared| {
            declared.split_once('/').unwrap_or(("", declared)) == (&*request.kind.group, &*request.kind.version)
        });
        let rule = Rule { who: self.who, declared: &declared, same_version, policy: self.policy };
        let mut refused: Vec<Change<'_>> = changes.iter().filter(|change| !rule.allows(change)).cloned().collect();
        let ownership = Ownership { owned, after };
        // A refused write of a field also takes it from its owner: that is not worth a word of its own, unless the
        // declaration as a whole would be gone.
        let moved = match (refused.is_empty(), same_version, self.who) {
            (false, _, _) => ownership.is_gone(),
            (true, true, _) => ownership.moves(&declared),
            (true, false, Who::Person | Who::Operator) => ownership.is_another(),
            (true, false, _) => false,
        };
        let reason = if refused.is_empty() { Reason::OwnershipChanged } else { Reason::PinnedFieldChanged };
        if moved {
            refused.push(Change { path: Path::of_fields(&["metadata", "managedFields"]), before: None, after: None });
        }
        leave_out_consequences(&mut refused, &request.kind.kind);
        if refused.is_empty() {
            let work = self.who == Who::System && !changes.is_empty();
            return Verdict::allow(if work { Reason::SystemWork } else { Reason::NoRefusedChange });
        }
        self.refuse(reason, old, owned.pin()).with_fields(&refused)
    }

    /// Whether a change at this path puts on, or takes off, one of the marks.
    fn is_mark(&self, path: &Path) -> bool {
        let marks = self.policy.owner.mark_paths();
        marks.iter().map(|keys| Path::of_fields(keys)).any(|mark| mark.contains(path) || path.contains(&mark))
    }

    /// The marks that an object wears, as changes from nothing.
    fn marks_of(&self, object: &Object<'a>) -> Vec<Change<'a>> {
        let worn = |keys: &[&str; 3]| {
            let after = object.meta.parts.get(keys[1])?.get(keys[2])?;
            Some(Change { path: Path::of_fields(keys), before: None, after: Some(after) })
        };
        self.policy.owner.mark_paths().iter().filter_map(worn).collect()
    }

    /// The group and kind of the objects of the review.
    pub(super) fn kind(&self) -> (&'a str, &'a str) {
        (self.request.kind.group.as_ref(), self.request.kind.kind.as_ref())
    }

    /// The object that a review is about, in the words of a refusal.
    pub(super) fn subject(&self, object: &Object<'_>) -> Subject {
        let (group, kind) = self.kind();
        let made_up = self.request.operation == Operation::Create && object.meta.name.is_empty();
        Subject {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: object.meta.namespace.to_string(),
            name: if made_up { self.request.name.to_string() } else { object.meta.name.to_string() },
        }
    }
}

/// The caller's changes of an object.
fn changes<'a>(old: &Object<'a>, new: &Object<'a>, before: &[Entry<'a>], after: &[Entry<'a>]) -> Vec<Change<'a>> {
    let mut shape = FieldSet::default();
    before.iter().chain(after).for_each(|entry| shape.merge(&entry.fields()));
    fields::diff(old, new, &shape)
}

/// What one caller may change of one pinned object.
struct Rule<'a> {
    who: Who,
    declared: &'a Declared<'a>,
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
        let touched = || self.declared.is_touched_by(&change.path);
        // Labels and annotations are the same in every version.
        let in_version = self.same_version || change.path.is_under(&["metadata"]);
        match self.who {
            Who::GitOps => true,
            Who::System => !self.same_version || !self.declared.is_exact() || !touched(),
            Who::Operator => change.path.is_under(&["status"]) || (in_version && !touched()),
            Who::Person => {
                self.same_version
                    && !change.path.is_under(&["status"])
                    && self.policy.allows(&change.path)
                    && !touched()
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

/// The ownership of a pinned object before and after.
struct Ownership<'a, 'b> {
    owned: &'b Owned<'a>,
    after: &'b [Entry<'a>],
}

impl Ownership<'_, '_> {
    fn claims<'e>(&self, entries: &'e [Entry<'e>]) -> Vec<&'e Entry<'e>> {
        entries.iter().filter(|entry| self.owned.is_claim(entry)).collect()
    }

    /// Whether nothing would be declared any more.
    fn is_gone(&self) -> bool {
        self.claims(self.after).iter().all(|entry| !entry.subresource.is_empty() || entry.fields().is_empty())
    }

    /// Whether any entry is another one.
    fn is_another(&self) -> bool {
        let before = self.owned.entries;
        before.len() != self.after.len()
            || before.iter().zip(self.after).any(|(a, b)| !a.is_of(b) || !same(a, b) || a.api_version != b.api_version)
    }

    /// Whether the declaration is narrowed, widened or doubled through a subresource, or a declared field gets one
    /// more owner, so that its removal from git would no longer remove it.
    fn moves(&self, declared: &Declared<'_>) -> bool {
        let (before, after) = (self.claims(self.owned.entries), self.claims(self.after));
        before.len() != after.len()
            || before.iter().zip(&after).any(|(a, b)| !a.is_of(b) || !same(a, b))
            || self.shares(&declared.fields)
    }

    fn shares(&self, declared: &FieldSet<'_>) -> bool {
        self.after.iter().filter(|entry| !self.owned.is_claim(entry)).any(|entry| {
            let before = self.owned.entries.iter().find(|before| before.is_of(entry));
            let known = before.map(Entry::fields).unwrap_or_default();
            before.is_none_or(|before| !same(before, entry)) && entry.fields().shares_beyond(declared, &known)
        })
    }
}

fn same(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    a.fields_text() == b.fields_text() || a.fields().same(&b.fields())
}

/// Leaves out what follows from another refused change, so that the message names what the caller did: the two
/// labels of a GitSync are one mark, and the API server sets a Service's ports and policies when its type changes.
fn leave_out_consequences(refused: &mut Vec<Change<'_>>, kind: &str) {
    const OF_TYPE: [&str; 5] = ["nodePort", "externalTrafficPolicy", "healthCheckNodePort", "clusterIP", "clusterIPs"];
    let label = |key: &str| Path::of_fields(&["metadata", "labels", key]);
    let (namespace, name) = (label(crate::names::SYNC_NAMESPACE), label(crate::names::SYNC_NAME));
    if refused.iter().any(|change| change.path == name) {
        refused.retain(|change| change.path != namespace);
    }
    let kind_of_service = Path::of_fields(&["spec", "type"]);
    if kind == "Service" && refused.iter().any(|change| change.path == kind_of_service) {
        refused.retain(|change| match change.path.segments().last() {
            Some(Segment::Field(name)) => !(OF_TYPE.contains(&name.as_str()) && change.path.is_under(&["spec"])),
            _ => true,
        });
    }
}
