//! What belongs to a pinned object: its Pods, ReplicaSets, Jobs and ControllerRevisions, claims and endpoints. People may
//! not change them; what they need to look into a problem is policy.

use super::lookup::{Answer, ObjectName, TypeName};
use super::review::Operation;
use super::{Access, Case, Reason, Subject, Verdict, Who};
use crate::fields::Change;
use crate::fields::Object;

impl<'a> Case<'a> {
    /// CREATE or UPDATE of an object that belongs to a pinned one, or would belong to it.
    pub(super) fn child_changed(
        &self,
        old: Option<&Object<'a>>,
        new: &Object<'a>,
        changes: &[Change<'a>],
    ) -> Answer<Option<Verdict>> {
        let (group, kind) = self.kind();
        let descendants = self.policy.descendants;
        if let Some(old) = old
            && let Some(ancestor) = self.family(old, group, kind)?
        {
            let debug = self.request.sub_resource == "ephemeralcontainers";
            let access = if debug { descendants.debug } else { descendants.update };
            let verdict = self.access(access, Reason::DescendantChanged, self.subject(old), &ancestor);
            return Ok(Some(if verdict.is_refusal() { verdict.with_fields(changes) } else { verdict }));
        }
        // Owners make a child of an object, and the label of an EndpointSlice makes it a Service's.
        let may_join = changes.iter().any(|change| change.path.is_under(&["metadata"]));
        if old.is_some() && !may_join {
            return Ok(None);
        }
        let Some(ancestor) = self.family(new, group, kind)? else { return Ok(None) };
        let by_hand = old.is_none() && (group, kind) == ("batch", "Job") && ancestor.subject.kind == "CronJob";
        let access = if by_hand { descendants.run_job } else { Access::Refuse };
        let verdict = self.access(access, Reason::BesidePinned, self.subject(new), &ancestor);
        Ok(Some(if verdict.is_refusal() { verdict.with_fields(changes) } else { verdict }))
    }

    /// A request about a Pod whose object is something else: eviction, binding, exec, attach, port-forward, proxy.
    pub(super) fn pod_accessed(&self) -> Answer<Verdict> {
        let request = self.request;
        let descendants = self.policy.descendants;
        let sub_resource =
            if request.resource.resource == "bindings" { "binding" } else { request.sub_resource.as_ref() };
        let (access, reason) = match sub_resource {
            "exec" | "attach" => (descendants.exec, Reason::DescendantChanged),
            "portforward" | "proxy" => (descendants.port_forward, Reason::DescendantChanged),
            "eviction" => (descendants.evict, Reason::DescendantDeleted),
            "binding" => (descendants.update, Reason::DescendantChanged),
            _ => return Ok(Verdict::allow(Reason::NotPinned)),
        };
        let is_pod = request.resource.group.is_empty() && matches!(&*request.resource.resource, "pods" | "bindings");
        if !is_pod || matches!(self.who, Who::System | Who::Operator) {
            return Ok(Verdict::allow(Reason::NotPinned));
        }
        let Some(pod) = self.find_one(self.pod())? else { return Ok(Verdict::allow(Reason::NotPinned)) };
        let pod = pod.with_type("v1", "Pod");
        let subject = Subject::of(&pod);
        if let Some(itself) = self.pinned(&pod) {
            let changes_it = matches!(sub_resource, "eviction" | "binding");
            return Ok(match (sub_resource, changes_it) {
                ("eviction", _) => Verdict::refuse(self.policy, Reason::PinnedObjectDeleted, subject, itself.pin),
                (_, true) => Verdict::refuse(self.policy, Reason::PinnedFieldChanged, subject, itself.pin),
                _ => self.access(access, reason, subject, &itself),
            });
        }
        Ok(match self.pinned_owner(&pod)? {
            Some(ancestor) => self.access(access, reason, subject, &ancestor),
            None => Verdict::allow(Reason::NotPinned),
        })
    }

    fn pod(&self) -> ObjectName {
        ObjectName {
            of: TypeName::resource("", "v1", "pods"),
            namespace: self.request.namespace.to_string(),
            name: self.request.name.to_string(),
        }
    }

    /// The refusal of what a person creates, changes or deletes in a namespace that is git's alone.
    pub(super) fn exclusive(&self, object: &Object<'_>) -> Option<Verdict> {
        let (group, kind) = self.kind();
        let exclusive = &self.policy.exclusive;
        let by_guard = self.request.user_info.username == self.policy.own.guard && kind == "BlockedChange";
        let excepted = by_guard || exclusive.except.iter().any(|(g, k)| (g.as_str(), k.as_str()) == (group, kind));
        if excepted || !exclusive.namespaces.iter().any(|namespace| *namespace == self.request.namespace) {
            return None;
        }
        let is_namespace = (group, kind) == ("", "Namespace");
        let of_no_object = self.request.operation == Operation::Create && !self.request.sub_resource.is_empty();
        (!is_namespace && !of_no_object).then(|| self.refuse(Reason::ExclusiveNamespace, object, None))
    }
}
