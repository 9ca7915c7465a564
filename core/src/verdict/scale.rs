//! `*/scale`. The review's object is a Scale without labels and without managedFields, so that only the live object
//! behind it says whether git declares it.

use super::lookup::{Answer, ObjectName, TypeName};
use super::marks::Owned;
use super::{Case, Reason, Subject, Verdict, Who};
use crate::fields::Object;
use crate::fields::{Change, Path};
use crate::json::Json;

impl<'a> Case<'a> {
    pub(super) fn scaled(&self, old: &Object<'a>, new: &Object<'a>) -> Answer<Verdict> {
        let replicas = |scale: &Object<'a>| scale.at(&["spec", "replicas"]);
        let (before, after) = (replicas(old), replicas(new));
        if before.map(Json::text) == after.map(Json::text) {
            return Ok(Verdict::allow(Reason::NoRefusedChange));
        }
        let change = Change { path: Path::of_fields(&["spec", "replicas"]), before, after };
        let request = self.request;
        let (group, version) = (request.resource.group.as_ref(), request.resource.version.as_ref());
        let wanted = ObjectName {
            of: TypeName::resource(group, version, &request.resource.resource),
            namespace: request.namespace.to_string(),
            name: request.name.to_string(),
        };
        let Some(live) = self.find_one(wanted)? else { return Ok(Verdict::allow(Reason::NotPinned)) };
        let owned = Owned::read(&live, (group, live.kind.as_ref()), &self.policy.owner);
        if owned.pinned() {
            if self.may_scale(&owned, &change)? {
                let work = self.who != Who::Person;
                return Ok(Verdict::allow(if work { Reason::SystemWork } else { Reason::NoRefusedChange }));
            }
            let verdict = Verdict::refuse(self.policy, Reason::PinnedObjectScaled, Subject::of(&live), owned.pin());
            return Ok(verdict.with_fields(&[change]));
        }
        // A controller may always scale what it made itself.
        if self.who != Who::Person {
            return Ok(Verdict::allow(Reason::SystemWork));
        }
        Ok(match self.pinned_owner(&live)? {
            Some(ancestor) => {
                let access = self.policy.descendants.update;
                let verdict = self.access(access, Reason::PinnedObjectScaled, Subject::of(&live), &ancestor);
                if verdict.is_refusal() { verdict.with_fields(&[change]) } else { verdict }
            }
            None => self.exclusive(&live).unwrap_or_else(|| Verdict::allow(Reason::NotPinned)),
        })
    }

    /// Whether the caller may scale a pinned object: an autoscaler what git leaves open, a person only what the policy
    /// allows besides.
    fn may_scale(&self, owned: &Owned<'_>, change: &Change<'_>) -> Answer<bool> {
        let open = match self.who {
            Who::Person if !self.policy.allows(&change.path) => return Ok(false),
            Who::System if !owned.declared().is_exact() => return Ok(true),
            _ => !owned.declared().is_touched_by(&self.path_of_replicas()?),
        };
        Ok(open)
    }

    /// Where the scaled object keeps its replicas: custom resources say it in their definition, all others keep them
    /// in `spec.replicas` (Kubernetes documentation, "Scale subresource").
    fn path_of_replicas(&self) -> Answer<Path> {
        let usual = Path::of_fields(&["spec", "replicas"]);
        let resource = &self.request.resource;
        if !resource.group.contains('.') {
            return Ok(usual);
        }
        let wanted = ObjectName {
            of: TypeName::resource("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
            namespace: String::new(),
            name: format!("{}.{}", resource.resource, resource.group),
        };
        let Some(definition) = self.find_one(wanted)? else { return Ok(usual) };
        let versions = definition.at(&["spec", "versions"]).map(Json::items).unwrap_or_default();
        let served =
            versions.into_iter().find(|v| v.get("name").and_then(Json::as_str).as_deref() == Some(&*resource.version));
        let path = served.and_then(|v| v.at(&["subresources", "scale", "specReplicasPath"])?.as_str());
        Ok(path.map_or(usual, |path| Path::of_fields(&path.trim_start_matches('.').split('.').collect::<Vec<_>>())))
    }
}
