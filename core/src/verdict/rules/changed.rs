//! UPDATE of a pinned object, through the object itself or a subresource that returns it (`status`, `finalize`).

use std::collections::{HashMap, HashSet};

use super::super::case::{Action, Case};
use super::super::lookup::Answer;
use super::super::marks::{Declared, Owned};
use super::super::policy::{LONGEST_REQUEST, is_request};
use super::super::{Reason, Verdict, Who};
use crate::fields::{Change, Entry, Path, Segment, Set};

/// The annotation by which the deployment controller still rewrites a template (removed from the API with
/// `extensions/v1beta1`, obeyed to this day).
const ROLLBACK: &str = "deprecated.deployment.rollback.to";

/// The manager into which the API server merges the oldest of more than ten that update.
const ANCIENT: &str = "ancient-changes";
/// How many managers an object may have for a person to become one more. The API server itself keeps at most ten that
/// update (`DefaultMaxUpdateManagers`); those that apply it does not count.
const MOST_MANAGERS: usize = 32;

/// Refuses the changes of a pinned object that this caller may not make.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let Action::Update { old, new } = case.action else { return Ok(None) };
    let Some(owned) = case.owned.as_ref().filter(|owned| owned.pinned()) else {
        let is_nothing = case.who != Who::System && case.changes().is_empty();
        return Ok(is_nothing.then(|| Verdict::allow(Reason::NoRefusedChange)));
    };
    let after = &new.meta.managed_fields;
    let changes = case.changes();
    let declared = owned.declared();
    let request = case.request;
    let same_version = owned.declared_version().is_some_and(|declared| {
        declared.split_once('/').unwrap_or(("", declared)) == (&*request.kind.group, &*request.kind.version)
    });
    let permission = Permission { case, declared: &declared, same_version };
    let mut refused: Vec<Change<'_>> = changes.iter().filter(|change| !permission.allows(change)).cloned().collect();
    let ownership = Ownership { owned, after };
    // A refused write of a field also takes it from its owner: that is not worth a word of its own, unless the
    // declaration as a whole would be gone.
    let moved = match (refused.is_empty(), same_version, case.who) {
        (false, _, _) => ownership.is_gone(),
        (true, true, _) => ownership.moves(&declared),
        // The conversion may lose what the other version does not have, where no change is to be seen.
        (true, false, Who::Person) => true,
        (true, false, Who::Operator) => ownership.is_another(),
        (true, false, _) => false,
    };
    let crowded = case.who == Who::Person && ownership.is_crowded(!changes.is_empty());
    let reason = if refused.is_empty() || crowded { Reason::OwnershipChanged } else { Reason::PinnedFieldChanged };
    let moved = moved || crowded;
    if moved {
        refused.push(Change { path: Path::of_fields(&["metadata", "managedFields"]), before: None, after: None });
    }
    leave_out_consequences(&mut refused, &request.kind.kind);
    if refused.is_empty() {
        let work = case.who == Who::System && !changes.is_empty();
        return Ok(Some(Verdict::allow(if work { Reason::SystemWork } else { Reason::NoRefusedChange })));
    }
    Ok(Some(case.refuse(reason, old, owned.pin()).with_fields(&refused)))
}

/// What one caller may change of one pinned object.
struct Permission<'c, 'a> {
    case: &'c Case<'a>,
    declared: &'c Declared<'a>,
    /// Whether the objects of the review are in the version in which `declared` is written.
    same_version: bool,
}

impl Permission<'_, '_> {
    fn allows(&self, change: &Change<'_>) -> bool {
        // A forged owner lets the garbage collector delete the object, the annotation lets the deployment
        // controller rewrite it: nobody but git, whatever the policy says.
        if change.path.meets(&["metadata", "ownerReferences"]) || sets_rollback(change) {
            return false;
        }
        let touched = || self.declared.is_touched_by(&change.path);
        // Labels and annotations are the same in every version.
        let in_version = self.same_version || change.path.is_under(&["metadata"]);
        match self.case.who {
            Who::GitOps => true,
            Who::System => !self.same_version || !self.declared.is_exact() || !touched(),
            Who::Operator => change.path.is_under(&["status"]) || (in_version && !touched()),
            Who::Person => {
                self.same_version
                    && !change.path.is_under(&["status"])
                    && (self.case.policy.allows(&change.path) || self.is_request(change))
                    && !touched()
            }
        }
    }

    /// Whether the change asks for a reconciliation, or an older revision.
    fn is_request(&self, change: &Change<'_>) -> bool {
        let (group, kind) = self.case.kind();
        let is_short = change.after.is_none_or(|value| value.text().len() <= LONGEST_REQUEST);
        is_short && is_request(&change.path, group, kind)
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

    /// Whether a person's write adds managers that no allowed change explains: without a change none, with one a single one, and
    /// at most so many altogether. Each costs space in the object, and without space the declaration is dropped.
    fn is_crowded(&self, changes_something: bool) -> bool {
        let before: HashSet<_> = self.owned.entries.iter().map(Entry::identity).collect();
        let is_added = |entry: &&Entry<'_>| entry.manager != ANCIENT && !before.contains(&entry.identity());
        let added = self.after.iter().filter(is_added).count();
        added > usize::from(changes_something) || (added > 0 && self.after.len() > MOST_MANAGERS)
    }

    /// Whether the declaration is narrowed, widened or doubled through a subresource, or a declared field gets one
    /// more owner, so that its removal from git would no longer remove it.
    fn moves(&self, declared: &Declared<'_>) -> bool {
        let (before, after) = (self.claims(self.owned.entries), self.claims(self.after));
        before.len() != after.len()
            || before.iter().zip(&after).any(|(a, b)| !a.is_of(b) || !same(a, b))
            || self.shares(&declared.fields)
    }

    fn shares(&self, declared: &Set<'_>) -> bool {
        let before: HashMap<_, _> = self.owned.entries.iter().map(|entry| (entry.identity(), entry)).collect();
        self.after.iter().filter(|entry| !self.owned.is_claim(entry)).any(|entry| {
            let before = before.get(&entry.identity());
            let known = before.map(|before| before.fields());
            before.is_none_or(|before| !same(before, entry)) && entry.fields().shares_beyond(declared, known.as_ref())
        })
    }
}

fn same(a: &Entry<'_>, b: &Entry<'_>) -> bool {
    a.fields_text() == b.fields_text() || a.fields().same(&b.fields())
}

/// Leaves out what follows from another refused change, so that the message names what the caller did: the two
/// labels of a GitSync are one mark, and the API server sets a Service's ports and policies when its type changes.
pub(super) fn leave_out_consequences(refused: &mut Vec<Change<'_>>, kind: &str) {
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
