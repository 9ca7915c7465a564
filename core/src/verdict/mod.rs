//! The verdict: may this request change what git declares?
//!
//! `judge` asks every rule, and the strictest finding is the answer. It does no I/O: where the answer depends on live
//! objects it says which, and is asked again with them. So the same code answers in the guard and, offline, in
//! `gitward check`.

mod ancestors;
mod case;
mod envelope;
mod listed;
mod lookup;
mod marks;
mod message;
mod owner;
mod policy;
mod review;
mod rules;
mod selector;
mod values;
mod who;

use std::fmt;

pub use listed::Listed;
pub use lookup::{By, Found, Known, ObjectName, TypeName, Wanted};
pub use marks::is_pinned;
pub use message::{SyncInfo, message};
pub use owner::{Owner, service_account};
pub use policy::{Access, Descendants, Exclusive, Installers, Mode, OwnNamespace, Pattern, Policy, is_request};
pub use review::{Extra, Gvk, Gvr, Operation, Request, ReviewError, UserInfo};
pub use who::Who;

use crate::fields::{Budget, Change, Object, Path};
use case::Case;

/// What the request gets for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes through.
    Allow,
    /// It goes through, and the caller sees a warning.
    Warn,
    /// It is refused.
    Deny,
}

impl Decision {
    /// As `gitward check` prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Warn => "warn",
            Decision::Deny => "deny",
        }
    }
}

/// Why the verdict is what it is: one word for logs, records and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The GitOps identity asks.
    GitOpsIdentity,
    /// Git does not declare the object.
    NotPinned,
    /// Nothing would effectively change, or only what everybody may change.
    NoRefusedChange,
    /// A part of Kubernetes does its work.
    SystemWork,
    /// Fields of a pinned object would change.
    PinnedFieldChanged,
    /// Who owns the declared fields would change.
    OwnershipChanged,
    /// A pinned object would be deleted.
    PinnedObjectDeleted,
    /// A pinned object, or one that belongs to it, would be scaled.
    PinnedObjectScaled,
    /// Somebody other than the reconciler puts gitward's labels on an object.
    ForgedPin,
    /// A Namespace or CRD that holds pinned objects would be deleted or loosened.
    HolderChanged,
    /// What belongs to a pinned object would be changed.
    DescendantChanged,
    /// What belongs to a pinned object would be deleted.
    DescendantDeleted,
    /// What belongs to a pinned object is looked into, as the policy lets people do.
    DescendantAccessed,
    /// Something would become part of a pinned object, or steer it.
    BesidePinned,
    /// Something would be created or changed outside of git in a namespace that is git's alone.
    ExclusiveNamespace,
    /// gitward itself would be changed, or its reconciler's identity taken.
    GitwardProtected,
    /// The object that the request is about could not be looked up.
    LookupFailed,
}

impl Reason {
    /// The word, as in conditions: `PinnedFieldChanged`.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::GitOpsIdentity => "GitOpsIdentity",
            Reason::NotPinned => "NotPinned",
            Reason::NoRefusedChange => "NoRefusedChange",
            Reason::SystemWork => "SystemWork",
            Reason::PinnedFieldChanged => "PinnedFieldChanged",
            Reason::OwnershipChanged => "OwnershipChanged",
            Reason::PinnedObjectDeleted => "PinnedObjectDeleted",
            Reason::PinnedObjectScaled => "PinnedObjectScaled",
            Reason::ForgedPin => "ForgedPin",
            Reason::HolderChanged => "HolderChanged",
            Reason::DescendantChanged => "DescendantChanged",
            Reason::DescendantDeleted => "DescendantDeleted",
            Reason::DescendantAccessed => "DescendantAccessed",
            Reason::BesidePinned => "BesidePinned",
            Reason::ExclusiveNamespace => "ExclusiveNamespace",
            Reason::GitwardProtected => "GitwardProtected",
            Reason::LookupFailed => "LookupFailed",
        }
    }
}

/// The object that a request is about, in the words of the refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    /// API group; empty for the core API.
    pub group: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

/// Where the pinned object is declared, as its marks say.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// What declares it: `GitSync`, or what another GitOps operator calls it.
    pub source: &'static str,
    /// Namespace of the GitSync; empty where the marks do not say.
    pub sync_namespace: String,
    /// Name of the GitSync.
    pub sync_name: String,
    /// `path/in/repository.yaml:line`; empty where the object does not say.
    pub origin: String,
}

/// A field that the request may not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedField {
    /// Which.
    pub path: Path,
    /// Its value before, shortened; `None` where there was none. Never the value of a Secret.
    pub before: Option<String>,
    /// Its value after, in the same way.
    pub after: Option<String>,
}

/// The guard's answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the request gets.
    pub decision: Decision,
    /// Why.
    pub reason: Reason,
    /// Which fields it may not change; empty where the whole request is refused.
    pub fields: Vec<RefusedField>,
    /// The object that it is about: of `*/scale`, the object scaled.
    pub subject: Subject,
    /// Where that object, or the one that it belongs to, is declared.
    pub pin: Option<Pin>,
    /// The pinned object that it belongs to, or would.
    pub ancestor: Option<Subject>,
    /// Whether it is recorded though it is allowed.
    pub recorded: bool,
    /// What went wrong, where a look-up failed.
    pub detail: Option<String>,
}

impl Verdict {
    fn allow(reason: Reason) -> Verdict {
        Verdict {
            decision: Decision::Allow,
            reason,
            fields: Vec::new(),
            subject: Subject::default(),
            pin: None,
            ancestor: None,
            recorded: false,
            detail: None,
        }
    }

    fn refuse(policy: &Policy, reason: Reason, subject: Subject, pin: Option<Pin>) -> Verdict {
        let decision = match policy.mode {
            Mode::Enforce => Decision::Deny,
            Mode::Warn => Decision::Warn,
            Mode::Audit => Decision::Allow,
        };
        Verdict { decision, subject, pin, ..Verdict::allow(reason) }
    }

    fn with_fields(mut self, changes: &[Change<'_>]) -> Verdict {
        let secret = values::hides_values(&self.subject.group, &self.subject.kind);
        self.fields = changes.iter().map(|change| values::refused(change, secret)).collect();
        self
    }

    /// The same with the fields, where it is a refusal.
    fn with_refused(self, changes: &[Change<'_>]) -> Verdict {
        if self.is_refusal() { self.with_fields(changes) } else { self }
    }

    /// Whether the request is against the policy, whatever the mode makes of it.
    pub fn is_refusal(&self) -> bool {
        use Reason::{DescendantAccessed, GitOpsIdentity, NoRefusedChange, NotPinned, SystemWork};
        !matches!(self.reason, GitOpsIdentity | NotPinned | NoRefusedChange | SystemWork | DescendantAccessed)
    }

    /// Whether it is kept for audit: every refusal, and what the policy lets people do but wants to know of.
    pub fn is_recorded(&self) -> bool {
        self.recorded || self.is_refusal()
    }
}

/// The result of one call of [`judge`].
#[derive(Debug)]
pub enum Step {
    /// The answer.
    Done(Box<Verdict>),
    /// Look these up, side by side, add them to [`Known`], and ask again.
    Need(Vec<Wanted>),
}

/// Judges a request: all rules are asked, and the strictest finding is the verdict.
pub fn judge<'a>(request: &'a Request<'a>, policy: &'a Policy, known: &'a Known) -> Step {
    judge_within(request, policy, known, Budget::default())
}

/// The same with a bound on the work of the comparison. Beyond it what differs is one change, so that a smaller bound refuses
/// more and never less.
pub fn judge_within<'a>(request: &'a Request<'a>, policy: &'a Policy, known: &'a Known, budget: Budget) -> Step {
    Case::new(request, policy, known, budget).judge(&rules::ALL)
}

/// The verdict where it depends on no object: on who asks, and for what. `head` is the [`Request::head`] of a review.
pub fn judge_head(head: &Request<'_>, policy: &Policy) -> Option<Verdict> {
    match Who::of(&head.user_info, policy) {
        Who::GitOps => Some(Verdict::allow(Reason::GitOpsIdentity)),
        Who::System if is_system_work(head) => Some(Verdict::allow(Reason::SystemWork)),
        _ => None,
    }
}

/// What the parts of Kubernetes create, and what they write through subresources other than the scale.
fn is_system_work(request: &Request<'_>) -> bool {
    let main = request.sub_resource.is_empty() || request.sub_resource == "scale";
    matches!(request.operation, Operation::Create | Operation::Connect) || !main
}

impl Subject {
    /// A live object.
    fn of(object: &Object<'_>) -> Subject {
        Subject {
            group: object.group().to_owned(),
            kind: object.kind.to_string(),
            namespace: object.meta.namespace.to_string(),
            name: object.meta.name.to_string(),
        }
    }
}
