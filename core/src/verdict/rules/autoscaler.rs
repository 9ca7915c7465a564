//! Autoscalers that would steer a pinned workload, now or as soon as git declares it.

use super::super::case::Case;
use super::super::lookup::{Answer, ObjectName, Stop, TypeName};
use super::super::{Verdict, Who};

/// Refuses an autoscaler that targets a pinned workload, or what belongs to one, whatever of its specification changes.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let at: &[&str] = match case.kind() {
        ("autoscaling", "HorizontalPodAutoscaler") | ("keda.sh", "ScaledObject") => &["spec", "scaleTargetRef"],
        ("autoscaling.k8s.io", "VerticalPodAutoscaler") => &["spec", "targetRef"],
        _ => return Ok(None),
    };
    let Some((old, new)) = case.action.versions().filter(|_| case.who == Who::Person) else { return Ok(None) };
    // What git declares keeps its target: only another one is a change beside it.
    let within = if case.is_pinned() { at } else { &at[..1] };
    let fields: Vec<_> = case.changes().iter().filter(|change| change.path.meets(within)).cloned().collect();
    if old.is_some() && fields.is_empty() {
        return Ok(None);
    }
    let Some(target) = new.at(at) else { return Ok(None) };
    let text = |key: &str, default: &str| {
        target.get(key).and_then(|value| value.as_str()).map_or_else(|| default.to_owned(), |text| text.into_owned())
    };
    let wanted = ObjectName {
        of: TypeName::kind(&text("apiVersion", "apps/v1"), &text("kind", "Deployment")),
        namespace: new.meta.namespace.to_string(),
        name: text("name", ""),
    };
    if wanted.name.is_empty() {
        return Ok(None);
    }
    let is_new = old.is_none() || fields.iter().any(|change| change.path.meets(at));
    let Some(target) = case.find_one(wanted.clone())? else {
        // Git may declare it a moment later, and the autoscaler is there already.
        let why = "there is no such object yet, and git may declare it: an autoscaler needs its target first";
        return if is_new { Err(Stop::Failed(wanted.into(), why.to_owned())) } else { Ok(None) };
    };
    let by = match case.pinned(&target) {
        Some(itself) => Some(itself),
        None => case.owners_of(&target)?.into_iter().min(),
    };
    Ok(by.map(|by| case.beside(case.subject(new), &by).with_fields(&fields)))
}
