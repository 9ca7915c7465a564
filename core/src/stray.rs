//! What no git declares: strays in exclusive namespaces, and copies of pinned objects anywhere. Pure: an object's
//! metadata in, what is to be told and whether it may be removed out.
//!
//! `managedFields` names tools, not users, and anyone may send any name. So a name is good enough to report by; to
//! remove by, it must be the name of a person's tool, and nobody else may have written the object before it.
//!
//! May import: `fields`, `verdict`, `plan`.

use std::fmt;

use crate::fields::{Entry, Object, People};
use crate::names;
use crate::plan::ObjectKey;
use crate::verdict::{Exclusive, Owner, is_pinned};

/// Kinds that programs write for themselves, as group and kind.
const OF_PROGRAMS: [(&str, &str); 4] = [
    ("", "Event"),
    ("events.k8s.io", "Event"),
    ("coordination.k8s.io", "Lease"),
    ("discovery.k8s.io", "EndpointSlice"),
];
/// What Kubernetes and its distributions make in every namespace. The account `default` has no `managedFields` of its
/// maker, so that a `kubectl patch` of it would look like its making.
const IN_EVERY_NAMESPACE: [(&str, &str); 6] = [
    ("ServiceAccount", "default"),
    ("ServiceAccount", "builder"),
    ("ServiceAccount", "deployer"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
];
/// How the managers of Kubernetes' own parts and of well-known operators begin.
const CONTROLLERS: [&str; 18] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubelite",
    "cloud-controller-manager",
    "k3s",
    "rke2",
    "k0s",
    "openshift-",
    "cluster-policy-controller",
    "cert-manager",
    "external-secrets",
    "keda",
    "pilot-discovery",
    "rollouts-controller",
    "flagger",
    "recommender",
];
/// Managers by which people's tools and programs write alike, by how they begin.
const OF_BOTH: [&str; 3] = ["before-first-apply", "rancher", "Go-http-client"];
/// What the names of programs have in them: `helm-controller` is no person's helm.
const PROGRAMS: [&str; 3] = ["controller", "operator", "agent"];
/// Where the cluster itself lives: nothing is removed there.
const OF_THE_CLUSTER: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

/// What makes an object a stray.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The namespaces that are git's alone, and the kinds that are excepted there.
    pub exclusive: Exclusive,
    /// Whose declarations count.
    pub owners: Vec<Owner>,
    /// Which managers are tools of people.
    pub people: People,
    /// gitward's own namespace: the chart makes what is in it.
    pub own_namespace: String,
}

/// An object that no git declares, in an exclusive namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The object.
    pub key: ObjectKey,
    /// The field manager that is known to have written it; empty where none is.
    pub manager: String,
    /// When that was, as RFC 3339; empty where it is not known.
    pub time: String,
    /// Why it is reported and never removed; `None` where it may be removed.
    pub spared: Option<Spared>,
}

/// Why a stray is never removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spared {
    /// Nobody knows who made it.
    MakerUnknown,
    /// Its manager is not known as a tool of people.
    NoPersonsTool,
    /// Somebody else had written it before a person's tool did.
    MadeByAnother,
    /// It is in a namespace of the cluster itself.
    OfTheCluster,
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Spared::MakerUnknown => "nothing says who made it",
            Spared::NoPersonsTool => "its writer is not known as a tool of people",
            Spared::MadeByAnother => "something else had written it before a tool of people did",
            Spared::OfTheCluster => "it is in a namespace of the cluster itself",
        })
    }
}

impl fmt::Display for Stray {
    /// Without what to do about it, which depends on what was done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let namespace = &self.key.namespace;
        write!(f, "No git declares {}, and the namespace {namespace} is git's alone", self.key.in_words())?;
        match (self.manager.as_str(), self.time.as_str()) {
            ("", _) => Ok(()),
            (manager, "") => write!(f, " (written by {manager})"),
            (manager, time) => write!(f, " (written by {manager}, {time})"),
        }
    }
}

impl Rules {
    /// Whether objects of a kind may be strays at all.
    pub fn cover(&self, group: &str, kind: &str) -> bool {
        let is = |(g, k): (&str, &str)| (g, k) == (group, kind);
        let excepted = self.exclusive.except.iter().any(|(g, k)| is((g, k)));
        // gitward's own kinds have rules of their own: who may write them, and what becomes of what they declare.
        !excepted && group != names::GROUP && !OF_PROGRAMS.into_iter().any(is)
    }

    /// Whether objects in a namespace may be strays.
    pub fn hold_in(&self, namespace: &str) -> bool {
        namespace != self.own_namespace && self.exclusive.namespaces.iter().any(|name| name == namespace)
    }

    /// What there is to say of an object of this group and kind, of which only the metadata is looked at; `None` where it
    /// is no stray. Whether an inventory has it, whatever the object itself says, is for the caller to ask.
    pub fn stray(&self, object: &Object<'_>, (group, kind): (&str, &str)) -> Option<Stray> {
        let meta = &object.meta;
        let of_cluster = IN_EVERY_NAMESPACE.contains(&(kind, &*meta.name)) && group.is_empty();
        if of_cluster
            || !self.hold_in(&meta.namespace)
            || !self.cover(group, kind)
            || object.is_dying()
            || !object.owners().is_empty()
            || self.owners.iter().any(|owner| is_pinned(object, (group, kind), owner))
        {
            return None;
        }
        let (writer, spared) = self.writer(&meta.managed_fields)?;
        let of_cluster = OF_THE_CLUSTER.contains(&&*meta.namespace).then_some(Spared::OfTheCluster);
        Some(Stray {
            key: key_of(object, (group, kind)),
            manager: writer.map(|entry| entry.manager.to_string()).unwrap_or_default(),
            time: writer.map(|entry| entry.time().into_owned()).unwrap_or_default(),
            spared: spared.or(of_cluster),
        })
    }

    /// Who wrote an object, and why that is not enough to remove it. `None` where controllers alone did. The object itself
    /// counts, and not its status, which is a controller's work on what somebody else made.
    fn writer<'e, 'a>(&self, entries: &'e [Entry<'a>]) -> Option<(Option<&'e Entry<'a>>, Option<Spared>)> {
        let of_itself = || entries.iter().filter(|entry| entry.subresource.is_empty());
        let first_of = |is_wanted: &dyn Fn(&str) -> bool| {
            of_itself().filter(|entry| is_wanted(&entry.manager)).min_by_key(|entry| entry.time())
        };
        let is_tool = |manager: &str| self.is_persons(manager);
        if let Some(tool) = first_of(&is_tool) {
            // In the second in which an object is made controllers write it too, and seldom the other way round.
            let is_first = first_of(&|manager| !is_tool(manager)).is_none_or(|other| tool.time() <= other.time());
            let known = is_first && !tool.time().is_empty();
            return Some((Some(tool), (!known).then_some(Spared::MadeByAnother)));
        }
        match first_of(&|manager| !begins_with(manager, &CONTROLLERS)) {
            Some(unknown) => Some((Some(unknown), Some(Spared::NoPersonsTool))),
            None if of_itself().next().is_none() => Some((None, Some(Spared::MakerUnknown))),
            None => None,
        }
    }

    /// Whether a manager is surely a person's tool. Stricter than [`People::is_tool`], which is about fields.
    fn is_persons(&self, manager: &str) -> bool {
        self.people.is_tool(manager)
            && !begins_with(manager, &OF_BOTH)
            && !PROGRAMS.iter().any(|part| manager.contains(part))
    }
}

fn begins_with(manager: &str, beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| manager.starts_with(beginning))
}

fn key_of(object: &Object<'_>, (group, kind): (&str, &str)) -> ObjectKey {
    ObjectKey {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: object.meta.namespace.to_string(),
        name: object.meta.name.to_string(),
    }
}

/// What to tell people of an object of this group and kind that wears gitward's labels and is a copy: its pinned-id names
/// another object, or it has none, no owner, and was not made by a controller that copies labels. `None` where it is no
/// copy. A copy is never pruned.
pub fn copy_of(object: &Object<'_>, (group, kind): (&str, &str)) -> Option<String> {
    let is_marked = [names::SYNC_NAMESPACE, names::SYNC_NAME].iter().all(|key| object.label(key).is_some());
    if !is_marked || object.is_dying() {
        return None;
    }
    let key = key_of(object, (group, kind));
    let of = match object.annotation(names::PINNED_ID) {
        Some(id) if id == key.to_string() => return None,
        // Anybody may have written it: only what is an id is repeated.
        Some(id) => match id.parse::<ObjectKey>() {
            Ok(original) if id.len() <= LONGEST_ID => format!("a copy of {}", original.in_words()),
            _ => "a copy of an unknown object".to_owned(),
        },
        None if !object.owners().is_empty() || is_of_controllers(&object.meta.managed_fields) => return None,
        None => "none that git declares".to_owned(),
    };
    Some(format!(
        "{} wears gitward's labels and is {of}. gitward leaves it alone. Delete it, or take the labels {} and {} and the \
         annotation {} off it",
        key.in_words(),
        names::SYNC_NAMESPACE,
        names::SYNC_NAME,
        names::PINNED_ID,
    ))
}

/// The longest pinned-id that Kubernetes' names allow, or a little more: group 253, kind 63, namespace 63, name 253.
const LONGEST_ID: usize = 640;

fn is_of_controllers(entries: &[Entry<'_>]) -> bool {
    !entries.is_empty() && entries.iter().all(|entry| begins_with(&entry.manager, &CONTROLLERS))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const MAP: (&str, &str) = ("", "ConfigMap");

    fn rules() -> Rules {
        let except = vec![(String::new(), "Secret".to_owned())];
        Rules {
            exclusive: Exclusive { namespaces: vec!["shop".into(), "kube-system".into(), "gitward".into()], except },
            owners: vec![Owner::reconciler("gitward", "gitward-reconciler")],
            people: People::default(),
            own_namespace: "gitward".to_owned(),
        }
    }

    fn wrote(manager: &str, second: u32) -> Value {
        json!({"manager": manager, "operation": "Update", "time": format!("2026-11-25T10:00:{second:02}Z"), "fieldsV1": {}})
    }

    fn made(fields: &[Value]) -> Value {
        json!({"metadata": {"name": "mine", "namespace": "shop", "managedFields": fields}})
    }

    fn stray(object: &Value, kind: (&str, &str)) -> Option<Stray> {
        rules().stray(&serde_json::from_str(&object.to_string()).unwrap(), kind)
    }

    #[test]
    fn what_a_person_made_is_a_stray_that_may_be_removed_and_the_message_says_who_and_when() {
        let found = stray(&made(&[wrote("kubectl-create", 1)]), MAP).unwrap();
        assert_eq!(found.spared, None);
        let text = "No git declares ConfigMap shop/mine, and the namespace shop is git's alone (written by kubectl-create, \
                    2026-11-25T10:00:01Z)";
        assert_eq!(found.to_string(), text);
        // Controllers write what people made: at once, later, and always its status.
        let mut status = wrote("kube-controller-manager", 0);
        status["subresource"] = json!("status");
        let fields = [status, wrote("kubectl", 1), wrote("kube-controller-manager", 1), wrote("acme-operator", 2)];
        assert_eq!(stray(&made(&fields), MAP).unwrap().spared, None);
    }

    #[test]
    fn what_controllers_made_is_none() {
        for manager in ["kube-controller-manager", "cert-manager-certificates-issuing", "k3s"] {
            assert_eq!(stray(&made(&[wrote(manager, 1)]), MAP), None, "{manager}");
        }
        for (kind, name) in [("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")] {
            let mut object = made(&[wrote("kubectl-patch", 1)]);
            object["metadata"]["name"] = json!(name);
            assert_eq!(stray(&object, ("", kind)), None, "{name}");
        }
    }

    #[test]
    fn whoever_cannot_be_a_person_for_sure_is_reported_and_spared() {
        for (fields, spared) in [
            (vec![], Spared::MakerUnknown),
            (vec![wrote("acme", 1)], Spared::NoPersonsTool),
            (vec![wrote("helm-controller", 1)], Spared::NoPersonsTool),
            (vec![wrote("oci-cloud-controller-manager", 1)], Spared::NoPersonsTool),
            (vec![wrote("rancher", 1)], Spared::NoPersonsTool),
            (vec![wrote("before-first-apply", 1)], Spared::NoPersonsTool),
            // An orphan of a GitSync, and a Secret of cert-manager that a person annotated.
            (vec![wrote("gitward", 1), wrote("kubectl-edit", 2)], Spared::MadeByAnother),
            (vec![wrote("cert-manager", 1), wrote("kubectl-annotate", 2)], Spared::MadeByAnother),
            (vec![json!({"manager": "kubectl", "time": null})], Spared::MadeByAnother),
        ] {
            assert_eq!(stray(&made(&fields), MAP).map(|stray| stray.spared), Some(Some(spared)), "{fields:?}");
        }
        let mut object = made(&[wrote("kubectl", 1)]);
        object["metadata"]["namespace"] = json!("kube-system");
        assert_eq!(stray(&object, MAP).unwrap().spared, Some(Spared::OfTheCluster));
    }

    #[test]
    fn what_belongs_to_something_or_is_excepted_is_none() {
        let object = made(&[wrote("kubectl", 1)]);
        let with = |pointer: &str, value: Value| {
            let mut object = object.clone();
            object["metadata"][pointer] = value;
            stray(&object, MAP)
        };
        assert!(with("labels", json!({"a": "b"})).is_some());
        assert_eq!(with("namespace", json!("other")), None);
        assert_eq!(with("namespace", json!("gitward")), None);
        assert_eq!(with("deletionTimestamp", json!("2026-11-25T10:00:00Z")), None);
        assert_eq!(with("ownerReferences", json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "1"}])), None);
        for kind in
            [("", "Secret"), ("", "Event"), ("discovery.k8s.io", "EndpointSlice"), ("gitward.dev", "BreakGlass")]
        {
            assert_eq!(stray(&object, kind), None, "{kind:?}");
        }
    }

    fn marked(id: Option<&str>, fields: &[Value]) -> Value {
        let mut object = made(fields);
        object["metadata"]["labels"] = json!({names::SYNC_NAMESPACE: "gitward", names::SYNC_NAME: "shop"});
        if let Some(id) = id {
            object["metadata"]["annotations"] = json!({names::PINNED_ID: id});
        }
        object
    }

    #[test]
    fn a_pinned_object_is_no_stray_and_marks_alone_pin_nothing() {
        let declared =
            json!({"manager": "gitward", "operation": "Apply", "time": "2026-11-25T10:00:05Z", "fieldsV1": {}});
        let fields = [wrote("kubectl-create", 1), declared];
        assert_eq!(stray(&marked(Some("/ConfigMap:shop/mine"), &fields), MAP), None);
        assert_eq!(stray(&marked(Some("/ConfigMap:shop/mine"), &fields[..1]), MAP).unwrap().spared, None);
        assert_eq!(stray(&marked(Some("/ConfigMap:shop/other"), &fields), MAP).unwrap().spared, None);
    }

    #[test]
    fn a_copy_is_known_by_the_pinned_id_of_another() {
        let copy = |object: &Value, kind| copy_of(&serde_json::from_str(&object.to_string()).unwrap(), kind);
        let person = [wrote("kubectl-create", 1)];
        let text = copy(&marked(Some("apps/Deployment:shop/web"), &person), MAP).unwrap();
        assert!(
            text.starts_with("ConfigMap shop/mine wears gitward's labels and is a copy of Deployment shop/web."),
            "{text}"
        );
        assert_eq!(copy(&marked(Some("/ConfigMap:shop/mine"), &person), MAP), None);
        assert!(copy(&marked(None, &person), MAP).unwrap().contains("none that git declares"));
        let text = copy(&marked(Some("not\nan id"), &person), MAP).unwrap();
        assert!(text.contains("a copy of an unknown object"), "{text}");
        // Controllers copy the labels of a Service: to EndpointSlices, which it owns, and to Endpoints.
        assert_eq!(copy(&marked(None, &[wrote("kube-controller-manager", 1)]), ("", "Endpoints")), None);
        let mut child = marked(None, &person);
        child["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Service", "name": "web", "uid": "1"}]);
        assert_eq!(copy(&child, ("discovery.k8s.io", "EndpointSlice")), None);
        let mut dying = marked(None, &person);
        dying["metadata"]["deletionTimestamp"] = json!("2026-11-25T10:00:00Z");
        assert_eq!(copy(&dying, MAP), None);
        assert_eq!(copy(&made(&person), MAP), None);
    }
}
