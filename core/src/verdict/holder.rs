//! Namespaces and CustomResourceDefinitions that hold pinned objects: whoever deletes one deletes what it holds.

use serde_json::Value;

use super::marks::label;
use super::{Policy, Reason, Subject, Verdict};
use crate::fields::{Change, Path, Segment};
use crate::names;

/// Whether the object is of a kind that holds others, and the reconciler marked it.
pub(super) fn is_holder(object: &Value, subject: &Subject) -> bool {
    let kind = (subject.group.as_str(), subject.kind.as_str());
    let holds = kind == ("", "Namespace") || kind == ("apiextensions.k8s.io", "CustomResourceDefinition");
    holds && label(object, names::GUARDED).is_some()
}

/// A person's change of a holder: its owners, finalizers, status and gitward's labels stay as they are. A forged
/// owner or a lost finalizer lets the garbage collector delete it, a forged status stops a CRD's objects being served.
pub(super) fn changed(subject: Subject, changes: &[Change<'_>], policy: &Policy) -> Verdict {
    let refused: Vec<_> = changes.iter().filter(|change| is_held(&change.path)).cloned().collect();
    if refused.is_empty() {
        return Verdict::allow(Reason::NoRefusedChange);
    }
    Verdict::refuse(policy, Reason::HolderChanged, subject, None).with_fields(&refused)
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
