//! What the selectors of pinned workloads and Services would take in.

use super::super::ancestors::Ancestor;
use super::super::case::Case;
use super::super::lookup::{Answer, TypeName, Wanted};
use super::super::selector::Selector;
use super::super::{Verdict, Who};
use crate::fields::{Change, Object, Path};
use crate::json::{Json, Members};

/// A type that selects: group, version, plural and kind.
type Selecting = (&'static str, &'static str, &'static str, &'static str);

/// The types that select Pods. Services stand first; the last two select ControllerRevisions too.
const SELECTING: [Selecting; 7] = [
    ("", "v1", "services", "Service"),
    ("", "v1", "replicationcontrollers", "ReplicationController"),
    ("apps", "v1", "deployments", "Deployment"),
    ("apps", "v1", "replicasets", "ReplicaSet"),
    ("batch", "v1", "jobs", "Job"),
    ("apps", "v1", "statefulsets", "StatefulSet"),
    ("apps", "v1", "daemonsets", "DaemonSet"),
];

/// Labels by which the controllers of workloads tell their own Pods apart (Kubernetes documentation, "Well-Known Labels").
const OF_CONTROLLERS: [&str; 5] = [
    "pod-template-hash",
    "controller-revision-hash",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
    "statefulset.kubernetes.io/pod-name",
];

/// Refuses a Pod, ReplicaSet or ControllerRevision whose labels match the selector of a pinned workload or Service.
pub(super) fn by_workload_or_service(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let types: &[Selecting] = match case.kind() {
        ("", "Pod") | ("apps", "ReplicaSet") => &SELECTING,
        ("apps", "ControllerRevision") => &SELECTING[5..],
        _ => return Ok(None),
    };
    let Some((old, new)) = candidate(case) else { return Ok(None) };
    let labels = new.labels();
    let newly = newly_selected(case, types, &new.meta.namespace, old.map(Object::labels), &labels)?;
    let keys: Vec<&str> = newly.iter().flat_map(|(selector, _)| selector.keys()).collect();
    let is_part = |key: &str| keys.contains(&key) || OF_CONTROLLERS.contains(&key);
    let mut fields: Vec<Change<'_>> = labels
        .iter()
        .filter(|(key, _)| is_part(key))
        .map(|(key, value)| Change { path: label(key), before: None, after: Some(*value) })
        .collect();
    if old.is_some() {
        fields = case.changes().iter().filter(|c| fields.iter().any(|field| field.path == c.path)).cloned().collect();
    }
    let by = newly.iter().map(|(_, by)| by).min();
    Ok(by.map(|by| case.beside(case.subject(new), by).with_fields(&fields)))
}

/// Refuses a workload whose Pods would get the traffic of a pinned Service.
pub(super) fn template_by_service(case: &Case<'_>) -> Answer<Option<Verdict>> {
    let below: &[&str] = match case.kind() {
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "metadata", "labels"],
        ("", "PodTemplate") => &["template", "metadata", "labels"],
        ("apps", "ControllerRevision") => &["data", "spec", "template", "metadata", "labels"],
        ("", "ReplicationController") | ("apps", _) | ("batch", "Job") => &["spec", "template", "metadata", "labels"],
        _ => return Ok(None),
    };
    let Some((old, new)) = candidate(case) else { return Ok(None) };
    let labels = new.at(below).map(Json::members).unwrap_or_default();
    let before = old.map(|old| old.at(below).map(Json::members).unwrap_or_default());
    if labels.is_empty() {
        return Ok(None);
    }
    let newly = newly_selected(case, &SELECTING[..1], &new.meta.namespace, before, &labels)?;
    let by = newly.iter().map(|(_, by)| by).min();
    Ok(by.map(|by| case.beside(case.subject(new), by)))
}

/// What a person creates, or changes in more than its status.
fn candidate<'a>(case: &Case<'a>) -> Option<(Option<&'a Object<'a>>, &'a Object<'a>)> {
    let versions = case.action.versions().filter(|_| case.who == Who::Person)?;
    let labels_change = case.changes().iter().any(|change| change.path.meets(&["metadata", "labels"]));
    let is_status = case.request.sub_resource == "status";
    let changes_something = versions.0.is_none() || if is_status { labels_change } else { !case.changes().is_empty() };
    changes_something.then_some(versions)
}

/// The selectors of pinned objects that match labels now and did not before.
fn newly_selected(
    case: &Case<'_>,
    types: &[Selecting],
    namespace: &str,
    before: Option<Members<'_>>,
    labels: &Members<'_>,
) -> Answer<Vec<(Selector, Ancestor)>> {
    if before.as_ref().is_some_and(|before| same_labels(before, labels)) {
        return Ok(Vec::new());
    }
    let mut selectors = selectors(case, namespace, types)?;
    selectors.retain(|(selector, _)| {
        selector.matches(labels) && before.as_ref().is_none_or(|before| !selector.matches(before))
    });
    Ok(selectors)
}

/// The selectors of the pinned objects of some types in a namespace.
fn selectors(case: &Case<'_>, namespace: &str, types: &[Selecting]) -> Answer<Vec<(Selector, Ancestor)>> {
    let wanted = |(group, version, plural, _): &Selecting| {
        Wanted::Pinned(TypeName::resource(group, version, plural), namespace.to_owned())
    };
    case.find(types.iter().map(wanted).collect())?;
    let mut selectors = Vec::new();
    for of in types {
        let (group, version, _, kind) = of;
        let api_version = if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
        for object in case.find(vec![wanted(of)])? {
            let object = object.with_type(&api_version, kind);
            let read = if group.is_empty() { Selector::read_map } else { Selector::read };
            let selector = object.at(&["spec", "selector"]).and_then(read);
            selectors.extend(selector.zip(case.pinned(&object)));
        }
    }
    Ok(selectors)
}

fn same_labels(a: &Members<'_>, b: &Members<'_>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((k, v), (l, w))| k == l && v.same(*w))
}

fn label(key: &str) -> Path {
    Path::of_fields(&["metadata", "labels", key])
}
