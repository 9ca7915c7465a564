//! What an administrator can decide: the verdict's view of a GuardPolicy.

use super::owner::{Owner, service_account};
use super::review::UserInfo;
use crate::fields::{Path, Segment};
use crate::names;

/// What a refusal means for the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is denied.
    #[default]
    Enforce,
    /// It goes through with a warning that the caller sees.
    Warn,
    /// It goes through silently. As with the other two, it is recorded.
    Audit,
}

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What a refusal means.
    pub mode: Mode,
    /// Fields that git does not declare, and that everybody may change.
    pub allow: Vec<Pattern>,
    /// Whose declarations are enforced.
    pub owner: Owner,
    /// gitward's own namespace, and the account of its guard there.
    pub own: OwnNamespace,
    /// Parts of Kubernetes beyond the known ones, as user names.
    pub system: Vec<String>,
    /// Service accounts that keep pinned objects going, as user names; each must show a pod-bound token.
    pub operators: Vec<String>,
    /// Who may change gitward itself.
    pub installers: Installers,
    /// Where nothing may be created outside of git.
    pub exclusive: Exclusive,
    /// What people may do with the Pods, ReplicaSets, Jobs and ControllerRevisions of pinned objects.
    pub descendants: Descendants,
}

/// gitward's own namespace.
#[derive(Clone, Debug)]
pub struct OwnNamespace {
    /// Its name.
    pub name: String,
    /// The reconciler's service account, as a user name. It keeps gitward going, whoever declares the cluster's objects.
    pub reconciler: String,
    /// The guard's service account, as a user name. It alone writes BlockedChanges.
    pub guard: String,
}

/// Who may change gitward itself. Not what git declares: that nobody may but git.
#[derive(Clone, Debug)]
pub struct Installers {
    /// User names, service accounts among them.
    pub users: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
}

impl Default for Installers {
    fn default() -> Installers {
        Installers { users: Vec::new(), groups: vec!["system:masters".to_owned()] }
    }
}

/// Namespaces in which nothing may be created outside of git.
#[derive(Clone, Debug, Default)]
pub struct Exclusive {
    /// Their names.
    pub namespaces: Vec<String>,
    /// Kinds that may be created there nevertheless, as group and kind.
    pub except: Vec<(String, String)>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It goes through.
    Allow,
    /// It goes through and is recorded.
    Record,
    /// It is against the policy.
    Refuse,
}

/// What people may do with what belongs to pinned objects. The defaults: what changes it is refused, what people need
/// to look into a problem is recorded, and drains and Jobs by hand work.
#[derive(Clone, Copy, Debug)]
pub struct Descendants {
    /// UPDATE of the object, `resize` and `binding` of a Pod.
    pub update: Access,
    /// DELETE, one by one or with a collection.
    pub delete: Access,
    /// `pods/eviction`, by which nodes are drained.
    pub evict: Access,
    /// `pods/exec` and `pods/attach`.
    pub exec: Access,
    /// `pods/portforward` and `pods/proxy`.
    pub port_forward: Access,
    /// `pods/ephemeralcontainers`, by which `kubectl debug` works.
    pub debug: Access,
    /// `kubectl create job --from` a pinned CronJob.
    pub run_job: Access,
}

impl Default for Descendants {
    fn default() -> Descendants {
        Descendants {
            update: Access::Refuse,
            delete: Access::Refuse,
            evict: Access::Allow,
            exec: Access::Record,
            port_forward: Access::Record,
            debug: Access::Record,
            run_job: Access::Allow,
        }
    }
}

impl Policy {
    /// What applies where there is no GuardPolicy: what git declares is enforced and nothing is allowed; no namespace
    /// is exclusive.
    pub fn built_in(namespace: &str, reconciler: &str, guard: &str) -> Policy {
        Policy {
            mode: Mode::Enforce,
            allow: Vec::new(),
            owner: Owner::reconciler(namespace, reconciler),
            own: OwnNamespace {
                name: namespace.to_owned(),
                reconciler: service_account(namespace, reconciler),
                guard: service_account(namespace, guard),
            },
            system: Vec::new(),
            operators: Vec::new(),
            installers: Installers::default(),
            exclusive: Exclusive::default(),
            descendants: Descendants::default(),
        }
    }

    /// Whether everybody may change the field at `path`, as long as git does not declare it.
    pub fn allows(&self, path: &Path) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether the caller may change gitward itself.
    pub(super) fn is_installer(&self, user: &UserInfo<'_>) -> bool {
        self.installers.users.iter().any(|name| *name == user.username) || user.is_in_any(&self.installers.groups)
    }
}

/// Annotations by which people ask a GitSync, or one of Flux' objects, to reconcile or for an older revision. They change
/// nothing else, and other kinds do not know them.
const REQUESTS: [&str; 2] = ["gitward.dev/rollback-to", "reconcile.fluxcd.io/requestedAt"];
/// The longest value of such an annotation, in bytes of its JSON.
pub(super) const LONGEST_REQUEST: usize = 256;
/// What the API groups of Flux end in.
const FLUX: &str = ".toolkit.fluxcd.io";

/// Whether this is such an annotation of an object of this group and kind.
pub fn is_request(path: &Path, group: &str, kind: &str) -> bool {
    let is_asked = (group, kind) == (names::GROUP, "GitSync") || group.ends_with(FLUX);
    is_asked && REQUESTS.iter().any(|key| path.is_under(&["metadata", "annotations", key]))
}

/// A JSON pointer (RFC 6901) in which a step `*` stands for any one map key or list item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<String>);

impl Pattern {
    /// Reads a pointer. `None` where it does not begin with a slash, or is the whole object.
    pub fn parse(pointer: &str) -> Option<Pattern> {
        let steps = pointer.strip_prefix('/').filter(|steps| !steps.is_empty())?;
        Some(Pattern(steps.split('/').map(|s| s.replace("~1", "/").replace("~0", "~")).collect()))
    }

    /// Whether the pattern names the value at `path`, or something that contains it.
    pub fn matches(&self, path: &Path) -> bool {
        let segments = path.segments();
        self.0.len() <= segments.len() && self.0.iter().zip(segments).all(|(step, segment)| step_matches(step, segment))
    }
}

fn step_matches(step: &str, segment: &Segment) -> bool {
    step == "*" || matches!(segment, Segment::Field(name) if name == step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(pattern: &str, keys: &[&str]) -> bool {
        Pattern::parse(pattern).unwrap().matches(&Path::of_fields(keys))
    }

    #[test]
    fn a_pattern_covers_what_is_below_it_and_nothing_beside_it() {
        let restart = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
        let path = ["spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"];
        assert!(allows(restart, &path));
        assert!(!allows(restart, &path[..4]), "a new annotations map may hold more than the allowed key");
        assert!(allows("/metadata/labels/*", &["metadata", "labels", "x"]));
        assert!(!allows("/metadata/labels/*", &["metadata", "annotations", "x"]));
    }

    #[test]
    fn a_pattern_that_would_allow_everything_or_is_no_pointer_is_refused() {
        assert_eq!(Pattern::parse(""), None);
        assert_eq!(Pattern::parse("/"), None);
        assert_eq!(Pattern::parse("spec"), None);
    }
}
