//! The pinned objects that another one belongs to: found by owner references, through any number of them, and for a few
//! kinds by name.

use super::case::Case;
use super::lookup::{Answer, ObjectName, Stop, TypeName, Wanted};
use super::marks::Owned;
use super::{Pin, Subject};
use crate::fields::{Object, OwnerReference};
use crate::json::Json;

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

impl Ancestor {
    /// Whether it is a CronJob, of which people may make a Job by hand.
    pub(super) fn is_cron_job(&self) -> bool {
        (self.subject.group.as_str(), self.subject.kind.as_str()) == ("batch", "CronJob")
    }
}

/// The kinds of which workloads are made: an object of them that names an owner becomes part of it.
pub(super) fn is_part_kind(group: &str, kind: &str) -> bool {
    matches!((group, kind), ("", "Pod") | ("apps", "ReplicaSet" | "ControllerRevision") | ("batch", "Job"))
}

/// API groups that are Kubernetes' own, beside the core group and those that end in `.k8s.io` and have no definitions.
const BUILT_IN: [&str; 20] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Whether objects of a kind make others: workloads, Services, and custom resources. ConfigMaps, Secrets, Leases, Nodes and
/// the like own objects only so that these are collected with them, and the guard may not read them all.
fn makes_objects(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(kind, "Pod" | "ReplicationController" | "Service"),
        group => !BUILT_IN.contains(&group),
    }
}

impl<'a> Case<'a> {
    /// The pinned objects among the owners of an object, and theirs.
    pub(super) fn owners_of(&self, object: &Object<'a>) -> Answer<Vec<Ancestor>> {
        let namespace = object.meta.namespace.as_ref();
        let (mut seen, mut pinned) = (Vec::new(), Vec::new());
        let mut owners = object.owners();
        for _ in 0..GENERATIONS {
            let mut wanted = Vec::new();
            for owner in owners.iter().filter(|owner| is_maker(owner)).map(|owner| owner_name(owner, namespace)) {
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
        if !owners.iter().any(is_maker) {
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

    /// The pinned objects that an object of a review belongs to: by its owners, or by its name.
    pub(super) fn ancestors(&self, object: &Object<'a>, group: &str, kind: &str) -> Answer<Vec<Ancestor>> {
        let mut ancestors = self.owners_of(object)?;
        ancestors.extend(self.ancestor_by_name(object, group, kind)?);
        Ok(ancestors)
    }

    /// The pinned object that an object of a review belongs to as the claim of a StatefulSet's template, or as the endpoints
    /// of a Service.
    pub(super) fn ancestor_by_name(&self, object: &Object<'a>, group: &str, kind: &str) -> Answer<Option<Ancestor>> {
        match (group, kind) {
            ("", "PersistentVolumeClaim") => self.stateful_set_of(object),
            ("discovery.k8s.io", "EndpointSlice") => match object.label("kubernetes.io/service-name") {
                Some(service) => self.service(&object.meta.namespace, &service),
                None => Ok(None),
            },
            ("", "Endpoints") => self.service(&object.meta.namespace, &object.meta.name),
            _ => Ok(None),
        }
    }

    /// The StatefulSets of a namespace that could be pinned.
    pub(super) fn pinned_sets(&self, namespace: &str) -> Answer<Vec<Object<'a>>> {
        let sets =
            self.find(vec![Wanted::Pinned(TypeName::resource("apps", "v1", "statefulsets"), namespace.to_owned())])?;
        Ok(sets.into_iter().map(|set| set.with_type("apps/v1", "StatefulSet")).collect())
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
        let Some((stem, _)) = split_ordinal(&claim.meta.name) else { return Ok(None) };
        let is_from = |set: &Object<'_>| {
            claim_templates(set).iter().any(|template| stem == format!("{template}-{}", set.meta.name))
        };
        let sets = self.pinned_sets(&claim.meta.namespace)?;
        Ok(sets.iter().filter(|set| is_from(set)).filter_map(|set| self.pinned(set)).min())
    }
}

/// A name that ends in a number: what stands before it, and the number.
pub(super) fn split_ordinal(name: &str) -> Option<(&str, &str)> {
    let (stem, ordinal) = name.rsplit_once('-')?;
    (!ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit())).then_some((stem, ordinal))
}

/// The names of a StatefulSet's templates of claims.
pub(super) fn claim_templates(set: &Object<'_>) -> Vec<String> {
    let templates = set.at(&["spec", "volumeClaimTemplates"]).map(Json::items).unwrap_or_default();
    templates.iter().filter_map(|template| Some(template.at(&["metadata", "name"])?.as_str()?.into_owned())).collect()
}

/// The names of the volumes of a Pod's specification for which claims are made.
pub(super) fn ephemeral_volumes(object: &Object<'_>, spec: &[&str]) -> Vec<String> {
    let volumes = object.at(&[spec, &["volumes"]].concat()).map(Json::items).unwrap_or_default();
    let volumes = volumes.iter().filter(|volume| volume.get("ephemeral").is_some());
    volumes.filter_map(|volume| Some(volume.get("name")?.as_str()?.into_owned())).collect()
}

fn is_maker(owner: &OwnerReference<'_>) -> bool {
    makes_objects(crate::names::group_of(&owner.api_version), &owner.kind)
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
