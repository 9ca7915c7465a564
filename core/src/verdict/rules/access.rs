//! Requests about a Pod whose object is something else: exec, attach, port-forward, proxy, eviction, binding.

use super::super::case::{Action, Case};
use super::super::lookup::{Answer, ObjectName, TypeName};
use super::super::{Reason, Subject, Verdict, Who};
use crate::fields::Object;

/// Judges what is done through a Pod's subresource.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let request = case.request;
    let (Action::Access, Who::Person) = (case.action, case.who) else { return Ok(None) };
    let descendants = case.policy.descendants;
    let sub_resource = if request.resource.resource == "bindings" { "binding" } else { request.sub_resource.as_ref() };
    let (access, reason) = match sub_resource {
        "exec" | "attach" => (descendants.exec, Reason::DescendantChanged),
        "portforward" | "proxy" => (descendants.port_forward, Reason::DescendantChanged),
        "eviction" => (descendants.evict, Reason::DescendantDeleted),
        "binding" => (descendants.update, Reason::DescendantChanged),
        _ => return Ok(None),
    };
    if !request.resource.group.is_empty() || !matches!(&*request.resource.resource, "pods" | "bindings") {
        return Ok(None);
    }
    let Some(pod) = pod(case)? else { return Ok(None) };
    let subject = Subject::of(&pod);
    if let Some(itself) = case.pinned(&pod) {
        let refused = match sub_resource {
            "eviction" => Reason::PinnedObjectDeleted,
            "binding" => Reason::PinnedFieldChanged,
            _ => return Ok(Some(case.access(access, reason, subject, &itself))),
        };
        return Ok(Some(Verdict::refuse(case.policy, refused, subject, itself.pin)));
    }
    let ancestor = case.owners_of(&pod)?.into_iter().min();
    Ok(ancestor.map(|ancestor| case.access(access, reason, subject, &ancestor)))
}

fn pod<'a>(case: &Case<'a>) -> Answer<Option<Object<'a>>> {
    let found = case.find_one(ObjectName {
        of: TypeName::resource("", "v1", "pods"),
        namespace: case.request.namespace.to_string(),
        name: case.request.name.to_string(),
    })?;
    Ok(found.map(|pod| pod.with_type("v1", "Pod")))
}
