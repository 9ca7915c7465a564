//! Namespaces that are git's alone: nobody creates, changes or deletes there what git does not declare.

use super::super::case::{Action, Case};
use super::super::lookup::Answer;
use super::super::{Reason, Subject, Verdict, Who};
use super::scaled;

/// Refuses what a person does to an object that git does not declare in an exclusive namespace.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let request = case.request;
    let exclusive = &case.policy.exclusive;
    let is_closed = exclusive.namespaces.iter().any(|namespace| *namespace == request.namespace);
    // A question is no object: nothing is stored of it.
    let is_question = matches!(case.kind().0, "authorization.k8s.io" | "authentication.k8s.io");
    if !is_closed || case.who != Who::Person || case.is_pinned() || case.kind() == ("", "Namespace") || is_question {
        return Ok(None);
    }
    let subject = match case.action {
        Action::Create(new) => case.subject(new),
        Action::Update { new, .. } if !case.changes().is_empty() => case.subject(new),
        Action::Delete(old) if !old.is_dying() => case.subject(old),
        Action::Scale { old, new } if scaled::change(old, new).is_some() => match case.live()? {
            Some(live) if case.pinned(&live).is_none() => Subject::of(&live),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let by_guard = request.user_info.username == case.policy.own.guard && subject.kind == "BlockedChange";
    let kind = (subject.group.as_str(), subject.kind.as_str());
    if by_guard || exclusive.except.iter().any(|(group, name)| (group.as_str(), name.as_str()) == kind) {
        return Ok(None);
    }
    let verdict = Verdict::refuse(case.policy, Reason::ExclusiveNamespace, subject, None);
    Ok(Some(verdict.with_fields(case.changes())))
}
