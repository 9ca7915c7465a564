//! Roles and bindings: nobody gives away what they do not have (Kubernetes documentation, "Privilege escalation prevention
//! and bootstrapping"). The API server would ask the reconciler, which has everything.

use serde_json::Value;

use super::{Access, Need, RBAC, Target};
use crate::access::{RoleRef, Rule};

/// More single rights than this in one role are not asked for one by one: `escalate` or `bind` is needed.
const MOST: usize = 2048;

/// What a Role or ClusterRole takes: `escalate`, or all that it allows.
pub(super) fn role(target: &Target<'_>, object: &Value) -> Need {
    let escalate = target.access("escalate");
    match rules_of(object, target.place()) {
        Some(rules) if !is_aggregated(object) => Need::Either(escalate, rules),
        _ => Need::Has(escalate),
    }
}

/// Whether rights come or go by labels: what the file says is not what is given away then.
fn is_aggregated(object: &Value) -> bool {
    let labels = object["metadata"]["labels"].as_object();
    !object["aggregationRule"].is_null()
        || labels.into_iter().flatten().any(|(key, _)| key.starts_with("rbac.authorization.k8s.io/aggregate-to-"))
}

/// What a binding takes: `bind` on its role, or all that the role allows.
pub(super) fn binding(target: &Target<'_>, object: &Value) -> Result<Need, String> {
    // A file without it, applied over a binding that is there, would be about another role than it says.
    let reference = &object["roleRef"];
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let (kind, name) = (text("kind"), text("name"));
    let resource = match kind {
        "ClusterRole" => "clusterroles",
        "Role" if target.namespaced => "roles",
        _ => return Err("a binding has to name its role whole: set roleRef.kind and roleRef.name".to_owned()),
    };
    if !super::is_name(name) || !["", RBAC].contains(&text("apiGroup")) {
        return Err("a binding has to name its role whole: set roleRef.kind and roleRef.name".to_owned());
    }
    let bind = Access {
        verb: "bind".to_owned(),
        group: RBAC.to_owned(),
        resource: resource.to_owned(),
        subresource: String::new(),
        namespace: target.place().to_owned(),
        name: name.to_owned(),
    };
    Ok(Need::Bind(bind, RoleRef { kind: kind.to_owned(), name: name.to_owned() }))
}

/// The single rights that a Role or ClusterRole gives in a namespace, or in the cluster where it is empty; `None` where they
/// cannot be asked for one by one.
pub fn rules_of(role: &Value, namespace: &str) -> Option<Vec<Access>> {
    let mut all = Vec::new();
    let Some(rules) = role["rules"].as_array() else { return role["rules"].is_null().then_some(all) };
    for value in rules {
        if value["nonResourceURLs"].as_array().is_some_and(|urls| !urls.is_empty()) {
            return None;
        }
        let rule: Rule = serde_json::from_value(value.clone()).ok()?;
        add(&mut all, &rule, namespace)?;
    }
    Some(all)
}

fn add(all: &mut Vec<Access>, rule: &Rule, namespace: &str) -> Option<()> {
    let every = [String::new()];
    let names = if rule.resource_names.is_empty() { &every[..] } else { &rule.resource_names[..] };
    // Here an empty name means every name.
    if rule.resource_names.iter().any(String::is_empty) {
        return None;
    }
    for (verb, group) in rule.verbs.iter().flat_map(|verb| rule.api_groups.iter().map(move |group| (verb, group))) {
        for (resource, name) in rule.resources.iter().flat_map(|r| names.iter().map(move |name| (r, name))) {
            if all.len() == MOST {
                return None;
            }
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            all.push(Access {
                verb: verb.clone(),
                group: group.clone(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
                namespace: namespace.to_owned(),
                name: name.clone(),
            });
        }
    }
    Some(())
}
