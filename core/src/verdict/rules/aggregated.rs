//! ClusterRoles whose rules a pinned one takes in (Kubernetes documentation, "Aggregated ClusterRoles").

use super::super::case::Case;
use super::super::lookup::{Answer, TypeName, Wanted};
use super::super::selector::Selector;
use super::super::{Verdict, Who};
use crate::fields::{Change, Object};
use crate::json::Json;

/// Refuses a ClusterRole that a pinned one takes in, or took in before.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let is_role = case.kind() == ("rbac.authorization.k8s.io", "ClusterRole") && case.who == Who::Person;
    let Some((old, new)) = case.action.versions().filter(|_| is_role) else { return Ok(None) };
    let labels = new.labels();
    let before = old.map(Object::labels).unwrap_or_default();
    // The rules of a role that git declares are judged by its own declaration.
    let parts: &[&str] = if case.is_pinned() { &["metadata"] } else { &["rules", "metadata"] };
    let relevant = |change: &Change<'_>| parts.iter().any(|key| change.path.meets(&[key]));
    if old.is_some() && !case.changes().iter().any(relevant) {
        return Ok(None);
    }
    let roles = TypeName::resource("rbac.authorization.k8s.io", "v1", "clusterroles");
    let mut takers = Vec::new();
    for role in case.find(vec![Wanted::Pinned(roles, String::new())])? {
        let role = role.with_type("rbac.authorization.k8s.io/v1", "ClusterRole");
        let selectors = role.at(&["aggregationRule", "clusterRoleSelectors"]).map(Json::items).unwrap_or_default();
        let takes = |labels| selectors.iter().filter_map(|json| Selector::read(*json)).any(|s| s.matches(labels));
        // Of a role that git declares, which was taken in already, nothing new is given away.
        if if case.is_pinned() {
            takes(&labels) && !takes(&before)
        } else {
            takes(&labels) || (old.is_some() && takes(&before))
        } {
            takers.extend(case.pinned(&role));
        }
    }
    let by = takers.into_iter().min();
    Ok(by.map(|by| case.beside(case.subject(new), &by).with_fields(case.changes())))
}
