//! The pinned objects that another one belongs to: found by owner references, through any number of them, and for a few
//! kinds by name.

use super::case::Case;
use super::lookup::{Answer, ObjectName, Stop, TypeName, Wanted};
use super::marks::Owned;
use super::{Pin, Subject};
use crate::fields::{Object, OwnerReference};

/// How many generations are followed: a Pod's ReplicaSet, its Deployment, and whatever made that. More are a refusal.
const GENERATIONS: usize = 8;
/// How many owners are looked up in one generation. More are a refusal.
const OWNERS: usize = 16;

/// A pinned object that another one belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ancestor {
    pub(super) subject: Subject,
    pub(super) pin: Option<Pin>,
}

/// The kinds whose objects belong to the workload that owns them.
fn is_descendant_kind(group: &str, kind: &str) -> bool {
    matches!((group, kind), ("", "Pod") | ("apps", "ReplicaSet" | "ControllerRevision") | ("batch", "Job"))
}

impl<'a> Case<'a> {
    /// The pinned objects among the owners of an object, and theirs.
    pub(super) fn owners_of(&self, object: &Object<'a>) -> Answer<Vec<Ancestor>> {
        let namespace = object.meta.namespace.as_ref();
        let (mut seen, mut pinned) = (Vec::new(), Vec::new());
        let mut owners = object.owners();
        for _ in 0..GENERATIONS {
            let mut wanted = Vec::new();
            for owner in owners.iter().filter(|owner| !is_node(owner)).map(|owner| owner_name(owner, namespace)) {
                if !seen.contains(&owner) {
                    seen.push(owner.clone());
                    wanted.push(Wanted::One(owner));
                }
            }
            if wanted.is_empty() {
                return Ok(pinned);
            }
            if wanted.len() > OWNERS {
                return Err(too_many(object, &format!("it has more than {OWNERS} owners")));
            }
            owners.clear();
            for owner in self.find(wanted)? {
                match self.pinned(&owner) {
                    Some(ancestor) => pinned.push(ancestor),
                    None => owners.extend(owner.owners()),
                }
            }
        }
        if owners.iter().all(is_node) {
            return Ok(pinned);
        }
        Err(too_many(object, &format!("its owners have owners through more than {GENERATIONS} generations")))
    }

    /// The object itself, where it is pinned.
    pub(super) fn pinned(&self, live: &Object<'_>) -> Option<Ancestor> {
        let (group, kind) = (live.group(), live.kind.as_ref());
        let owned = Owned::read(live, (group, kind), &self.policy.owner);
        owned.pinned().then(|| Ancestor { subject: Subject::of(live), pin: owned.pin() })
    }

    /// The pinned objects that an object of a review belongs to: by its owners, as the claim of a pinned
    /// StatefulSet's template, as the endpoints of a pinned Service.
    pub(super) fn ancestors(&self, object: &Object<'a>, group: &str, kind: &str) -> Answer<Vec<Ancestor>> {
        let by_name = match (group, kind) {
            _ if is_descendant_kind(group, kind) => return self.owners_of(object),
            ("", "PersistentVolumeClaim") => self.stateful_set_of(object)?,
            ("discovery.k8s.io", "EndpointSlice") => match object.label("kubernetes.io/service-name") {
                Some(service) => self.service(&object.meta.namespace, &service)?,
                None => None,
            },
            ("", "Endpoints") => self.service(&object.meta.namespace, &object.meta.name)?,
            _ => None,
        };
        Ok(by_name.into_iter().collect())
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
        let mut found = Vec::new();
        for set in self.find(vec![Wanted::Pinned(sets, claim.meta.namespace.to_string())])? {
            let set = set.with_type("apps/v1", "StatefulSet");
            let templates = set.at(&["spec", "volumeClaimTemplates"]).map(|t| t.items()).unwrap_or_default();
            let is_from = |template: &str| stem.strip_prefix(template) == Some(&format!("-{}", set.meta.name));
            let names = templates.iter().filter_map(|t| t.at(&["metadata", "name"])?.as_str());
            if names.into_iter().any(|template| is_from(&template)) {
                found.extend(self.pinned(&set));
            }
        }
        Ok(found.into_iter().min())
    }
}

/// Nodes own the mirrors of their static Pods. They are no workload, and the guard may not read them.
fn is_node(owner: &OwnerReference<'_>) -> bool {
    owner.api_version == "v1" && owner.kind == "Node"
}

fn owner_name(owner: &OwnerReference<'_>, namespace: &str) -> ObjectName {
    ObjectName {
        of: TypeName::kind(&owner.api_version, &owner.kind),
        namespace: namespace.to_owned(),
        name: owner.name.to_string(),
    }
}

fn too_many(object: &Object<'_>, why: &str) -> Stop {
    let name = Subject { name: format!("the owners of {}", object.meta.name), ..Subject::of(object) };
    Stop::Failed(name, why.to_owned())
}
