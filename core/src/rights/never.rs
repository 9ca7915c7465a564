//! What no team's GitSync may do, whatever its account may: gitward itself, and what gives its maker more than the maker's own
//! rights. gitward's admission policies refuse it to people and let the reconciler pass, so they are repeated here
//! (charts/gitward/templates/_protection.tpl, and `verdict/own.rs`).

use serde_json::Value;

use super::{ADMISSION, CERTIFICATES, RBAC, Target};
use crate::names;

const CRDS: &str = "apiextensions.k8s.io";
/// Groups of cluster-scoped objects of which gitward, or its guarding, is made.
const OWN_GROUPS: [&str; 4] = [CRDS, RBAC, ADMISSION, "apiregistration.k8s.io"];
/// Kinds in which is recorded who made them, and that give what the maker may have: made by the reconciler, they would be an
/// administrator's. A kubelet's certificate that it asks for is signed at once.
const OF_THEIR_MAKER: [(&str, &str); 5] = [
    (CERTIFICATES, "CertificateSigningRequest"),
    (CERTIFICATES, "PodCertificateRequest"),
    ("cert-manager.io", "CertificateRequest"),
    ("project.openshift.io", "ProjectRequest"),
    ("project.openshift.io", "Project"),
];
/// Groups of questions to the API server, which answers whoever asks: here the reconciler.
const QUESTIONS: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];
/// Marks with a meaning that git does not give; the others are set over what a file says.
const MARKS: [&str; 4] =
    [names::EXCLUSIVE, "gitward.dev/disabled", "gitward.dev/disabled-at", "gitward.dev/disabled-by"];

/// Why nobody but gitward's own GitSyncs may declare this object. `own` is gitward's namespace.
pub fn never(target: &Target<'_>, object: &Value, own: &str) -> Option<String> {
    never_touch(target, own).or_else(|| of_its_maker(target)).or_else(|| content(target, object))
}

/// Why nobody but gitward's own GitSyncs may change or delete this object. `own` is gitward's namespace.
pub fn never_touch(target: &Target<'_>, own: &str) -> Option<String> {
    let place = target.place();
    if target.namespaced && place.is_empty() {
        return Some("it names no namespace".to_owned());
    }
    let is_own = |name: &str| name == "gitward" || name.starts_with("gitward-") || name.ends_with(".gitward.dev");
    let is_namespace = target.is("", "Namespace") && target.name == own;
    if place == own || is_namespace {
        return Some(format!(
            "the namespace {own} is gitward's own; only GitSyncs of that namespace declare what is in it"
        ));
    }
    let is_part = !target.namespaced && OWN_GROUPS.contains(&target.group) && is_own(target.name);
    if is_part || (target.group == names::GROUP && target.kind != "GitSync") {
        return Some(format!(
            "{} {} is a part of gitward; only GitSyncs of {own} declare it",
            target.kind, target.name
        ));
    }
    None
}

fn of_its_maker(target: &Target<'_>) -> Option<String> {
    let asks = QUESTIONS.contains(&target.group);
    (asks || OF_THEIR_MAKER.contains(&(target.group, target.kind))).then(|| {
        format!(
            "a {} counts as a wish of whoever makes it, and the reconciler would make it; make it without git",
            target.kind
        )
    })
}

fn content(target: &Target<'_>, object: &Value) -> Option<String> {
    let metadata = &object["metadata"];
    let keys = |field: &str| metadata[field].as_object().into_iter().flat_map(|map| map.keys());
    let holds = target.is("", "Namespace") || target.is(CRDS, "CustomResourceDefinition");
    let is_mark = |key: &&String| MARKS.contains(&key.as_str()) || (*key == names::GUARDED && !holds);
    if let Some(mark) = keys("labels").chain(keys("annotations")).find(is_mark) {
        return Some(format!("only gitward sets {mark}: leave it out"));
    }
    // Whoever lists what gitward is made of would take it for a part.
    if !target.namespaced && metadata["labels"]["app.kubernetes.io/part-of"] == "gitward" {
        return Some("it is no part of gitward: leave the label app.kubernetes.io/part-of out".to_owned());
    }
    // An owner is named by its uid, which git cannot know; the API server may ask whether the maker may name it.
    if metadata["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty()) {
        return Some("git cannot declare metadata.ownerReferences: leave it out".to_owned());
    }
    if target.place() == "kube-system" && wears_controller(object) {
        return Some(
            "the account is the controller manager's: a Pod under it would be taken for a part of Kubernetes"
                .to_owned(),
        );
    }
    None
}

/// Whether anything in an object runs under an account of the controller manager, which needs no Pod for it.
fn wears_controller(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(key, value)| {
            let is_account = ["serviceAccountName", "serviceAccount"].contains(&key.as_str());
            let name = value.as_str().unwrap_or_default();
            (is_account && names::CONTROLLER_ACCOUNTS.contains(&name)) || wears_controller(value)
        }),
        Value::Array(items) => items.iter().any(wears_controller),
        _ => false,
    }
}

/// Why a GitSync may not take over the object that is in the cluster: another declares it, or a controller made it for
/// something that another declares. `sync` is namespace and name, `id` the object's pinned-id.
pub fn never_take(live: &Value, sync: (&str, &str), id: &str) -> Option<String> {
    let metadata = &live["metadata"];
    let label = |key: &str| metadata["labels"][key].as_str();
    if let Some((namespace, name)) = label(names::SYNC_NAMESPACE).zip(label(names::SYNC_NAME))
        && (namespace, name) != sync
        && metadata["annotations"][names::PINNED_ID] == id
    {
        return Some(format!("GitSync {namespace}/{name} declares it already; it keeps the object"));
    }
    let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    let owner = owners.find(|owner| owner["controller"] == true)?;
    let text = |field: &str| owner[field].as_str().unwrap_or_default();
    Some(format!("it belongs to {} {}: declare that instead", text("kind"), text("name")))
}

/// Why this is no object that the API server could be asked for. Names become parts of a path there: a slash in one would
/// be about another object than the one that was asked about. For every GitSync, not only those of teams.
pub fn ill_formed(api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<String> {
    let plain =
        |text: &str, more: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let is_label = |text: &str| !text.is_empty() && text.len() <= 63 && plain(text, "-");
    let bad = |field: &str, text: &str| Some(format!("{field} {text:?} is not valid"));
    match () {
        () if group.split('.').any(|part| !is_label(part)) && !group.is_empty() => bad("apiVersion", api_version),
        () if !is_label(version) => bad("apiVersion", api_version),
        () if kind.is_empty() || !plain(kind, "-") => bad("kind", kind),
        () if !namespace.is_empty() && !is_label(namespace) => bad("metadata.namespace", namespace),
        () if !is_name(name) => bad("metadata.name", name),
        () => None,
    }
}

/// Whether this can be the name of an object (Kubernetes' `IsValidPathSegmentName`, and nothing that a URL gives a meaning).
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && ![".", ".."].contains(&name)
        && name.bytes().all(|b| b.is_ascii_graphic() && !b"/%?#\\".contains(&b))
}
