//! DELETE of an object, one by one or with its collection.

use super::lookup::Answer;
use super::marks::Owned;
use super::{Access, Case, Reason, Verdict, Who, holder};
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

impl<'a> Case<'a> {
    pub(super) fn deleted(&self, old: &Object<'a>) -> Answer<Verdict> {
        if old.is_dying() {
            return Ok(Verdict::allow(Reason::NoRefusedChange));
        }
        let owned = Owned::read(old, self.kind(), &self.policy.owner);
        if owned.pinned() {
            if self.who == Who::System && self.is_their_work(old, &owned) {
                return Ok(Verdict::allow(Reason::SystemWork));
            }
            return Ok(self.refuse(Reason::PinnedObjectDeleted, old, owned.pin()));
        }
        if matches!(self.who, Who::System | Who::Operator) {
            return Ok(Verdict::allow(Reason::NotPinned));
        }
        if holder::holds(self, old, &self.subject(old))? {
            return Ok(self.refuse(Reason::HolderChanged, old, None));
        }
        let (group, kind) = self.kind();
        if let Some(ancestor) = self.family(old, group, kind)? {
            return Ok(self.access(
                self.policy.descendants.delete,
                Reason::DescendantDeleted,
                self.subject(old),
                &ancestor,
            ));
        }
        Ok(self.exclusive(old).unwrap_or_else(|| Verdict::allow(Reason::NotPinned)))
    }

    /// Whether this part of Kubernetes deletes such an object as part of its duty: namespace deletion, TTL, pod
    /// collection, preemption; garbage collection only where git declares the owner, since an owner can be forged.
    fn is_their_work(&self, old: &Object<'_>, owned: &Owned<'_>) -> bool {
        let name = self.request.user_info.username.as_ref();
        let has_owners = !old.owners().is_empty();
        let declared = owned.declared();
        let owners_declared = !declared.fields.at(&["metadata", "ownerReferences"]).is_empty();
        if name == COLLECTOR || (name == SHARED_CONTROLLER_IDENTITY && has_owners) {
            return has_owners && owners_declared;
        }
        self.kind() == ("", "Pod") || DELETERS.contains(&name)
    }
}

impl Case<'_> {
    /// What the policy makes of an access to something that belongs to a pinned object.
    pub(super) fn access(
        &self,
        access: Access,
        reason: Reason,
        subject: super::Subject,
        ancestor: &super::family::Ancestor,
    ) -> Verdict {
        let mut verdict = match access {
            Access::Allow => return Verdict::allow(Reason::DescendantAccessed),
            Access::Record => Verdict::allow(Reason::DescendantAccessed),
            Access::Refuse => Verdict::refuse(self.policy, reason, subject.clone(), None),
        };
        verdict.recorded = true;
        verdict.subject = subject;
        verdict.pin = ancestor.pin.clone();
        verdict.ancestor = Some(ancestor.subject.clone());
        verdict
    }
}
