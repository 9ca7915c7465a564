//! Changes of what belongs to a pinned object: the Pods and ReplicaSets of a workload, the endpoints of a Service, whatever a
//! custom resource makes.

use super::super::ancestors::{Ancestor, is_part_kind};
use super::super::case::{Action, Case};
use super::super::lookup::Answer;
use super::super::{Access, Reason, Subject, Verdict, Who};
use super::scaled;
use crate::fields::Object;

/// Judges UPDATE, DELETE and scale of what belongs to a pinned object. What git declares itself is judged by that.
pub(super) fn judge(case: &Case<'_>) -> Answer<Option<Verdict>> {
    if case.who != Who::Person || case.is_pinned() {
        return Ok(None);
    }
    let (group, kind) = case.kind();
    let descendants = case.policy.descendants;
    match case.action {
        Action::Update { old, .. } if is_work_of_its_maker(case, old) => Ok(None),
        Action::Update { old, .. } if !case.changes().is_empty() => {
            let Some(ancestor) = case.ancestors(old, group, kind)?.into_iter().min() else { return Ok(None) };
            let debug = case.request.sub_resource == "ephemeralcontainers";
            let access = if debug { descendants.debug } else { descendants.update };
            let verdict = case.access(access, Reason::DescendantChanged, case.subject(old), &ancestor);
            Ok(Some(verdict.with_refused(case.changes())))
        }
        Action::Delete(old) if !old.is_dying() => {
            let ancestors = case.ancestors(old, group, kind)?;
            let by_hand = is_made_by_hand(old) && ancestors.iter().all(Ancestor::is_cron_job);
            // Whoever may make such a Job may delete it.
            let access = match descendants.run_job {
                Access::Refuse => descendants.delete,
                made if by_hand && descendants.delete == Access::Refuse => made,
                _ => descendants.delete,
            };
            let ancestor = ancestors.into_iter().min();
            Ok(ancestor.map(|by| case.access(access, Reason::DescendantDeleted, case.subject(old), &by)))
        }
        Action::Scale { old, new } => {
            let Some(change) = scaled::change(old, new) else { return Ok(None) };
            let Some(live) = case.live()? else { return Ok(None) };
            if case.pinned(&live).is_some() {
                return Ok(None);
            }
            let Some(ancestor) = case.owners_of(&live)?.into_iter().min() else { return Ok(None) };
            let verdict = case.access(descendants.update, Reason::PinnedObjectScaled, Subject::of(&live), &ancestor);
            Ok(Some(verdict.with_refused(&[change])))
        }
        _ => Ok(None),
    }
}

/// Whether `kubectl create job --from` made a Job. On what a CronJob made nobody but the job controller sets this.
fn is_made_by_hand(job: &Object<'_>) -> bool {
    job.kind == "Job" && job.annotation("cronjob.kubernetes.io/instantiate").as_deref() == Some("manual")
}

/// Whether an update leaves what an object is to its maker: the status, and the finalizers of what is on its way out. Not of
/// the parts of a workload, whose makers are parts of Kubernetes.
fn is_work_of_its_maker(case: &Case<'_>, old: &Object<'_>) -> bool {
    let (group, kind) = case.kind();
    let is_claim_or_endpoints =
        matches!((group, kind), ("", "PersistentVolumeClaim" | "Endpoints") | ("discovery.k8s.io", "EndpointSlice"));
    let is_kubernetes_own = is_part_kind(group, kind) || is_claim_or_endpoints;
    !is_kubernetes_own && (case.request.sub_resource == "status" || old.is_dying())
}
