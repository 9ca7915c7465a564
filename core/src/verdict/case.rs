//! One request, with everything that its rules read.

use std::cell::OnceCell;

use super::lookup::{Answer, Known, ObjectName, Stop, TypeName};
use super::marks::Owned;
use super::review::{Operation, Request};
use super::rules::{self, Rule};
use super::{Pin, Policy, Reason, Step, Subject, Verdict, Who};
use crate::fields::{self, Budget, Change, Object, Set};

/// One request, with everything that its verdict may depend on.
pub(super) struct Case<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) who: Who,
    pub(super) policy: &'a Policy,
    pub(super) known: &'a Known,
    pub(super) action: Action<'a>,
    /// The ownership of the stored object, where there is one in the review.
    pub(super) owned: Option<Owned<'a>>,
    budget: Budget,
    changes: OnceCell<Vec<Change<'a>>>,
}

/// What the request does to which object.
#[derive(Clone, Copy)]
pub(super) enum Action<'a> {
    /// Creates an object.
    Create(&'a Object<'a>),
    /// Changes an object, also through a subresource that returns it.
    Update { old: &'a Object<'a>, new: &'a Object<'a> },
    /// Changes the replicas of an object that is not in the review.
    Scale { old: &'a Object<'a>, new: &'a Object<'a> },
    /// Deletes an object.
    Delete(&'a Object<'a>),
    /// Uses a subresource of an object that is not in the review: exec, eviction, binding, token.
    Access,
}

impl<'a> Action<'a> {
    fn of(request: &'a Request<'a>) -> Action<'a> {
        let through_subresource = request.operation == Operation::Create && !request.sub_resource.is_empty();
        if request.operation == Operation::Connect || through_subresource {
            return Action::Access;
        }
        match (&request.old_object, &request.object) {
            (Some(old), Some(new)) if request.sub_resource == "scale" => Action::Scale { old, new },
            (Some(old), Some(new)) => Action::Update { old, new },
            (None, Some(_)) if request.resource.resource == "bindings" => Action::Access,
            (None, Some(new)) => Action::Create(new),
            (Some(old), None) => Action::Delete(old),
            (None, None) => Action::Access,
        }
    }

    /// The object before and after, where the review has the object itself.
    pub(super) fn versions(self) -> Option<(Option<&'a Object<'a>>, &'a Object<'a>)> {
        match self {
            Action::Create(new) => Some((None, new)),
            Action::Update { old, new } => Some((Some(old), new)),
            Action::Scale { .. } | Action::Delete(_) | Action::Access => None,
        }
    }
}

impl<'a> Case<'a> {
    pub(super) fn new(request: &'a Request<'a>, policy: &'a Policy, known: &'a Known, budget: Budget) -> Case<'a> {
        let who = Who::of(&request.user_info, policy);
        let action = Action::of(request);
        let kind = (request.kind.group.as_ref(), request.kind.kind.as_ref());
        let owned = match action {
            Action::Update { old, .. } | Action::Delete(old) => Some(Owned::read(old, kind, &policy.owner)),
            Action::Create(_) | Action::Scale { .. } | Action::Access => None,
        };
        Case { request, who, policy, known, action, owned, budget, changes: OnceCell::new() }
    }

    /// Asks all rules; the strictest finding is the verdict.
    pub(super) fn judge(&self, rules: &[Rule]) -> Step {
        if self.who == Who::GitOps {
            return Step::Done(Box::new(Verdict::allow(Reason::GitOpsIdentity)));
        }
        if self.who == Who::System && super::is_system_work(self.request) {
            return Step::Done(Box::new(Verdict::allow(Reason::SystemWork)));
        }
        let (mut findings, mut missing) = (vec![Verdict::allow(Reason::NotPinned)], Vec::new());
        for rule in rules {
            match rule(self) {
                Ok(finding) => findings.extend(finding),
                Err(Stop::Failed(subject, why)) => findings.push(self.failed(subject, why)),
                Err(Stop::Need(wanted)) => missing.extend(wanted),
            }
        }
        if missing.is_empty() {
            return Step::Done(Box::new(rules::strictest(findings)));
        }
        let mut wanted = Vec::new();
        missing.into_iter().for_each(|one| {
            if !wanted.contains(&one) {
                wanted.push(one);
            }
        });
        Step::Need(wanted)
    }

    /// A look-up that failed refuses people. The parts of Kubernetes go on: what they wrongly change is healed, while
    /// a cluster whose autoscalers stand still because of a guard does not recover.
    fn failed(&self, subject: Subject, why: String) -> Verdict {
        if self.who == Who::System {
            return Verdict::allow(Reason::SystemWork);
        }
        let mut verdict = Verdict::refuse(self.policy, Reason::LookupFailed, subject, None);
        verdict.detail = Some(why);
        verdict
    }

    /// Whether git declares the stored object of the review.
    pub(super) fn is_pinned(&self) -> bool {
        self.owned.as_ref().is_some_and(Owned::pinned)
    }

    /// The caller's changes of the object; none where it is no update.
    pub(super) fn changes(&self) -> &[Change<'a>] {
        self.changes.get_or_init(|| {
            let Action::Update { old, new } = self.action else { return Vec::new() };
            fields::diff_within(old, new, &Set::of_managers(old, new), self.budget)
        })
    }

    /// The live object that the request is about, where the review does not have it.
    pub(super) fn live(&self) -> Answer<Option<Object<'a>>> {
        let request = self.request;
        let resource = &request.resource;
        self.find_one(ObjectName {
            of: TypeName::resource(&resource.group, &resource.version, &resource.resource),
            namespace: request.namespace.to_string(),
            name: request.name.to_string(),
        })
    }

    /// A refusal about the object of the review.
    pub(super) fn refuse(&self, reason: Reason, object: &Object<'_>, pin: Option<Pin>) -> Verdict {
        Verdict::refuse(self.policy, reason, self.subject(object), pin)
    }

    /// The group and kind of the objects of the review.
    pub(super) fn kind(&self) -> (&'a str, &'a str) {
        (self.request.kind.group.as_ref(), self.request.kind.kind.as_ref())
    }

    /// The object that a review is about, in the words of a refusal.
    pub(super) fn subject(&self, object: &Object<'_>) -> Subject {
        let (group, kind) = self.kind();
        let made_up = self.request.operation == Operation::Create && object.meta.name.is_empty();
        Subject {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: object.meta.namespace.to_string(),
            name: if made_up { self.request.name.to_string() } else { object.meta.name.to_string() },
        }
    }
}
