//! `gitward check`: the guard's verdict on recorded reviews, without a cluster.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gitward_core::verdict::{Decision, Listed, Policy, Request, ReviewError, Verdict};
use serde_json::json;
use thiserror::Error;

use crate::guard::{FileError, read_objects, read_policy};

/// Judge recorded AdmissionReviews offline. One JSON line per review; exit status 0: nothing denied, 1: something
/// denied, 2: something could not be judged.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A GuardPolicy (YAML or JSON); without it the built-in policy applies.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A List of live objects (YAML or JSON) that stands for look-ups in the cluster.
    #[arg(long)]
    objects: Option<PathBuf>,
    /// gitward's own namespace.
    #[arg(long, env = "GITWARD_NAMESPACE", default_value = "gitward-system")]
    namespace: String,
    /// The service account that may write what git declares, in that namespace.
    #[arg(long, default_value = "gitward-reconciler")]
    reconciler_account: String,
    /// The service account of the guard, in that namespace.
    #[arg(long, default_value = "gitward-guard")]
    guard_account: String,
    /// Files with one AdmissionReview each.
    #[arg(required = true)]
    reviews: Vec<PathBuf>,
}

#[derive(Debug, Error)]
enum CheckError {
    #[error("{0}: {1}")]
    Read(String, std::io::Error),
    #[error("{0}: {1}")]
    Review(String, ReviewError),
}

pub(super) fn run(args: &Args) -> ExitCode {
    let built_in = Policy::built_in(&args.namespace, &args.reconciler_account, &args.guard_account);
    let (policy, objects) = match prepare(args, built_in) {
        Ok(prepared) => prepared,
        Err(error) => return super::fail(&error),
    };
    let (mut denied, mut unjudged) = (false, false);
    for review in &args.reviews {
        let stem = review.file_stem().unwrap_or_default().to_string_lossy();
        match verdict(review, &policy, &objects) {
            Ok(verdict) => {
                denied |= verdict.decision == Decision::Deny;
                let fields: Vec<String> = verdict.fields.iter().map(|field| field.path.to_string()).collect();
                let (decision, reason) = (verdict.decision.as_str(), verdict.reason.as_str());
                println!("{}", json!({"review": stem, "verdict": decision, "reason": reason, "fields": fields}));
            }
            Err(error) => {
                unjudged = true;
                eprintln!("gitward: {error}");
            }
        }
    }
    match (unjudged, denied) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::from(1),
        (false, false) => ExitCode::SUCCESS,
    }
}

fn prepare(args: &Args, built_in: Policy) -> Result<(Policy, Listed), FileError> {
    let policy = read_policy(args.policy.as_deref(), built_in)?;
    let objects = read_objects(args.objects.as_deref(), &policy.owner)?;
    Ok((policy, objects))
}

fn verdict(path: &Path, policy: &Policy, objects: &Listed) -> Result<Verdict, CheckError> {
    let body = std::fs::read(path).map_err(|error| CheckError::Read(show(path), error))?;
    let failed = |error| CheckError::Review(show(path), error);
    let request = Request::parse(&body).map_err(failed)?;
    Ok(objects.judge(&request, policy))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
