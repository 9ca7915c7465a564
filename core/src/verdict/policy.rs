//! What an administrator can decide: the verdict's view of a GuardPolicy.

use super::review::UserInfo;
use super::who::has_pod_bound_token;
use crate::fields::{Path, Segment};

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

/// The identity that may write what git declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    username: String,
}

impl Identity {
    /// The service account `name` in `namespace`, which must show a token bound to one of its pods.
    pub fn reconciler(namespace: &str, name: &str) -> Identity {
        Identity { username: format!("system:serviceaccount:{namespace}:{name}") }
    }

    /// Whether the caller is this identity.
    pub fn is(&self, user: &UserInfo<'_>) -> bool {
        user.username == self.username && has_pod_bound_token(user)
    }
}

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What a refusal means.
    pub mode: Mode,
    /// Fields that git does not declare, and that everybody may change.
    pub allow: Vec<Pattern>,
    /// Who may write what git declares.
    pub gitops: Identity,
}

impl Policy {
    /// What applies where there is no GuardPolicy: everything is enforced, nothing is allowed.
    pub fn built_in(gitops: Identity) -> Policy {
        Policy { mode: Mode::Enforce, allow: Vec::new(), gitops }
    }

    /// Whether everybody may change the field at `path`, as long as git does not declare it.
    pub fn allows(&self, path: &Path) -> bool {
        self.allow.iter().any(|pattern| pattern.matches(path))
    }
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
