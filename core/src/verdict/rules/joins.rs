//! What would belong to a pinned object: owners make a child of an object, and the label of an EndpointSlice makes it
//! a Service's.

use super::super::ancestors::{Ancestor, is_part_kind};
use super::super::case::Case;
use super::super::lookup::Answer;
use super::super::{Access, Reason, Verdict, Who};

/// Refuses what a person makes part of a pinned object. A Job made by hand from a CronJob is policy.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let Some((old, new)) = case.action.versions().filter(|_| case.who == Who::Person) else { return Ok(None) };
    let may_join = case.changes().iter().any(|change| change.path.meets(&["metadata"]));
    if old.is_some() && !may_join {
        return Ok(None);
    }
    let (group, kind) = case.kind();
    let ancestors = |object| -> Answer<Vec<Ancestor>> {
        if is_part_kind(group, kind) {
            return case.owners_of(object);
        }
        Ok(case.ancestor_by_name(object, group, kind)?.into_iter().collect())
    };
    let before = old.map_or_else(|| Ok(Vec::new()), ancestors)?;
    let mut joined = ancestors(new)?;
    joined.retain(|ancestor| !before.contains(ancestor));
    let by_hand = old.is_none() && (group, kind) == ("batch", "Job") && joined.iter().all(Ancestor::is_cron_job);
    let access = if by_hand { case.policy.descendants.run_job } else { Access::Refuse };
    let ancestor = joined.into_iter().min();
    Ok(ancestor.map(|ancestor| {
        case.access(access, Reason::BesidePinned, case.subject(new), &ancestor).with_refused(case.changes())
    }))
}
