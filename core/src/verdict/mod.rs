//! The verdict: may this request change what git declares?
//!
//! `judge` asks who, then what, then which fields (`docs/architecture.md` has the table). It does no I/O: where the
//! answer depends on a live object it says which, and is asked again with it. So the same code answers in the
//! guard and, offline, in `gitward check`.

mod change;
mod delete;
mod holder;
mod lookup;
mod marks;
mod message;
mod policy;
mod review;
mod scale;
mod values;
mod who;

use std::fmt;

use serde_json::Value;

pub use lookup::{Found, Known, TypeName, Wanted};
pub use marks::{Marks, Owned};
pub use message::{SyncInfo, message};
pub use policy::{Identity, Mode, Pattern, Policy};
pub use review::{Extra, Gvk, Gvr, Objects, Operation, Request, ReviewError, UserInfo};
pub use who::Who;

use crate::fields::{Change, Path};

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
            Reason::LookupFailed => "LookupFailed",
        }
    }
}

/// The object that a request is about, in the words of the refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    /// Namespace of the GitSync.
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
            detail: None,
        }
    }

    fn refuse(policy: &Policy, reason: Reason, subject: Subject, pin: Option<Pin>) -> Verdict {
        let decision = match policy.mode {
            Mode::Enforce => Decision::Deny,
            Mode::Warn => Decision::Warn,
            Mode::Audit => Decision::Allow,
        };
        Verdict { decision, reason, fields: Vec::new(), subject, pin, detail: None }
    }

    fn with_fields(mut self, changes: &[Change<'_>]) -> Verdict {
        let secret = values::hides_values(&self.subject.group, &self.subject.kind);
        self.fields = changes.iter().map(|change| values::refused(change, secret)).collect();
        self
    }

    /// Whether the request is against the policy, whatever the mode makes of it: then it is recorded.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self.reason,
            Reason::GitOpsIdentity | Reason::NotPinned | Reason::NoRefusedChange | Reason::SystemWork
        )
    }
}

/// The result of one call of [`judge`].
#[derive(Debug)]
pub enum Step {
    /// The answer.
    Done(Box<Verdict>),
    /// Look this up, add it to [`Known`], and ask again.
    Need(Wanted),
}

/// Judges a request.
///
/// # Errors
/// Where one of the request's objects cannot be read.
pub fn judge(request: &Request<'_>, policy: &Policy, known: &Known) -> Result<Step, ReviewError> {
    let who = Who::of(&request.user_info, &policy.gitops);
    if who == Who::GitOps {
        return Ok(done(Verdict::allow(Reason::GitOpsIdentity)));
    }
    if request.operation == Operation::Connect {
        return Ok(done(Verdict::allow(Reason::NotPinned)));
    }
    let objects = request.objects()?;
    if request.sub_resource == "scale" {
        return Ok(scale::judge(request, &objects, who, policy, known));
    }
    Ok(done(match request.operation {
        Operation::Delete => delete::judge(request, &objects.old, who, policy),
        _ => change::judge(request, &objects, who, policy),
    }))
}

fn done(verdict: Verdict) -> Step {
    Step::Done(Box::new(verdict))
}

fn subject_of(request: &Request<'_>, object: &Value) -> Subject {
    Subject {
        group: request.kind.group.to_string(),
        kind: request.kind.kind.to_string(),
        namespace: marks::text(object, "namespace").to_owned(),
        name: match marks::text(object, "name") {
            "" => request.name.to_string(),
            name => name.to_owned(),
        },
    }
}

fn pin_of(marks: &Marks<'_>) -> Option<Pin> {
    Some(Pin {
        sync_namespace: marks.sync_namespace?.to_owned(),
        sync_name: marks.sync_name?.to_owned(),
        origin: marks.origin.unwrap_or_default().to_owned(),
    })
}
