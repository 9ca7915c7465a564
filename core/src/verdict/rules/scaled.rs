//! `*/scale`. The review's object is a Scale without labels and without managedFields, so that only the live object
//! behind it says whether git declares it.

use super::super::case::{Action, Case};
use super::super::lookup::{Answer, ObjectName, TypeName};
use super::super::marks::Owned;
use super::super::{Reason, Subject, Verdict, Who};
use crate::fields::{Change, Object, Path};
use crate::json::Json;

/// Refuses the scaling of a pinned object, unless git leaves its replicas open to this caller.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let Action::Scale { old, new } = case.action else { return Ok(None) };
    let Some(change) = change(old, new) else { return Ok(Some(Verdict::allow(Reason::NoRefusedChange))) };
    // A controller may always scale what it made itself, and an autoscaler what git leaves open.
    let allowed = if case.who == Who::Person { Reason::NoRefusedChange } else { Reason::SystemWork };
    let Some(live) = case.live()? else { return Ok(None) };
    let owned = Owned::read(&live, (&case.request.resource.group, live.kind.as_ref()), &case.policy.owner);
    if !owned.pinned() {
        return Ok((case.who != Who::Person).then(|| Verdict::allow(allowed)));
    }
    if may_scale(case, &owned, &change)? {
        return Ok(Some(Verdict::allow(allowed)));
    }
    let verdict = Verdict::refuse(case.policy, Reason::PinnedObjectScaled, Subject::of(&live), owned.pin());
    Ok(Some(verdict.with_fields(&[change])))
}

/// The change of the replicas, where there is one.
pub(super) fn change<'a>(old: &Object<'a>, new: &Object<'a>) -> Option<Change<'a>> {
    let replicas = |scale: &Object<'a>| scale.at(&["spec", "replicas"]);
    let (before, after) = (replicas(old), replicas(new));
    let is_same = before.map(Json::text) == after.map(Json::text);
    (!is_same).then(|| Change { path: Path::of_fields(&["spec", "replicas"]), before, after })
}

/// Whether the caller may scale a pinned object: an autoscaler what git leaves open, a person only what the policy
/// allows besides.
fn may_scale(case: &Case<'_>, owned: &Owned<'_>, change: &Change<'_>) -> Answer<bool> {
    let open = match case.who {
        Who::Person if !case.policy.allows(&change.path) => return Ok(false),
        Who::System if !owned.declared().is_exact() => return Ok(true),
        _ => !owned.declared().is_touched_by(&path_of_replicas(case)?),
    };
    Ok(open)
}

/// Where the scaled object keeps its replicas: custom resources say it in their definition, all others keep them
/// in `spec.replicas` (Kubernetes documentation, "Scale subresource").
fn path_of_replicas(case: &Case<'_>) -> Answer<Path> {
    let usual = Path::of_fields(&["spec", "replicas"]);
    let resource = &case.request.resource;
    if !resource.group.contains('.') {
        return Ok(usual);
    }
    let wanted = ObjectName {
        of: TypeName::resource("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        namespace: String::new(),
        name: format!("{}.{}", resource.resource, resource.group),
    };
    let Some(definition) = case.find_one(wanted)? else { return Ok(usual) };
    let versions = definition.at(&["spec", "versions"]).map(Json::items).unwrap_or_default();
    let served =
        versions.into_iter().find(|v| v.get("name").and_then(Json::as_str).as_deref() == Some(&*resource.version));
    let path = served.and_then(|v| v.at(&["subresources", "scale", "specReplicasPath"])?.as_str());
    Ok(path.map_or(usual, |path| Path::of_fields(&path.trim_start_matches('.').split('.').collect::<Vec<_>>())))
}
