//! `gitward check`: the guard's verdict on recorded reviews, without a cluster or from a guard that runs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axum::http::Uri;
use gitward_core::verdict::{Listed, Policy, Request, ReviewError, Verdict};
use serde_json::{Value, json};
use thiserror::Error;

use super::running::{Running, RunningError};
use crate::guard::{FileError, read_objects, read_policy};
use crate::kubernetes::chain;

/// Judge recorded AdmissionReviews, offline or by a guard that runs. One JSON line per review; exit status 0: nothing denied, or
/// everything as expected; 1: something denied, or not as expected; 2: something could not be judged.
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
    /// Ask the guard that serves at this address, such as https://gitward-guard.gitward-system.svc, instead of judging here.
    #[arg(long, requires = "authorities", conflicts_with_all = ["policy", "objects"])]
    guard: Option<Uri>,
    /// A folder whose files have the authorities of that guard's certificate, as PEM.
    #[arg(long, requires = "guard")]
    authorities: Option<PathBuf>,
    /// The name in that guard's certificate, where it is not that of the address.
    #[arg(long, requires = "guard")]
    guard_name: Option<String>,
    /// The verdict that every review shall have.
    #[arg(long, value_parser = ["allow", "warn", "deny"])]
    expect: Option<String>,
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
    #[error(transparent)]
    Running(#[from] RunningError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Who judges.
enum Judge {
    Offline(Box<Policy>, Listed),
    Guard(Running),
}

pub(super) fn run(args: Args) -> ExitCode {
    super::in_runtime(async || check(&args).await)
}

async fn check(args: &Args) -> Result<ExitCode, CheckError> {
    let judge = match (&args.guard, &args.authorities) {
        (Some(url), Some(authorities)) => {
            Judge::Guard(Running::at(url.clone(), authorities, args.guard_name.as_deref())?)
        }
        _ => prepare(args)?,
    };
    let (mut unwanted, mut unjudged) = (false, false);
    for review in &args.reviews {
        match judge.verdict(review).await {
            Ok(mut line) => {
                unwanted |= match &args.expect {
                    Some(expected) => line["verdict"] != expected.as_str(),
                    None => line["verdict"] == "deny",
                };
                line["review"] = json!(review.file_stem().unwrap_or_default().to_string_lossy());
                println!("{line}");
            }
            Err(error) => {
                unjudged = true;
                eprintln!("gitward: {}", chain(&error));
            }
        }
    }
    Ok(match (unjudged, unwanted) {
        (true, _) => ExitCode::from(2),
        (false, true) => ExitCode::from(1),
        (false, false) => ExitCode::SUCCESS,
    })
}

impl Judge {
    async fn verdict(&self, path: &Path) -> Result<Value, CheckError> {
        let show = || path.display().to_string();
        let body = std::fs::read(path).map_err(|error| CheckError::Read(show(), error))?;
        match self {
            Judge::Guard(running) => Ok(running.verdict(body).await?),
            Judge::Offline(policy, objects) => {
                let request = Request::parse(&body).map_err(|error| CheckError::Review(show(), error))?;
                Ok(line(&objects.judge(&request, policy)))
            }
        }
    }
}

fn line(verdict: &Verdict) -> Value {
    let fields: Vec<String> = verdict.fields.iter().map(|field| field.path.to_string()).collect();
    json!({"verdict": verdict.decision.as_str(), "reason": verdict.reason.as_str(), "fields": fields})
}

fn prepare(args: &Args) -> Result<Judge, FileError> {
    let built_in = Policy::built_in(&args.namespace, &args.reconciler_account, &args.guard_account);
    let policy = read_policy(args.policy.as_deref(), built_in)?;
    let objects = read_objects(args.objects.as_deref(), &policy.owner)?;
    Ok(Judge::Offline(Box::new(policy), objects))
}
