//! `*/scale`. The review's object is a Scale without labels and without managedFields, so that only the live object
//! behind it says whether git declares it.

use serde_json::Value;

use super::marks::{Owned, text};
use super::review::{Objects, Request};
use super::{Found, Known, Policy, Reason, Step, Subject, TypeName, Verdict, Wanted, Who, done, pin_of};
use crate::fields::{Change, Path};
use crate::names;

/// How many owners are followed: a ReplicaSet's Deployment, and whatever operator made that. Ownership is a tree in
/// practice; the bound is for objects that name each other.
const MAX_OWNERS: usize = 8;

pub(super) fn judge(request: &Request<'_>, objects: &Objects, who: Who, policy: &Policy, known: &Known) -> Step {
    let replicas = |scale: &'_ Value| scale.pointer("/spec/replicas").cloned();
    let (before, after) = (replicas(&objects.old), replicas(&objects.new));
    if before == after {
        return done(Verdict::allow(Reason::NoRefusedChange));
    }
    let path = Path::of_fields(&["spec", "replicas"]);
    let change = Change { path, before: before.as_ref(), after: after.as_ref() };
    let mut wanted = scaled(request, objects);
    for depth in 0..MAX_OWNERS {
        let live = match known.get(&wanted) {
            None => return Step::Need(wanted),
            Some(Found::Object(live)) => live,
            Some(Found::Absent) => break,
            Some(Found::Failed(why)) => return done(failed(&wanted, why, who, policy)),
        };
        let kind = live.get("kind").and_then(Value::as_str).unwrap_or_default();
        let owned = Owned::read(live, &wanted.group, kind);
        if owned.pinned() {
            return done(pinned(live, kind, &wanted, &owned, change, (depth == 0, who), policy));
        }
        match owner(live, &wanted.namespace) {
            Some(owner) => wanted = owner,
            None => break,
        }
    }
    done(Verdict::allow(Reason::NotPinned))
}

fn pinned(
    live: &Value,
    kind: &str,
    wanted: &Wanted,
    owned: &Owned<'_>,
    change: Change<'_>,
    (itself, who): (bool, Who),
    policy: &Policy,
) -> Verdict {
    // An autoscaler may scale what git leaves open; a controller may always scale what it made itself.
    if who == Who::System && !(itself && owned.declared().is_touched_by(&change.path)) {
        return Verdict::allow(Reason::SystemWork);
    }
    let subject = Subject {
        group: wanted.group.clone(),
        kind: kind.to_owned(),
        namespace: text(live, "namespace").to_owned(),
        name: text(live, "name").to_owned(),
    };
    Verdict::refuse(policy, Reason::PinnedObjectScaled, subject, pin_of(&owned.marks)).with_fields(&[change])
}

/// The object that is scaled.
fn scaled(request: &Request<'_>, objects: &Objects) -> Wanted {
    Wanted {
        group: request.resource.group.to_string(),
        version: request.resource.version.to_string(),
        by: TypeName::Resource(request.resource.resource.to_string()),
        namespace: request.namespace.to_string(),
        name: request.name.to_string(),
        uid: text(objects.subject(), "uid").to_owned(),
    }
}

/// The controller that made an object.
fn owner(object: &Value, namespace: &str) -> Option<Wanted> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|o| o.get("controller").and_then(Value::as_bool) == Some(true))?;
    let field = |key: &str| owner.get(key).and_then(Value::as_str);
    let api_version = field("apiVersion")?;
    Some(Wanted {
        group: names::group_of(api_version).to_owned(),
        version: api_version.rsplit('/').next()?.to_owned(),
        by: TypeName::Kind(field("kind")?.to_owned()),
        namespace: namespace.to_owned(),
        name: field("name")?.to_owned(),
        uid: field("uid").unwrap_or_default().to_owned(),
    })
}

/// A look-up that failed refuses people. The parts of Kubernetes go on: what they wrongly change is healed, while a
/// cluster whose autoscalers stand still because of a guard does not recover.
fn failed(wanted: &Wanted, why: &str, who: Who, policy: &Policy) -> Verdict {
    if who == Who::System {
        return Verdict::allow(Reason::SystemWork);
    }
    let (TypeName::Resource(kind) | TypeName::Kind(kind)) = &wanted.by;
    let subject = Subject {
        group: wanted.group.clone(),
        kind: kind.clone(),
        namespace: wanted.namespace.clone(),
        name: wanted.name.clone(),
    };
    let mut verdict = Verdict::refuse(policy, Reason::LookupFailed, subject, None);
    verdict.detail = Some(why.to_owned());
    verdict
}
