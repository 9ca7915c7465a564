//! DELETE of an object, one by one or with its collection.

use serde_json::Value;

use super::marks::Owned;
use super::review::Request;
use super::{Policy, Reason, Verdict, Who, holder, pin_of, subject_of};

const COLLECTOR: &str = "system:serviceaccount:kube-system:generic-garbage-collector";
const SHARED_CONTROLLER_IDENTITY: &str = "system:kube-controller-manager";

/// The controllers whose work it is to delete objects that they did not make: those of a namespace on its way out,
/// and finished Jobs whose time is over.
const DELETERS: [&str; 3] = [
    "system:serviceaccount:kube-system:namespace-controller",
    "system:serviceaccount:kube-system:ttl-after-finished-controller",
    SHARED_CONTROLLER_IDENTITY,
];

pub(super) fn judge(request: &Request<'_>, old: &Value, who: Who, policy: &Policy) -> Verdict {
    let owned = Owned::read(old, &request.kind.group, &request.kind.kind);
    let subject = subject_of(request, old);
    if owned.pinned() {
        if who == Who::System && is_their_work(request, old, &owned) {
            return Verdict::allow(Reason::SystemWork);
        }
        return Verdict::refuse(policy, Reason::PinnedObjectDeleted, subject, pin_of(&owned.marks));
    }
    if who == Who::Person && holder::is_holder(old, &subject) {
        return Verdict::refuse(policy, Reason::HolderChanged, subject, None);
    }
    Verdict::allow(Reason::NotPinned)
}

/// Whether this part of Kubernetes deletes such an object as part of its duty: namespace deletion, TTL, pod
/// collection, preemption; garbage collection only where git declares the owner, since an owner can be forged.
fn is_their_work(request: &Request<'_>, old: &Value, owned: &Owned<'_>) -> bool {
    let name = request.user_info.username.as_ref();
    let has_owners = old.pointer("/metadata/ownerReferences").and_then(Value::as_array).is_some_and(|o| !o.is_empty());
    let owners_declared = owned.declared().at(&["metadata", "ownerReferences"]).is_some();
    if name == COLLECTOR || (name == SHARED_CONTROLLER_IDENTITY && has_owners) {
        return has_owners && owners_declared;
    }
    let is_pod = request.kind.group.is_empty() && request.kind.kind == "Pod";
    is_pod || DELETERS.contains(&name)
}
