//! The marks of a pinned object on one that git does not declare.

use super::super::case::Case;
use super::super::lookup::Answer;
use super::super::marks::Owned;
use super::super::{Reason, Verdict, Who};
use super::changed::leave_out_consequences;
use crate::fields::{Change, Object, Path};

/// Refuses marks that somebody other than the reconciler puts on an object. Parts of Kubernetes may: they copy labels
/// (those of a Service to its EndpointSlices), and without the reconciler's declaration such an object is not pinned.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    if case.who == Who::System || case.is_pinned() {
        return Ok(None);
    }
    let Some((old, new)) = case.action.versions() else { return Ok(None) };
    if !Owned::read(new, case.kind(), &case.policy.owner).claims() {
        return Ok(None);
    }
    let marks = match old {
        None => marks_of(case, new),
        Some(_) => {
            let mut marks: Vec<_> =
                case.changes().iter().filter(|change| is_mark(case, &change.path)).cloned().collect();
            leave_out_consequences(&mut marks, case.kind().1);
            marks
        }
    };
    if old.is_some() && marks.is_empty() {
        return Ok(None);
    }
    Ok(Some(case.refuse(Reason::ForgedPin, old.unwrap_or(new), None).with_fields(&marks)))
}

/// Whether a change at this path puts on, or takes off, one of the marks.
fn is_mark(case: &Case<'_>, path: &Path) -> bool {
    let marks = case.policy.owner.mark_paths();
    marks.iter().map(|keys| Path::of_fields(keys)).any(|mark| mark.contains(path) || path.contains(&mark))
}

/// The marks that an object has, as changes from nothing.
fn marks_of<'a>(case: &Case<'a>, object: &Object<'a>) -> Vec<Change<'a>> {
    let worn = |keys: &[&str; 3]| {
        let after = object.meta.parts.get(keys[1])?.get(keys[2])?;
        Some(Change { path: Path::of_fields(keys), before: None, after: Some(after) })
    };
    case.policy.owner.mark_paths().iter().filter_map(worn).collect()
}
