//! What belongs to a pinned object: found by owner references, through any number of them, and for a few kinds by name.

use super::lookup::{Answer, ObjectName, TypeName, Wanted};
use super::marks::Owned;
use super::{Case, Pin, Subject};
use crate::fields::{Object, OwnerReference};

/// How many generations are followed: a Pod's ReplicaSet, its Deployment, and whatever made that. Ownership is a tree
/// in practice; the bound is for objects that name each other.
const GENERATIONS: usize = 8;
/// How many owners of one generation are looked up.
const OWNERS: usize = 16;

/// A pinned object to which another one belongs.
pub(super) struct Ancestor {
    pub(super) subject: Subject,
    pub(super) pin: Option<Pin>,
}

/// The kinds whose objects belong to the workload that owns them.
pub(super) fn is_descendant_kind(group: &str, kind: &str) -> bool {
    matches!((group, kind), ("", "Pod") | ("apps", "ReplicaSet" | "ControllerRevision") | ("batch", "Job"))
}

impl<'a> Case<'a> {
    /// The pinned object among the owners of an object, and theirs.
    pub(super) fn pinned_owner(&self, object: &Object<'a>) -> Answer<Option<Ancestor>> {
        let namespace = object.meta.namespace.as_ref();
        let mut owners = object.owners();
        for _ in 0..GENERATIONS {
            let wanted: Vec<Wanted> =
                owners.iter().filter(|o| !is_node(o)).take(OWNERS).map(|o| owner(o, namespace)).collect();
            if wanted.is_empty() {
                return Ok(None);
            }
            let found = self.find(wanted)?;
            if let Some(ancestor) = found.iter().find_map(|object| self.pinned(object)) {
                return Ok(Some(ancestor));
            }
            owners = found.iter().flat_map(Object::owners).collect();
        }
        Ok(None)
    }

    /// The object itself, where it is pinned.
    pub(super) fn pinned(&self, live: &Object<'_>) -> Option<Ancestor> {
        let (group, kind) = (live.group(), live.kind.as_ref());
        let owned = Owned::read(live, (group, kind), &self.policy.owner);
        owned.pinned().then(|| Ancestor { subject: Subject::of(live), pin: owned.pin() })
    }

    /// The pinned object to which an object of a review belongs: by its owners, as the claim of a pinned
    /// StatefulSet's template, as the endpoints of a pinned Service.
    pub(super) fn family(&self, object: &Object<'a>, group: &str, kind: &str) -> Answer<Option<Ancestor>> {
        match (group, kind) {
            _ if is_descendant_kind(group, kind) => self.pinned_owner(object),
            ("", "PersistentVolumeClaim") => self.stateful_set_of(object),
            ("discovery.k8s.io", "EndpointSlice") => match object.label("kubernetes.io/service-name") {
                Some(service) => self.service(&object.meta.namespace, &service),
                None => Ok(None),
            },
            ("", "Endpoints") => self.service(&object.meta.namespace, &object.meta.name),
            _ => Ok(None),
        }
    }

    fn service(&self, namespace: &str, name: &str) -> Answer<Option<Ancestor>> {
        let wanted = ObjectName {
            of: TypeName::resource("", "v1", "services"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        Ok(self.find_one(wanted)?.and_then(|service| self.pinned(&service.with_type("v1", "Service"))))
    }

    /// The StatefulSet whose template a claim is made from, by its name: `<template>-<set>-<ordinal>` (Kubernetes
    /// documentation, "StatefulSets").
    fn stateful_set_of(&self, claim: &Object<'a>) -> Answer<Option<Ancestor>> {
        let name = claim.meta.name.as_ref();
        let Some((stem, ordinal)) = name.rsplit_once('-') else { return Ok(None) };
        if ordinal.is_empty() || !ordinal.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(None);
        }
        let sets = TypeName::resource("apps", "v1", "statefulsets");
        for set in self.find(vec![Wanted::Pinned(sets, claim.meta.namespace.to_string())])? {
            let set = set.with_type("apps/v1", "StatefulSet");
            let templates = set.at(&["spec", "volumeClaimTemplates"]).map(|t| t.items()).unwrap_or_default();
            let is_from = |template: &str| stem.strip_prefix(template) == Some(&format!("-{}", set.meta.name));
            let names = templates.iter().filter_map(|t| t.at(&["metadata", "name"])?.as_str());
            if names.into_iter().any(|template| is_from(&template)) {
                return Ok(self.pinned(&set));
            }
        }
        Ok(None)
    }
}

/// Nodes own the mirrors of their static Pods. They are no workload, and the guard may not read them.
fn is_node(owner: &OwnerReference<'_>) -> bool {
    owner.api_version == "v1" && owner.kind == "Node"
}

fn owner(owner: &OwnerReference<'_>, namespace: &str) -> Wanted {
    Wanted::One(ObjectName {
        of: TypeName::kind(&owner.api_version, &owner.kind),
        namespace: namespace.to_owned(),
        name: owner.name.to_string(),
    })
}
