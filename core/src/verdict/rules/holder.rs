//! Namespaces and CustomResourceDefinitions that hold pinned objects: whoever deletes one deletes what it holds.

use super::super::case::{Action, Case};
use super::super::lookup::{Answer, Wanted};
use super::super::{Reason, Subject, Verdict, Who};
use super::deleted;
use crate::fields::{Object, Path, Segment};
use crate::names;

/// Whether the object holds pinned objects: the reconciler marked it, or a look-up finds some.
fn holds(case: &Case<'_>, object: &Object<'_>, subject: &Subject) -> Answer<bool> {
    let wanted = match (subject.group.as_str(), subject.kind.as_str()) {
        ("", "Namespace") => Wanted::InNamespace(object.meta.name.to_string()),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let text = |path: &[&str]| object.at(path).and_then(|json| json.as_str()).unwrap_or_default().into_owned();
            Wanted::OfKind(text(&["spec", "group"]), text(&["spec", "names", "kind"]))
        }
        _ => return Ok(false),
    };
    if object.label(names::GUARDED).is_some() || object.label(names::EXCLUSIVE).is_some() {
        return Ok(true);
    }
    Ok(!case.find(vec![wanted])?.is_empty())
}

/// Refuses the deletion of a holder, and changes of what keeps it: its owners, finalizers, status and gitward's labels; of
/// people also a Namespace's labels by which admission goes, and a definition's versions, schema and conversion.
/// A forged owner or a lost finalizer lets the garbage collector delete it, a forged status stops a CRD's objects being
/// served.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    // Operators may change what git leaves open of a declared object, its finalizers among them.
    let exempt = match case.who {
        Who::GitOps => true,
        // A forged owner lets it be collected, and git declares none of a holder that it does not declare.
        Who::System => !matches!(case.action, Action::Delete(old) if deleted::is_collection(case, old)),
        Who::Operator => case.is_pinned(),
        Who::Person => false,
    };
    if exempt {
        return Ok(None);
    }
    let (object, held) = match case.action {
        Action::Delete(old) if !old.is_dying() && !case.is_pinned() => (old, Vec::new()),
        Action::Update { old, .. } => {
            let held: Vec<_> = case.changes().iter().filter(|change| is_held(case, &change.path)).cloned().collect();
            if held.is_empty() {
                return Ok(None);
            }
            (old, held)
        }
        _ => return Ok(None),
    };
    if !holds(case, object, &case.subject(object))? {
        return Ok(None);
    }
    Ok(Some(case.refuse(Reason::HolderChanged, object, None).with_fields(&held)))
}

/// Keys of labels and annotations of a Namespace that change what its Pods may be or what is put into them: by how they
/// begin. Of Kubernetes' own admission plugins, service meshes and policy engines.
const ADMISSION_KEYS: [&str; 12] = [
    "admission.gatekeeper.sh/",
    "config.linkerd.io/",
    "istio-injection",
    "istio.io/",
    "kuma.io/",
    "linkerd.io/",
    "openshift.io/sa.scc",
    "pod-security.kubernetes.io/",
    "policy.sigstore.dev/",
    "scheduler.alpha.kubernetes.io/",
    "security.openshift.io/",
    "sidecar.istio.io/",
];

/// What injectors of authorities write into a definition.
const CA_BUNDLE: [&str; 5] = ["spec", "conversion", "webhook", "clientConfig", "caBundle"];

fn is_held(case: &Case<'_>, path: &Path) -> bool {
    if case.who == Who::Operator {
        return is_kept(path);
    }
    let kind_specific = match case.kind() {
        // Versions, schema and conversion change what the objects are without a review of them. Those of gitward's own kinds are
        // protected as gitward itself, which an installer may upgrade.
        ("apiextensions.k8s.io", _) if case.request.name.ends_with(&format!(".{}", names::GROUP)) => false,
        ("apiextensions.k8s.io", _) => path.meets(&["spec"]) && !path.is_under(&CA_BUNDLE),
        ("", "Namespace") => match path.segments() {
            [Segment::Field(a), Segment::Field(b), Segment::Field(key), ..]
                if a == "metadata" && (b == "labels" || b == "annotations") =>
            {
                ADMISSION_KEYS.iter().any(|begin| key.starts_with(begin))
            }
            segments => segments.len() < 3 && path.meets(&["metadata", "annotations"]),
        },
        _ => false,
    };
    kind_specific || is_kept(path)
}

/// Whether a change at this path loosens what keeps a holder, of any kind.
fn is_kept(path: &Path) -> bool {
    const HELD: [&[&str]; 4] =
        [&["metadata", "ownerReferences"], &["metadata", "finalizers"], &["spec", "finalizers"], &["status"]];
    let gitwards = match path.segments() {
        [Segment::Field(a), Segment::Field(b), Segment::Field(key), ..] if a == "metadata" && b == "labels" => {
            key.split_once('/').is_some_and(|(prefix, _)| prefix == names::GROUP)
        }
        _ => path.segments().len() < 3 && path.meets(&["metadata", "labels"]),
    };
    gitwards || HELD.iter().any(|keys| path.meets(keys))
}
