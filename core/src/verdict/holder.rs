//! Namespaces and CustomResourceDefinitions that hold pinned objects: whoever deletes one deletes what it holds.

use super::lookup::{Answer, Wanted};
use super::review::Operation;
use super::{Case, Reason, Subject, Verdict, Who};
use crate::fields::Object;
use crate::fields::{Change, Path, Segment};
use crate::names;

/// Whether the object holds pinned objects: the reconciler marked it, or a look-up finds some.
pub(super) fn holds(case: &Case<'_>, object: &Object<'_>, subject: &Subject) -> Answer<bool> {
    let wanted = match (subject.group.as_str(), subject.kind.as_str()) {
        ("", "Namespace") => Wanted::InNamespace(object.meta.name.to_string()),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let text = |path: &[&str]| object.at(path).and_then(|json| json.as_str()).unwrap_or_default().into_owned();
            Wanted::OfKind(text(&["spec", "group"]), text(&["spec", "names", "kind"]))
        }
        _ => return Ok(false),
    };
    if object.label(names::GUARDED).is_some() || object.label(names::EXCLUSIVE).is_some() {
        return Ok(true);
    }
    Ok(!case.find(vec![wanted])?.is_empty())
}

/// The refusal of a change of a holder: its owners, finalizers, status and gitward's labels stay as they are. A
/// forged owner or a lost finalizer lets the garbage collector delete it, a forged status stops a CRD's objects being
/// served.
pub(super) fn changed<'a>(
    case: &Case<'a>,
    old: &Object<'a>,
    subject: &Subject,
    changes: &[Change<'a>],
) -> Answer<Option<Verdict>> {
    let held: Vec<_> = changes.iter().filter(|change| is_held(&change.path)).cloned().collect();
    let may = matches!(case.who, Who::GitOps | Who::System) || case.request.operation != Operation::Update;
    if may || held.is_empty() || !holds(case, old, subject)? {
        return Ok(None);
    }
    Ok(Some(case.refuse(Reason::HolderChanged, old, None).with_fields(&held)))
}

fn is_held(path: &Path) -> bool {
    const HELD: [&[&str]; 4] =
        [&["metadata", "ownerReferences"], &["metadata", "finalizers"], &["spec", "finalizers"], &["status"]];
    let gitwards = match path.segments() {
        [Segment::Field(a), Segment::Field(b), Segment::Field(key), ..] if a == "metadata" && b == "labels" => {
            key.split_once('/').is_some_and(|(prefix, _)| prefix == names::GROUP)
        }
        _ => *path == Path::of_fields(&["metadata", "labels"]),
    };
    gitwards || HELD.iter().any(|keys| path.is_under(keys))
}
