//! Requests about a Pod or Service whose object is something else: exec, attach, port-forward, proxy, eviction, binding.

use super::super::case::{Action, Case};
use super::super::lookup::{Answer, ObjectName, TypeName};
use super::super::{Reason, Subject, Verdict, Who};
use crate::fields::Object;

/// Judges what is done through the subresource of a Pod, and through a Service's proxy.
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
    let resource = (&*request.resource.group, &*request.resource.resource);
    let kind = match (resource, sub_resource) {
        (("", "pods" | "bindings"), _) => "Pod",
        (("", "services"), "proxy") => "Service",
        _ => return Ok(None),
    };
    let Some(object) = live(case, kind)? else { return Ok(None) };
    let subject = Subject::of(&object);
    if let Some(itself) = case.pinned(&object) {
        let refused = match sub_resource {
            "eviction" => Reason::PinnedObjectDeleted,
            "binding" => Reason::PinnedFieldChanged,
            _ => return Ok(Some(case.access(access, reason, subject, &itself))),
        };
        return Ok(Some(Verdict::refuse(case.policy, refused, subject, itself.pin)));
    }
    let ancestor = case.owners_of(&object)?.into_iter().min();
    Ok(ancestor.map(|ancestor| case.access(access, reason, subject, &ancestor)))
}

fn live<'a>(case: &Case<'a>, kind: &str) -> Answer<Option<Object<'a>>> {
    let plural = if kind == "Pod" { "pods" } else { "services" };
    let found = case.find_one(ObjectName {
        of: TypeName::resource("", "v1", plural),
        namespace: case.request.namespace.to_string(),
        name: name_of(&case.request.name).to_owned(),
    })?;
    Ok(found.map(|object| object.with_type("v1", kind)))
}

/// The object's name in that of a request, which of a proxy may have a port and a scheme too: `https:web:8443`
/// (`SplitSchemeNamePort` in Kubernetes' apimachinery).
fn name_of(requested: &str) -> &str {
    let mut parts = requested.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(name), Some(_)) => name,
        (Some(name), _, _) => name,
        (None, _, _) => requested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_may_name_scheme_and_port() {
        for requested in ["web", "web:80", "https:web:8443", ":web:http", "web:"] {
            assert_eq!(name_of(requested), "web", "{requested}");
        }
    }
}
