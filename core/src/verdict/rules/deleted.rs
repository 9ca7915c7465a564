//! DELETE of a pinned object.

use super::super::case::{Action, Case};
use super::super::lookup::Answer;
use super::super::marks::Owned;
use super::super::{Reason, Verdict, Who};
use crate::fields::Object;

const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const SHARED_CONTROLLER_IDENTITY: &str = "system:kube-controller-manager";

/// The controllers whose work it is to delete objects that they did not make: those of a namespace on its way out,
/// and finished Jobs whose time is over.
const DELETERS: [&str; 3] = [
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:ttl-after-finished-controller",
    SHARED_CONTROLLER_IDENTITY,
];

/// Refuses the deletion of a pinned object, one by one or with its collection.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let Action::Delete(old) = case.action else { return Ok(None) };
    if old.is_dying() {
        return Ok(Some(Verdict::allow(Reason::NoRefusedChange)));
    }
    let Some(owned) = case.owned.as_ref().filter(|owned| owned.pinned()) else { return Ok(None) };
    if case.who == Who::System && is_their_work(case, old, owned) {
        return Ok(Some(Verdict::allow(Reason::SystemWork)));
    }
    Ok(Some(case.refuse(Reason::PinnedObjectDeleted, old, owned.pin())))
}

/// Whether this part of Kubernetes deletes such an object as part of its duty: namespace deletion, TTL, pod
/// collection, preemption; garbage collection only where git declares the owner, since an owner can be forged.
fn is_their_work(case: &Case<'_>, old: &Object<'_>, owned: &Owned<'_>) -> bool {
    let name = case.request.user_info.username.as_ref();
    let declared = owned.declared();
    let owners_declared = declared.fields.at(&["metadata", "ownerReferences"]).is_some();
    if is_collection(case, old) {
        return !old.owners().is_empty() && owners_declared;
    }
    case.kind() == ("", "Pod") || DELETERS.contains(&name)
}

/// Whether the garbage collector deletes an object, which it does because of its owners.
pub(super) fn is_collection(case: &Case<'_>, old: &Object<'_>) -> bool {
    let name = case.request.user_info.username.as_ref();
    name == COLLECTOR || (name == SHARED_CONTROLLER_IDENTITY && !old.owners().is_empty())
}
