//! The rules: each is one function from the request to what it finds, and all of them are asked.
//!
//! Their order decides nothing: a refusal beats what is recorded, and that beats what is allowed. Among several
//! refusals the reported one is chosen by [`precedence`].

mod access;
mod aggregated;
mod autoscaler;
mod changed;
mod deleted;
mod descendant;
mod exclusive;
mod forged;
mod holder;
mod joins;
mod names;
mod scaled;
mod selected;
mod self_protection;

use super::ancestors::Ancestor;
use super::case::Case;
use super::lookup::Answer;
use super::{Access, Reason, Subject, Verdict};

/// A rule. `None` where it has nothing to say about the request.
pub(super) type Rule = for<'c, 'a> fn(&'c Case<'a>) -> Answer<Option<Verdict>>;

/// All rules.
pub(super) const ALL: [Rule; 15] = [
    access::judge,
    aggregated::judge,
    autoscaler::judge,
    changed::judge,
    deleted::judge,
    descendant::judge,
    exclusive::judge,
    forged::judge,
    holder::judge,
    joins::judge,
    names::judge,
    scaled::judge,
    selected::by_workload_or_service,
    selected::template_by_service,
    self_protection::judge,
];

/// The reasons, the one to report first before the others: what is worst and most specific comes first.
const PRECEDENCE: [Reason; 17] = [
    Reason::GitwardProtected,
    Reason::PinnedObjectDeleted,
    Reason::PinnedObjectScaled,
    Reason::PinnedFieldChanged,
    Reason::OwnershipChanged,
    Reason::HolderChanged,
    Reason::ForgedPin,
    Reason::DescendantDeleted,
    Reason::DescendantChanged,
    Reason::BesidePinned,
    Reason::ExclusiveNamespace,
    Reason::LookupFailed,
    Reason::DescendantAccessed,
    Reason::GitOpsIdentity,
    Reason::SystemWork,
    Reason::NoRefusedChange,
    Reason::NotPinned,
];

/// The finding that decides.
pub(super) fn strictest(findings: Vec<Verdict>) -> Verdict {
    let first = findings.into_iter().min_by(|a, b| precedence(a).cmp(&precedence(b)));
    first.unwrap_or_else(|| Verdict::allow(Reason::NotPinned))
}

/// What orders findings: refusals, then what is recorded, then what is allowed; then by reason; then by what they name,
/// so that no order of rules or of list members shows.
fn precedence(finding: &Verdict) -> impl Ord + '_ {
    let strictness = match (finding.is_refusal(), finding.recorded) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    };
    let reason = PRECEDENCE.iter().position(|reason| *reason == finding.reason);
    let fields: Vec<_> = finding.fields.iter().map(|field| &field.path).collect();
    (strictness, reason, &finding.ancestor, &finding.subject, fields, &finding.detail)
}

impl Case<'_> {
    /// What the policy makes of an access to something that belongs to a pinned object.
    fn access(&self, access: Access, reason: Reason, subject: Subject, ancestor: &Ancestor) -> Verdict {
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

    /// The refusal of something that would become part of a pinned object, or steer it.
    fn beside(&self, subject: Subject, ancestor: &Ancestor) -> Verdict {
        self.access(Access::Refuse, Reason::BesidePinned, subject, ancestor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::value::to_raw_value;

    use super::super::lookup::Known;
    use super::super::{Listed, Policy, Request, Step};
    use super::*;
    use crate::fields::Budget;

    const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus");

    fn verdict(request: &Request<'_>, policy: &Policy, live: &Listed, rules: &[Rule]) -> Verdict {
        let mut known = Known::default();
        loop {
            match Case::new(request, policy, &known, Budget::default()).judge(rules) {
                Step::Done(verdict) => return *verdict,
                Step::Need(wanted) => wanted.into_iter().for_each(|wanted| {
                    let found = live.find(&wanted);
                    known.add(wanted, found);
                }),
            }
        }
    }

    #[test]
    fn the_order_of_rules_decides_nothing() {
        let mut policy = Policy::built_in("gitward-system", "gitward-reconciler", "gitward-guard");
        policy.exclusive.namespaces.push("shop".to_owned());
        for set in ["", "status-and-children", "red-team"] {
            let folder = format!("{CORPUS}/{set}");
            let live: Value = serde_json::from_slice(&std::fs::read(format!("{folder}/pinned.json")).unwrap()).unwrap();
            let live = live["items"].as_array().unwrap().iter().map(|item| to_raw_value(item).unwrap());
            let live = Listed::new(live, &policy.owner);
            for file in std::fs::read_dir(format!("{folder}/reviews")).unwrap() {
                let body = std::fs::read(file.unwrap().path()).unwrap();
                let request = Request::parse(&body).unwrap();
                let expected = verdict(&request, &policy, &live, &ALL);
                for turn in 0..ALL.len() {
                    let mut rules = ALL;
                    rules.rotate_left(turn);
                    assert_eq!(verdict(&request, &policy, &live, &rules), expected);
                    rules.reverse();
                    assert_eq!(verdict(&request, &policy, &live, &rules), expected);
                }
            }
        }
    }

    #[test]
    fn every_reason_has_its_place_once() {
        for reason in PRECEDENCE {
            assert_eq!(PRECEDENCE.iter().filter(|other| **other == reason).count(), 1, "{reason:?}");
        }
    }
}
