//! Names that a pinned workload will use: of its next Pod, claim or Job, and of the Service that gives its Pods their names.

use super::super::ancestors::{Ancestor, claim_templates, ephemeral_volumes, split_ordinal};
use super::super::case::{Action, Case};
use super::super::lookup::{Answer, ObjectName, TypeName};
use super::super::{Verdict, Who};
use crate::fields::Object;
use crate::json::Json;

/// The fewest digits of the minutes since 1970 in the name of a CronJob's Job (`getJobName` in Kubernetes' CronJob
/// controller). Shorter numbers are those of people.
const MINUTES: usize = 7;

/// Refuses what a person creates under a name that a pinned workload will use, or that would make such a name.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    if case.who != Who::Person {
        return Ok(None);
    }
    let (before, new) = match case.action {
        Action::Create(new) => (Vec::new(), new),
        // A name stays, but a StatefulSet may get volumes that make claims.
        Action::Update { old, new } if case.kind() == ("apps", "StatefulSet") && !case.changes().is_empty() => {
            (users_of_name(case, old)?, new)
        }
        _ => return Ok(None),
    };
    let mut users = users_of_name(case, new)?;
    users.retain(|user| !before.contains(user));
    Ok(users.into_iter().min().map(|user| case.beside(case.subject(new), &user)))
}

/// The pinned workloads that will use the name of an object, or that of a claim which is made for it.
fn users_of_name<'a>(case: &Case<'a>, object: &Object<'a>) -> Answer<Vec<Ancestor>> {
    let name = case.subject(object).name;
    match case.kind() {
        ("batch", "Job") => cron_job(case, object, &name),
        ("", "Pod") => {
            let claims: Vec<String> =
                ephemeral_volumes(object, &["spec"]).iter().map(|volume| format!("{name}-{volume}")).collect();
            sets(case, object, |set| {
                let is_pod = split_ordinal(&name).is_some_and(|(stem, _)| stem == set.meta.name);
                is_pod || claims.iter().any(|claim| is_claim_of(set, claim))
            })
        }
        ("", "PersistentVolumeClaim") => sets(case, object, |set| is_claim_of(set, &name)),
        ("", "Service") => sets(case, object, |set| {
            set.at(&["spec", "serviceName"]).and_then(Json::as_str).is_some_and(|service| service == name)
        }),
        ("apps", "StatefulSet") => {
            let stems: Vec<String> =
                claim_templates(object).iter().map(|template| format!("{template}-{name}")).collect();
            let volumes = ephemeral_volumes(object, &["spec", "template", "spec"]);
            // A volume whose name is a number: `<set>-<ordinal>-<number>`.
            let numbered = volumes.iter().any(|volume| volume.bytes().all(|byte| byte.is_ascii_digit()));
            sets(case, object, |set| {
                claim_templates(set).iter().map(|template| format!("{template}-{}", set.meta.name)).any(|stem| {
                    stems.contains(&stem) || (numbered && split_ordinal(&stem).is_some_and(|(stem, _)| stem == name))
                })
            })
        }
        _ => Ok(Vec::new()),
    }
}

/// Whether a StatefulSet uses this claim: of one of its templates, or of a volume of one of its Pods.
fn is_claim_of(set: &Object<'_>, claim: &str) -> bool {
    let of_template = split_ordinal(claim).is_some_and(|(stem, _)| {
        claim_templates(set).iter().any(|template| stem == format!("{template}-{}", set.meta.name))
    });
    let of_volume = |volume: &String| {
        let pod = claim.strip_suffix(volume.as_str()).and_then(|pod| pod.strip_suffix('-'));
        pod.and_then(split_ordinal).is_some_and(|(stem, _)| stem == set.meta.name)
    };
    of_template || ephemeral_volumes(set, &["spec", "template", "spec"]).iter().any(of_volume)
}

/// The pinned StatefulSets beside an object that a condition holds of.
fn sets<'a>(case: &Case<'a>, beside: &Object<'a>, holds: impl Fn(&Object<'_>) -> bool) -> Answer<Vec<Ancestor>> {
    let sets = case.pinned_sets(&beside.meta.namespace)?;
    Ok(sets.iter().filter(|set| holds(set)).filter_map(|set| case.pinned(set)).collect())
}

fn cron_job<'a>(case: &Case<'a>, job: &Object<'a>, name: &str) -> Answer<Vec<Ancestor>> {
    let Some((stem, minutes)) = split_ordinal(name) else { return Ok(Vec::new()) };
    if minutes.len() < MINUTES {
        return Ok(Vec::new());
    }
    let found = case.find_one(ObjectName {
        of: TypeName::resource("batch", "v1", "cronjobs"),
        namespace: job.meta.namespace.to_string(),
        name: stem.to_owned(),
    })?;
    Ok(found.and_then(|found| case.pinned(&found.with_type("batch/v1", "CronJob"))).into_iter().collect())
}
