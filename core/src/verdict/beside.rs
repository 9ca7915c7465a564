//! What stands beside pinned objects and would become part of them: what their selectors would take in, autoscalers that
//! would steer them, roles that would be aggregated into them.

use super::lookup::{Answer, ObjectName, TypeName, Wanted};
use super::selector::Selector;
use super::{Case, Reason, Verdict};
use crate::fields::Object;
use crate::fields::{Change, Path};
use crate::json::{Json, Members};

/// What selects Pods: by which path, and whether it takes in only Pods that it could own.
const SELECTING: [(&str, &str, &str, &str); 7] = [
    ("", "v1", "services", "Service"),
    ("", "v1", "replicationcontrollers", "ReplicationController"),
    ("apps", "v1", "deployments", "Deployment"),
    ("apps", "v1", "replicasets", "ReplicaSet"),
    ("apps", "v1", "statefulsets", "StatefulSet"),
    ("apps", "v1", "daemonsets", "DaemonSet"),
    ("batch", "v1", "jobs", "Job"),
];

/// Labels by which the controllers of workloads tell their own Pods apart (Kubernetes documentation, "Well-Known Labels").
const OF_CONTROLLERS: [&str; 5] = [
    "pod-template-hash",
    "controller-revision-hash",
    "batch.kubernetes.io/controller-uid",
    "controller-uid",
    "statefulset.kubernetes.io/pod-name",
];

impl<'a> Case<'a> {
    /// The refusal of an object that would become part of a pinned one.
    pub(super) fn beside(
        &self,
        old: Option<&Object<'a>>,
        new: &Object<'a>,
        changes: &[Change<'a>],
    ) -> Answer<Option<Verdict>> {
        if self.request.sub_resource == "status" && !changes.iter().any(|c| c.path.is_under(&["metadata", "labels"])) {
            return Ok(None);
        }
        match self.kind() {
            ("", "Pod") | ("apps", "ReplicaSet") => self.taken_in(old, new, changes),
            ("", "ReplicationController" | "PodTemplate") | ("apps", _) | ("batch", "Job" | "CronJob") => {
                self.serves(old, new)
            }
            ("autoscaling", "HorizontalPodAutoscaler") => self.steers(old, new, changes, &["spec", "scaleTargetRef"]),
            ("autoscaling.k8s.io", "VerticalPodAutoscaler") => self.steers(old, new, changes, &["spec", "targetRef"]),
            ("keda.sh", "ScaledObject") => self.steers(old, new, changes, &["spec", "scaleTargetRef"]),
            ("rbac.authorization.k8s.io", "ClusterRole") => self.aggregated(old, new, changes),
            _ => Ok(None),
        }
    }

    /// A Pod or ReplicaSet whose labels match the selector of a pinned workload or Service.
    fn taken_in(&self, old: Option<&Object<'a>>, new: &Object<'a>, changes: &[Change<'a>]) -> Answer<Option<Verdict>> {
        let labels = new.labels();
        let before = old.map(Object::labels);
        let (_, kind) = self.kind();
        if labels.is_empty() || before.as_ref().is_some_and(|before| same_labels(before, &labels)) {
            return if kind == "ReplicaSet" { self.serves(old, new) } else { Ok(None) };
        }
        let mut keys: Vec<String> = Vec::new();
        let mut taken_by = None;
        for (selector, by) in self.selectors(&new.meta.namespace, &SELECTING)? {
            let newly = before.as_ref().is_none_or(|before| !selector.matches(before));
            if newly && selector.matches(&labels) {
                keys.extend(selector.keys().map(str::to_owned));
                taken_by = Some(by);
            }
        }
        let Some(by) = taken_by else {
            return if kind == "ReplicaSet" { self.serves(old, new) } else { Ok(None) };
        };
        let is_part = |key: &str| keys.iter().any(|k| k == key) || OF_CONTROLLERS.contains(&key);
        let mut fields: Vec<Change<'a>> = labels
            .iter()
            .filter(|(key, _)| is_part(key))
            .map(|(key, value)| Change { path: label(key), before: None, after: Some(*value) })
            .collect();
        if old.is_some() {
            fields = changes.iter().filter(|c| fields.iter().any(|field| field.path == c.path)).cloned().collect();
        }
        Ok(Some(self.access(super::Access::Refuse, Reason::BesidePinned, self.subject(new), &by).with_fields(&fields)))
    }

    /// A workload whose Pods would get the traffic of a pinned Service.
    fn serves(&self, old: Option<&Object<'a>>, new: &Object<'a>) -> Answer<Option<Verdict>> {
        let template = |object: &Object<'a>| {
            let below: &[&str] = match self.kind() {
                ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "metadata", "labels"],
                ("", "PodTemplate") => &["template", "metadata", "labels"],
                _ => &["spec", "template", "metadata", "labels"],
            };
            object.at(below).map(Json::members).unwrap_or_default()
        };
        let (labels, before) = (template(new), old.map(template));
        if labels.is_empty() || before.as_ref().is_some_and(|before| same_labels(before, &labels)) {
            return Ok(None);
        }
        for (selector, by) in self.selectors(&new.meta.namespace, &SELECTING[..1])? {
            let newly = before.as_ref().is_none_or(|before| !selector.matches(before));
            if newly && selector.matches(&labels) {
                let verdict = self.access(super::Access::Refuse, Reason::BesidePinned, self.subject(new), &by);
                return Ok(Some(verdict));
            }
        }
        Ok(None)
    }

    /// The selectors of the pinned objects of some types in a namespace.
    fn selectors(
        &self,
        namespace: &str,
        types: &[(&str, &str, &str, &str)],
    ) -> Answer<Vec<(Selector, super::family::Ancestor)>> {
        let wanted = |(group, version, plural, _): &(&str, &str, &str, &str)| {
            Wanted::Pinned(TypeName::resource(group, version, plural), namespace.to_owned())
        };
        self.find(types.iter().map(wanted).collect())?;
        let mut selectors = Vec::new();
        for of in types {
            let (group, version, _, kind) = of;
            let api_version = if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") };
            for object in self.find(vec![wanted(of)])? {
                let object = object.with_type(&api_version, kind);
                let selector = object.at(&["spec", "selector"]).and_then(Selector::read);
                selectors.extend(selector.zip(self.pinned(&object)));
            }
        }
        Ok(selectors)
    }

    /// An autoscaler that targets a pinned workload, whatever of its specification changes.
    fn steers(
        &self,
        old: Option<&Object<'a>>,
        new: &Object<'a>,
        changes: &[Change<'a>],
        at: &[&str],
    ) -> Answer<Option<Verdict>> {
        let fields: Vec<_> = changes.iter().filter(|change| change.path.is_under(&["spec"])).cloned().collect();
        if old.is_some() && fields.is_empty() {
            return Ok(None);
        }
        let Some(target) = new.at(at) else { return Ok(None) };
        let text = |key: &str, default: &str| {
            target
                .get(key)
                .and_then(|value| value.as_str())
                .map_or_else(|| default.to_owned(), |text| text.into_owned())
        };
        let wanted = ObjectName {
            of: TypeName::kind(&text("apiVersion", "apps/v1"), &text("kind", "Deployment")),
            namespace: new.meta.namespace.to_string(),
            name: text("name", ""),
        };
        if wanted.name.is_empty() {
            return Ok(None);
        }
        let Some(by) = self.find_one(wanted)?.and_then(|target| self.pinned(&target)) else { return Ok(None) };
        let verdict = self.access(super::Access::Refuse, Reason::BesidePinned, self.subject(new), &by);
        Ok(Some(verdict.with_fields(&fields)))
    }

    /// A ClusterRole whose rules a pinned one takes in (Kubernetes documentation, "Aggregated ClusterRoles").
    fn aggregated(
        &self,
        old: Option<&Object<'a>>,
        new: &Object<'a>,
        changes: &[Change<'a>],
    ) -> Answer<Option<Verdict>> {
        let labels = new.labels();
        let before = old.map(Object::labels).unwrap_or_default();
        let relevant = |change: &&Change<'a>| ["rules", "metadata"].iter().any(|key| change.path.is_under(&[key]));
        if labels.is_empty() || (old.is_some() && !changes.iter().any(|change| relevant(&change))) {
            return Ok(None);
        }
        let roles = TypeName::resource("rbac.authorization.k8s.io", "v1", "clusterroles");
        for role in self.find(vec![Wanted::Pinned(roles, String::new())])? {
            let role = role.with_type("rbac.authorization.k8s.io/v1", "ClusterRole");
            let selectors = role.at(&["aggregationRule", "clusterRoleSelectors"]).map(Json::items).unwrap_or_default();
            let mut selectors = selectors.into_iter().filter_map(Selector::read);
            let takes = |selector: &Selector| selector.matches(&labels) || selector.matches(&before);
            if let (true, Some(by)) = (selectors.any(|selector| takes(&selector)), self.pinned(&role)) {
                let verdict = self.access(super::Access::Refuse, Reason::BesidePinned, self.subject(new), &by);
                return Ok(Some(verdict.with_fields(changes)));
            }
        }
        Ok(None)
    }
}

fn same_labels(a: &Members<'_>, b: &Members<'_>) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((k, v), (l, w))| k == l && v.same(*w))
}

fn label(key: &str) -> Path {
    Path::of_fields(&["metadata", "labels", key])
}
